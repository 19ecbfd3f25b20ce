"""Decoded datasets on the disk: decoded once, whole or not there, within their bound, and never taken from a user."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from model_store.blobs.local import LocalBlobs
from model_store.errors import StorageFull
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import ImageInputSpec, Pixels, to_pixels
from tests.training_service.making import SPEC, photos
from training_service.arrays.array_cache import ArrayCache, Shape
from training_service.datasets.files.archives import ArchiveFile
from training_service.datasets.files.formats import Format
from training_service.datasets.ingest import Ingested, Ingestor
from training_service.datasets.packs import PackedRows
from training_service.datasets.reading import Received
from training_service.datasets.splits import SplitSpec
from training_service.modalities import MODALITIES
from training_service.modalities.prepared_rows import PreparedDataset, prepare_dataset, prepared_key

SHAPE: Shape = (4, 10, 10, 3)
SIZE = 4 * 10 * 10 * 3 + 128
_context = multiprocessing.get_context("spawn")


def fill_with(value: int) -> object:
    """Return what fills an entry with a number."""

    def fill(pixels: Pixels) -> None:
        pixels[:] = value

    return fill


def must_not_fill(_pixels: Pixels) -> None:
    """Fail where an entry should be there."""
    raise AssertionError("the entry is there and is decoded again")


def entries(folder: Path) -> set[str]:
    """Return the names of what is kept."""
    return {path.stem for path in (folder / "entries").iterdir()}


def unfinished(folder: Path) -> list[Path]:
    """Return what is being written."""
    return list((folder / "tmp").iterdir())


@pytest.fixture
def ingested(tmp_path: Path) -> tuple[LocalBlobs, Ingested]:
    """A small dataset."""
    blobs = LocalBlobs(tmp_path / "blobs")
    files = [ArchiveFile(path, data) for path, data in photos(10).items()]
    with ThreadPoolExecutor(2) as threads:
        received = Received(Format.ARCHIVE, iter(files))
        ingestor = Ingestor(blobs, threads, max_sizes={"image": 10**6, "values": 10**6})
        return blobs, ingestor.ingest(MODALITIES["image"], received, SplitSpec(), lambda: None)


def prepared(blobs: LocalBlobs, ingested: Ingested, cache: ArrayCache) -> tuple[PreparedDataset, list[int]]:
    """Prepare a dataset, and return the numbers of rows that were reported."""
    reported: list[int] = []
    with ThreadPoolExecutor(2) as threads:
        data = prepare_dataset(
            blobs,
            ingested.digest,
            ingested.manifest,
            MODALITIES["image"],
            SPEC,
            cache=cache,
            threads=threads,
            max_size=10**6,
            on_rows=reported.append,
        )
    return data, reported


def test_a_dataset_is_decoded_once(tmp_path: Path, ingested: tuple[LocalBlobs, Ingested]) -> None:
    """The rows are what serving would see, and later they come without the encoded images."""
    blobs, dataset = ingested
    first, reported = prepared(blobs, dataset, ArrayCache(tmp_path / "pixels", 10**9))
    rows = dataset.manifest.rows
    with PackedRows(blobs, dataset.manifest.packs) as images:
        expected = [to_pixels(decode_image(images.read(row), max_pixels=10**6), SPEC) for row in rows]
    np.testing.assert_array_equal(first.rows.arrays["pixels"], np.stack(expected))
    assert reported[:2] == [8, 16]
    shutil.rmtree(tmp_path / "blobs")
    again, reported = prepared(blobs, dataset, ArrayCache(tmp_path / "pixels", 10**9))
    np.testing.assert_array_equal(again.rows.arrays["pixels"], first.rows.arrays["pixels"])
    assert reported == [20]
    assert not again.rows.arrays["pixels"].flags.writeable


def key_of(spec: ImageInputSpec, digest: str = "digest") -> str:
    """Return the name of prepared images."""
    return prepared_key(digest, MODALITIES["image"], spec)


def test_an_entry_is_named_by_what_its_pixels_depend_on() -> None:
    """Bases that differ in mean and std share it, bases that differ in size do not."""
    key = key_of(SPEC)
    assert key_of(replace(SPEC, mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))) == key
    others = [replace(SPEC, crop_size=32), replace(SPEC, resize_size=90), replace(SPEC, interpolation="bicubic")]
    assert key not in {key_of(each) for each in others} | {key_of(SPEC, "other")}


def test_an_entry_is_an_array_file(tmp_path: Path) -> None:
    """NumPy reads it, whoever wants to look."""
    ArrayCache(tmp_path, 10**6).load("a", SHAPE, np.uint8, fill_with(7))
    found = np.load(tmp_path / "entries" / "a.npy")
    assert (found.shape, found.dtype, set(found.flat)) == (SHAPE, np.uint8, {7})


@pytest.mark.parametrize("damage", ["cut", "longer", "header"])
def test_a_file_that_is_not_whole_is_replaced(tmp_path: Path, damage: str) -> None:
    """Its size and its first bytes are looked at."""
    ArrayCache(tmp_path, 10**6).load("a", SHAPE, np.uint8, fill_with(1))
    path = tmp_path / "entries" / "a.npy"
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-1], "longer": data + b"\0", "header": b"\0" + data[1:]}[damage])
    cache = ArrayCache(tmp_path, 10**6)
    assert set(cache.load("a", SHAPE, np.uint8, fill_with(2)).flat) == {2}
    assert set(cache.load("a", SHAPE, np.uint8, must_not_fill).flat) == {2}


def test_a_decode_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """The error comes through, and the next one decodes."""

    def fail(_pixels: Pixels) -> None:
        raise ValueError("told to stop")

    cache = ArrayCache(tmp_path, 10**6)
    with pytest.raises(ValueError, match="told to stop"):
        cache.load("a", SHAPE, np.uint8, fail)
    assert (entries(tmp_path), unfinished(tmp_path)) == (set(), [])
    assert set(cache.load("a", SHAPE, np.uint8, fill_with(1)).flat) == {1}


def _load_slowly(folder: Path, value: int, pipe: Connection) -> None:
    """Write half of an entry, say so, and write the rest when told to."""

    def fill(pixels: Pixels) -> None:
        pixels[:2] = value
        pipe.send("half")
        pipe.recv()
        pixels[2:] = value

    pipe.send(set(ArrayCache(folder, 10**6).load("a", SHAPE, np.uint8, fill).flat))


def start_loading(folder: Path, value: int) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    """Start a process that has written half of an entry."""
    here, there = _context.Pipe()
    process = _context.Process(target=_load_slowly, args=(folder, value, there), daemon=True)
    process.start()
    assert here.recv() == "half"
    return process, here


def test_a_killed_decode_leaves_a_file_that_a_later_start_removes(tmp_path: Path) -> None:
    """While its writer lives it stays; what is half done never becomes an entry."""
    process, _ = start_loading(tmp_path, 1)
    ArrayCache(tmp_path, 10**6)
    assert len(unfinished(tmp_path)) == 1
    process.kill()
    process.join()
    assert (entries(tmp_path), len(unfinished(tmp_path))) == (set(), 1)
    cache = ArrayCache(tmp_path, 10**6)
    assert unfinished(tmp_path) == []
    assert set(cache.load("a", SHAPE, np.uint8, fill_with(2)).flat) == {2}


def test_two_processes_may_decode_the_same(tmp_path: Path) -> None:
    """Each sees what it wrote, both are whole, and one of them stays."""
    started = [start_loading(tmp_path, value) for value in (1, 2)]
    for _, pipe in started:
        pipe.send("go on")
    assert [pipe.recv() for _, pipe in started] == [{1}, {2}]
    for process, _ in started:
        process.join()
    kept = ArrayCache(tmp_path, 10**6).load("a", SHAPE, np.uint8, must_not_fill)
    assert set(kept.flat) in ({1}, {2})
    assert (entries(tmp_path), unfinished(tmp_path)) == ({"a"}, [])


def test_what_was_used_least_recently_goes_first(tmp_path: Path) -> None:
    """Opening counts as use."""
    cache = ArrayCache(tmp_path, 2 * SIZE)
    for age, key in ((2000, "a"), (1000, "b")):
        cache.load(key, SHAPE, np.uint8, fill_with(1))
        os.utime(tmp_path / "entries" / f"{key}.npy", (10**9 - age, 10**9 - age))
    cache.load("a", SHAPE, np.uint8, must_not_fill)
    cache.load("c", SHAPE, np.uint8, fill_with(1))
    assert entries(tmp_path) == {"a", "c"}


def test_what_is_mapped_stays(tmp_path: Path) -> None:
    """A newcomer that has no room beside it is decoded for itself alone, until the mapping is gone."""
    cache = ArrayCache(tmp_path, 2 * SIZE - 1)
    mapped = cache.load("a", SHAPE, np.uint8, fill_with(1))
    assert set(ArrayCache(tmp_path, 2 * SIZE - 1).load("b", SHAPE, np.uint8, fill_with(2)).flat) == {2}
    assert entries(tmp_path) == {"a"}
    del mapped
    cache.load("b", SHAPE, np.uint8, fill_with(2))
    assert entries(tmp_path) == {"b"}


def test_what_is_over_the_bound_is_not_kept(tmp_path: Path) -> None:
    """And costs no other entry its place."""
    cache = ArrayCache(tmp_path, 2 * SIZE)
    cache.load("a", SHAPE, np.uint8, fill_with(1))
    large = cache.load("large", (9, 10, 10, 3), np.uint8, fill_with(2))
    assert set(large.flat) == {2}
    assert (entries(tmp_path), unfinished(tmp_path)) == ({"a"}, [])


def test_a_full_disk_costs_what_nobody_uses_and_then_says_so(small_disk: Path) -> None:
    """An entry in use stays, and nothing half written does."""
    cache = ArrayCache(small_disk, 10**9)
    three_mb: Shape = (100, 100, 100, 3)
    used = cache.load("used", three_mb, np.uint8, fill_with(1))
    cache.load("unused", three_mb, np.uint8, fill_with(2))
    other = cache.load("other", three_mb, np.uint8, fill_with(3))
    assert entries(small_disk) == {"used", "other"}
    with pytest.raises(StorageFull, match=r"no room for 30.* bytes .*free some space"):
        cache.load("another", three_mb, np.uint8, must_not_fill)
    assert (entries(small_disk), unfinished(small_disk)) == ({"used", "other"}, [])
    assert (set(used.flat), set(other.flat)) == ({1}, {3})
