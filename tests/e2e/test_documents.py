"""The blocks of the README and of the pages in docs/, as they are written, on real processes and real photos."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from maas_client.demo.photos import prepare_photos
from maas_client.settings import INFERENCE_ADDRESS, TRAINING_ADDRESS
from tests.documents.blocks import PAGES, PICTURES, README, Block, read_blocks

UP = "maas up\n"
_STARTED = "Ctrl-C stops both"
_ADDRESSES = {"MAAS_TRAINING_BIND": TRAINING_ADDRESS, "MAAS_INFERENCE_BIND": INFERENCE_ADDRESS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a reader has it: the virtual environment, and `more/`, photos of the reader's own."""
    if shutil.which("apt-get") is None:
        pytest.skip("the documents' photos come from a Debian package")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    cache = Path("~/.cache/maas").expanduser()
    cache.mkdir(parents=True, exist_ok=True)
    for path in sorted((prepare_photos(cache) / "flower").iterdir())[:4]:
        (tmp_path / "more/flower").mkdir(parents=True, exist_ok=True)
        with Image.open(path) as photo:
            ImageOps.solarize(ImageOps.flip(photo.convert("RGB"))).save(tmp_path / "more/flower" / path.name)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("documents", [[README], PAGES], ids=["README", "docs"])
def test_every_block_runs_as_written(documents: Sequence[Path], folder: Path) -> None:
    """Each block ends without an error; only the ports of the services are other ones here."""
    blocks = [block for each in documents for block in read_blocks(each) if block.language not in PICTURES]
    binds = {name: f"127.0.0.1:{free_port()}" for name in _ADDRESSES}
    variables = {
        **os.environ,
        **binds,
        "PATH": f"{folder / '.venv/bin'}:{os.environ['PATH']}",
        "MAAS_HOME": str(folder / "home"),
    }
    with services(folder, variables):
        for block in blocks:
            if block.text != UP:
                run(block, binds, folder, variables)


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def services(folder: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Run the block that starts both services, for as long as the blocks after it need them."""
    command = Block(README, "sh", UP).command
    with subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            assert any(_STARTED in line for line in process.stdout)
            yield
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def run(block: Block, binds: Mapping[str, str], folder: Path, variables: Mapping[str, str]) -> None:
    """Run a block with the ports of this test in the place of the default ones."""
    text = block.text
    for name, default in _ADDRESSES.items():
        text = text.replace(default, binds[name])
    done = subprocess.run(
        Block(block.document, block.language, text).command,
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block.document.name}\n{text}\n{done.stdout}"
