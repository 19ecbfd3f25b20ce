"""Logs of services that run for months do not fill the disk."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from maas_client.stack.log_files import LogLimit, rotate

# Writes as many lines as it is told, one number a line, and answers when they are written.
WRITER = """
import json, sys
number = 0
for asked in sys.stdin:
    for _ in range(int(asked)):
        print(json.dumps({"number": number, "text": "x" * 80}), file=sys.stderr)
        number += 1
    print("done", flush=True)
"""


def numbers(path: Path) -> list[int]:
    """Return the numbers of a log's lines; fails unless each line is whole."""
    return [json.loads(line)["number"] for line in path.read_text().splitlines()]


def test_a_log_that_is_written_to_is_kept_within_its_limit(tmp_path: Path) -> None:
    """What is full moves on, the oldest goes, and its writer goes on at the beginning of an empty file."""
    log = tmp_path / "service.log"
    with (
        log.open("ab") as file,
        subprocess.Popen(
            [sys.executable, "-c", WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
        ) as writer,
    ):
        assert writer.stdin is not None
        assert writer.stdout is not None
        for asked in (1000, 10, 1000, 1000, 1000, 5):
            print(asked, file=writer.stdin, flush=True)
            assert writer.stdout.readline() == "done\n"
            rotate(log, max_bytes=50_000, num_kept=2)
        writer.stdin.close()
    assert numbers(log) == list(range(4010, 4015))
    assert numbers(tmp_path / "service.log.1") == list(range(3010, 4010))
    assert numbers(tmp_path / "service.log.2") == list(range(2010, 3010))
    assert {path.name for path in tmp_path.iterdir()} == {"service.log", "service.log.1", "service.log.2"}


def test_a_log_that_is_not_there_is_left_alone(tmp_path: Path) -> None:
    """As before a service's first start."""
    rotate(tmp_path / "service.log")
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_moved_is_moved_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the disk is full: the limit holds again once there is room."""
    monkeypatch.setattr("maas_client.stack.log_files._LOOK_SECONDS", 0.01)
    log, is_in_the_way = tmp_path / "service.log", tmp_path / "service.log.1"
    log.write_bytes(b"x" * 11)
    is_in_the_way.mkdir()
    failed, moved = threading.Event(), threading.Event()

    def watched(path: Path) -> None:
        try:
            rotate(path, max_bytes=10, num_kept=1)
            if is_in_the_way.is_file():
                moved.set()
        except IsADirectoryError:
            failed.set()
            raise

    monkeypatch.setattr("maas_client.stack.log_files.rotate", watched)
    limit = LogLimit(log)
    try:
        assert failed.wait(20)
        is_in_the_way.rmdir()
        assert moved.wait(20)
    finally:
        limit.stop()
    assert (log.stat().st_size, is_in_the_way.stat().st_size) == (0, 11)
