"""Putting and collecting the same blob at once: every order of the two is tried, one line of code at a time."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from model_store.blobs import local as local_blobs
from model_store.blobs.local import LocalBlobs

DATA = b"stage" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()
LONG_AGO, TODAY = 1e9, 1.5e9  # a collector takes what was put before today


def old_orphan(folder: Path) -> LocalBlobs:
    """Return a store with one blob that a collector would take."""
    blobs = LocalBlobs(folder)
    blobs.put([DATA])
    os.utime(blobs.path(DIGEST), (LONG_AGO, LONG_AGO))
    return blobs


def put(blobs: LocalBlobs) -> None:
    """Publish the blob."""
    blobs.put([DATA])


def collect(blobs: LocalBlobs) -> None:
    """Remove the blob, as it looked old when the collector last looked."""
    blobs.delete(DIGEST, before=TODAY)


@pytest.mark.parametrize(("running", "between"), [(put, collect), (collect, put)])
def test_a_blob_that_was_put_is_there(
    tmp_path: Path, running: Callable[[LocalBlobs], None], between: Callable[[LocalBlobs], None]
) -> None:
    """Wherever the one comes in between, what was put is readable, whole and young when both are done."""
    for position in count():
        blobs = old_orphan(tmp_path / str(position))
        with at_line(position, lambda blobs=blobs: between(blobs)) as happened:
            running(blobs)
        if not happened:
            assert position > 5, "the store's lines were not traced"
            return
        assert blobs.read(DIGEST) == DATA
        assert next(iter(blobs.all())).put_at > TODAY
        assert list(blobs.unfinished()) == []


@contextmanager
def at_line(position: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Call `act` once, before this many-th line of the local store runs; yield a list that is filled when it did."""
    lines, happened = count(), list[int]()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != local_blobs.__file__:
            return None
        if event == "line" and not happened and next(lines) == position:
            happened.append(frame.f_lineno)
            act()
        return trace

    sys.settrace(trace)
    try:
        yield happened
    finally:
        sys.settrace(None)
