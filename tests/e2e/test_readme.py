"""The README's blocks, as they are written: shell commands and Python, in order, on one stack and real photos."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from maas_client.demo.photos import prepare_photos
from maas_client.stack.processes import Stack

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
UP = ".venv/bin/maas up"
# `make` would install and test anew, and containers need an engine.
ELSEWHERE = ("make ", "docker ")
DEFAULT_ADDRESSES = {"training_service": "127.0.0.1:50052", "inference_service": "127.0.0.1:50051"}


@dataclass(frozen=True)
class Block:
    """One block of code: its language and its text."""

    language: str
    text: str


def read_blocks(text: str) -> Iterator[Block]:
    """Yield indented blocks as shell, and fenced ones by the language that they name."""
    pattern = re.compile(r"^```(\w+)\n([\s\S]*?)^```$|(?<=\n\n)((?:^    .*\n|^\n(?=    ))+)", re.MULTILINE)
    for found in pattern.finditer(text):
        language, fenced, indented = found.groups()
        yield (
            Block(language, fenced) if language else Block("shell", re.sub(r"^    ", "", indented, flags=re.MULTILINE))
        )


def command(block: Block) -> list[str]:
    """Return what runs a block: bash, or the Python that its first line names, else the project's own."""
    if block.language == "shell":
        return ["bash", "-euo", "pipefail", "-c", block.text]
    named = re.match(r"# (\S+/python)\n", block.text)
    return [named[1] if named else ".venv/bin/python", "-c", block.text]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a reader has it: the virtual environment, and `more/`, photos of the reader's own."""
    if shutil.which("apt-get") is None:
        pytest.skip("the README's photos come from a Debian package")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    cache = Path("~/.cache/maas").expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    for path in sorted((prepare_photos(cache) / "flower").iterdir())[:4]:
        (tmp_path / "more/flower").mkdir(parents=True, exist_ok=True)
        with Image.open(path) as photo:
            ImageOps.solarize(ImageOps.flip(photo.convert("RGB"))).save(tmp_path / "more/flower" / path.name)
    return tmp_path


@pytest.mark.timeout(1200)
def test_every_block_runs_as_written(folder: Path) -> None:
    """Each block ends without an error; only the services' addresses are other ones here."""
    blocks = [block for block in read_blocks(README.read_text()) if not block.text.startswith(ELSEWHERE)]
    assert {block.language for block in blocks} == {"shell", "python"}
    assert blocks[0].text.strip() == UP
    with Stack(folder / "home", free_ports=True) as stack:
        stack.start()
        settings = stack.await_serving()
        addresses = {name: service.address for name, service in stack.services.items()}
        variables = {
            **os.environ,
            "MAAS_HOME": str(folder / "home"),
            "MAAS_TRAINING_ADDRESS": settings.training_address,
            "MAAS_INFERENCE_ADDRESS": settings.inference_address,
        }
        for block in blocks[1:]:
            text = block.text
            for name, default in DEFAULT_ADDRESSES.items():
                text = text.replace(default, addresses[name])
            done = subprocess.run(
                command(Block(block.language, text)),
                cwd=folder,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}"
