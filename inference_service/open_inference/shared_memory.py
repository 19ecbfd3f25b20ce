"""System shared memory that callers on this machine share with the service: registered by name, read and written.

Regions are read and written by their descriptor, not mapped: a caller that cuts its memory short while it is in use
would end the whole process by a signal otherwise.
"""

from __future__ import annotations

import os
import re
import stat
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

from inference_service.errors import NotServed
from model_store.errors import AlreadyExists, IllegalState, InvalidInput, StorageFull
from model_store.texts import quoted

_FOLDER = "/dev/shm"  # noqa: S108  where POSIX shared memory is on Linux
_KEY = re.compile(r"/?([a-zA-Z0-9_][a-zA-Z0-9_.-]{0,249})")
_MAX_REGIONS = 128  # each holds a descriptor, and a process has few


class Region:
    """A part of a shared memory object, which stays open while this object exists."""

    def __init__(self, name: str, key: str, offset: int, byte_size: int) -> None:
        self.name = name
        self.key = key
        self.offset = offset
        self.byte_size = byte_size
        self._descriptor = _opened(key, offset + byte_size)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, offset: int, byte_size: int) -> bytes:
        """Return bytes of the region; fewer where its owner has cut the memory short."""
        return os.pread(self._descriptor, byte_size, self.offset + offset)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes into the region."""
        position = self.offset + offset
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, position)
            view, position = view[written:], position + written


@dataclass(frozen=True)
class Slice:
    """A tensor's place in a region."""

    region: Region
    offset: int
    byte_size: int

    def read(self, place: str) -> bytes:
        """Return its bytes; raise InvalidInput where the memory has been cut short."""
        data = self.region.read(self.offset, self.byte_size)
        if len(data) != self.byte_size:
            raise InvalidInput.of(place, f"the memory of region {self.region.name!r} was cut short by its owner")
        return data

    def write(self, data: bytes) -> None:
        """Write a tensor that fits."""
        self.region.write(self.offset, data)


class SharedMemory:
    """The registered regions; use it on the event loop only. Switched off, it answers every call with IllegalState."""

    def __init__(self, *, enabled: bool, prefix: str) -> None:
        """Take the prefix that all names of shared memory must have."""
        self.enabled = enabled
        self._prefix = prefix
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Open a region; raise AlreadyExists, NotServed, InvalidInput or StorageFull where that cannot be."""
        self._check_enabled()
        if not 1 <= len(name) <= 255:
            raise InvalidInput.of("name", f"must have 1 to 255 characters, not {len(name)}")
        if byte_size < 1:
            raise InvalidInput.of("byte_size", "must be at least 1")
        if name in self._regions:
            raise AlreadyExists(f"region {quoted(name)} is registered already: unregister it first")
        _check_key(key, self._prefix)
        if len(self._regions) >= _MAX_REGIONS:
            raise StorageFull(f"{_MAX_REGIONS} regions are registered already: unregister some first")
        self._regions[name] = Region(name, key, offset, byte_size)

    def unregister(self, name: str) -> None:
        """Forget a region, or all of them where the name is empty; requests that use it still can."""
        self._check_enabled()
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def regions(self, name: str) -> Mapping[str, Region]:
        """Return a region by its name, or all regions for an empty name; raise NotServed for an unknown one."""
        self._check_enabled()
        if name and name not in self._regions:
            raise NotServed(f"no region is registered as {quoted(name)}")
        return {name: self._regions[name]} if name else self._regions

    def slice(self, name: str, offset: int, byte_size: int, place: str) -> Slice:
        """Return a place in a region; raise InvalidInput naming `place` if it is outside of the region."""
        self._check_enabled()
        region = self._regions.get(name)
        if region is None:
            raise InvalidInput.of(place, f"no region is registered as {quoted(name)}")
        if offset + byte_size > region.byte_size:
            end = offset + byte_size
            raise InvalidInput.of(place, f"ends at byte {end} of region {name!r}, which has {region.byte_size}")
        return Slice(region, offset, byte_size)

    def _check_enabled(self) -> None:
        if not self.enabled:
            raise IllegalState(
                "shared memory is switched off: whoever runs the service can set MAAS_INFERENCE_SHARED_MEMORY=true"
            )


def _check_key(key: str, prefix: str) -> None:
    """Raise InvalidInput for a key that is a path, or names memory of others, be it there or not."""
    if not _KEY.fullmatch(key):
        raise InvalidInput.of("key", "must be a '/' or nothing, then 1 to 250 of a-z, A-Z, 0-9, '_', '-' and '.'")
    if not key.removeprefix("/").startswith(prefix):
        raise InvalidInput.of(
            "key",
            f"must begin with {prefix!r}, as whoever runs the service has set in MAAS_INFERENCE_SHARED_MEMORY_PREFIX",
        )


def _opened(key: str, end: int) -> int:
    """Open shared memory of at least `end` bytes; neither link nor device is followed."""
    try:
        descriptor = os.open(
            f"{_FOLDER}/{key.removeprefix('/')}", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        )
    except FileNotFoundError as error:
        raise NotServed(f"there is no shared memory of key {quoted(key)} on this machine") from error
    except OSError as error:
        raise IllegalState(f"shared memory of key {quoted(key)} cannot be opened: {error.strerror}") from error
    try:
        _check_memory(os.fstat(descriptor), key, end)
    except InvalidInput:
        os.close(descriptor)
        raise
    return descriptor


def _check_memory(memory: os.stat_result, key: str, end: int) -> None:
    if not stat.S_ISREG(memory.st_mode):
        raise InvalidInput.of("key", f"{quoted(key)} is no shared memory")
    if end > memory.st_size:
        raise InvalidInput.of(
            "byte_size", f"ends {end - memory.st_size} bytes behind the {memory.st_size} of {quoted(key)}"
        )
