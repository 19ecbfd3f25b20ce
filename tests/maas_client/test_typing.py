"""What a type checker sees of the client, in a user's program under `mypy --strict`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".mypy_cache"
ENVIRONMENT = {**os.environ, "MYPYPATH": f"{ROOT}:{ROOT / 'protos'}"}

PROGRAM = """
from pathlib import Path

import numpy as np
from maas_client import AsyncClient, Client, Gate, errors


def plain(client: Client) -> str:
    job = client.finetune(
        "flowers", base="base", dataset="photos", recipe="full", epoch_count=3, optimizer="sgd", momentum=0.9,
        freeze_batch_norm=False, promote="production", gate=Gate(min_delta=0.1),
    )
    for event in client.watch(job.name):
        print(event.progress.fraction_done)
    client.predict("flowers", b"bytes")
    client.predict("flowers", [[1.0, 2.0], [3.0, 4.0]])
    client.predict("flowers", np.zeros((2, 3), np.float32))
    client.predict("flowers", [Path("rose.png"), b"bytes", "tulip.png", np.zeros((8, 8, 3), np.uint8), [1.0, 2.0]])
    client.embed("flowers", [Path("rose.png"), b"bytes"])
    answer = client.predict("flowers", [Path("rose.png"), Path("tulip.png")])
    label: str = answer.predictions[0].classification.scores[0].label
    return client.wait(job.name).version + label


async def awaited(client: AsyncClient) -> str:
    job = await client.finetune("flowers", base="base", dataset="photos", epoch_count=3)
    async for event in client.watch(job.name):
        print(event.progress.fraction_done)
    try:
        return (await client.wait(job.name, timeout=60)).version
    except errors.JobFailed as error:
        return error.hint + error.job.name


def wrong(client: Client) -> None:
    client.finetune("flowers", base="base", dataset="photos", epoch_count="three")
    client.finetune("flowers", base="base", dataset="photos", epochs=3)
    client.cancel(7)
    client.predict("flowers", [1.0])


async def wrong_too(client: AsyncClient) -> None:
    await client.finetune("flowers", base="base", dataset="photos", epoch_count="three")
    for _ in client.jobs():
        pass
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_users_program_is_checked(tmp_path: Path) -> None:
    """Every right line passes, and every wrong one is found: in keywords of recipes, and in what is awaited, too."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    lines = PROGRAM.splitlines()
    first = lines.index("def wrong(client: Client) -> None:") + 1
    wrong = [number for number, line in enumerate(lines, 1) if number > first and " client." in line]
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(CACHE), str(program)]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert [int(line.split(":")[1]) for line in found] == wrong, done.stdout
