"""The registry held against a simple model of it: publishing, aliases, deleting and collecting in any order."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database, sqlite_url
from model_store.database.paging import PageRequest
from model_store.errors import IllegalState, InvalidInput, NotFound
from model_store.names import AliasName, ModelName, VersionName
from model_store.records.aliases import Alias, Share, Target, Traffic
from model_store.records.resources import Lineage
from model_store.registry.models import ModelStore
from model_store.tensors.stages import read_stage
from model_store.transactions.listings import ListRequest
from model_store.upkeep.gc import MIN_GRACE_SECONDS, Collector
from tests.model_store.making import publication

MODELS = st.sampled_from(["ants", "bees"])
ALIASES = st.sampled_from(["live", "next"])
NUMBERS = st.integers(1, 8)
SEEDS = st.integers(0, 3)
LONG_AGO = time.time() - 1_000_000


@dataclass
class Expected:
    """What a model of the registry knows of one model."""

    last_number: int = 0
    versions: dict[int, VersionName | None] = field(default_factory=dict)  # number -> base
    deleted: set[int] = field(default_factory=set)
    aliases: dict[str, list[Target]] = field(default_factory=dict)  # a stack of moves that stand

    @property
    def living(self) -> list[int]:
        """Return the numbers that were not deleted."""
        return [number for number in self.versions if number not in self.deleted]


@cache
def _schema() -> bytes:
    """Return the file of an empty database: making it anew for every example would take most of the time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        with closing(Database(sqlite_url(path))) as database:
            database.open_schema()
        return path.read_bytes()


def _empty_database(path: Path) -> Database:
    path.write_bytes(_schema())
    return Database(sqlite_url(path))


class RegistryMachine(RuleBasedStateMachine):
    """Does to a real store what it notes in a dictionary, and compares the two after every step."""

    @initialize()
    def open(self) -> None:
        """Open an empty store on SQLite; what is deleted is due at once."""
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        self.database = _empty_database(root / "store.db")
        self.store = ModelStore(self.database, LocalBlobs(root / "blobs"), kept_for=timedelta(0))
        self.expected: dict[str, Expected] = {"ants": Expected(), "bees": Expected()}

    def teardown(self) -> None:
        """Close the store."""
        if hasattr(self, "database"):
            self.database.close()
            self.folder.cleanup()

    @rule(model=MODELS, seed=SEEDS, alias=st.none() | ALIASES, data=st.data())
    def publish(self, model: str, seed: int, alias: str | None, data: Any) -> None:
        """Publish a version, perhaps made from any other, perhaps with an alias."""
        names = [VersionName(each, number) for each in self.expected for number in self.expected[each].versions]
        base = data.draw(st.none() | st.sampled_from(names)) if names else None
        given = publication(self.store, model, seeds=(seed, seed + 1), alias=alias, lineage=Lineage(base=base))
        if base is not None and base.number in self.expected[base.model_id].deleted:
            self._refused(lambda: self.store.publish(given))
            return
        expected = self.expected[model]
        assert self.store.publish(given).name == VersionName(model, expected.last_number + 1)
        expected.last_number += 1
        expected.versions[expected.last_number] = base
        if alias is not None:
            expected.aliases.setdefault(alias, []).append(Target(expected.last_number))

    @rule(model=MODELS, alias=ALIASES, number=NUMBERS, canary=st.none() | NUMBERS, shadow=st.none() | NUMBERS)
    def set_alias(self, model: str, alias: str, number: int, canary: int | None, shadow: int | None) -> None:
        """Point an alias at versions that may not exist, may be deleted or may be the same."""
        expected, name = self.expected[model], AliasName(model, alias)
        shares = tuple(Share(each, 10) for each in (canary,) if each is not None)
        target = Target(number, Traffic(shares, Share(shadow, 5) if shadow is not None else None))
        if not target.numbers <= set(expected.living) or number in {canary, shadow}:
            self._refused(lambda: self.store.set_alias(name, VersionName(model, number), target.traffic))
            return
        self.store.set_alias(name, VersionName(model, number), target.traffic)
        moves = expected.aliases.setdefault(alias, [])
        if moves[-1:] != [target]:
            moves.append(target)

    @rule(model=MODELS, alias=ALIASES)
    def roll_back(self, model: str, alias: str) -> None:
        """Go back one move; to a version that is gone nothing goes back."""
        moves, name = self.expected[model].aliases.get(alias, []), AliasName(model, alias)
        if len(moves) < 2 or not moves[-2].numbers <= set(self.expected[model].living):
            self._refused(lambda: self.store.roll_back_alias(name))
            return
        moves.pop()
        assert _target(self.store.roll_back_alias(name)) == moves[-1]

    @rule(model=MODELS, alias=ALIASES)
    def delete_alias(self, model: str, alias: str) -> None:
        """Delete an alias; the next one of this name starts anew."""
        if alias not in self.expected[model].aliases:
            self._refused(lambda: self.store.delete_alias(AliasName(model, alias)))
            return
        self.store.delete_alias(AliasName(model, alias))
        del self.expected[model].aliases[alias]

    @rule(model=MODELS, number=st.integers(1, 8))
    def delete(self, model: str, number: int) -> None:
        """Delete a version, unless something living stands on it."""
        expected, name = self.expected[model], VersionName(model, number)
        aliased = any(number in moves[-1].numbers for moves in expected.aliases.values())
        children = [
            number
            for each in self.expected.values()
            for number, base in each.versions.items()
            if base == name and number in each.living
        ]
        if number not in expected.living or aliased or children:
            self._refused(lambda: self.store.delete_version(name))
            return
        self.store.delete_version(name)
        expected.deleted.add(number)

    @rule(model=MODELS, number=st.integers(1, 8))
    def undelete(self, model: str, number: int) -> None:
        """Bring a deleted version back, unless its base is deleted."""
        expected, name = self.expected[model], VersionName(model, number)
        base = expected.versions.get(number)
        dead_base = base is not None and base.number in self.expected[base.model_id].deleted
        if number not in expected.deleted or dead_base:
            self._refused(lambda: self.store.undelete_version(name))
            return
        self.store.undelete_version(name)
        expected.deleted.discard(number)

    @precondition(lambda self: any(each.deleted for each in self.expected.values()))
    @rule()
    def collect(self) -> None:
        """Purge all that was deleted, and remove every blob that is left over."""
        for digest in [status.digest for status in self.store.blobs.all()]:
            os.utime(self.store.blobs.path(digest), (LONG_AGO, LONG_AGO))
        Collector(self.database, self.store.blobs, grace_seconds=MIN_GRACE_SECONDS).collect()
        for each in self.expected.values():
            for number in each.deleted:
                del each.versions[number]
            each.deleted.clear()
        assert {status.digest for status in self.store.blobs.all()} == self._needed()

    @invariant()
    def versions_agree(self) -> None:
        """The same versions are listed, deleted ones apart, newest first, and numbers are never reused."""
        for model, expected in self.expected.items():
            if not expected.last_number:
                continue
            every = self.store.list_versions(model, ListRequest(show_deleted=True)).items
            assert [each.name.number for each in every] == sorted(expected.versions, reverse=True)
            assert {each.name.number for each in every if each.timestamps.is_deleted} == expected.deleted
            assert self.store.get_model(model).last_number == expected.last_number

    @invariant()
    def aliases_agree(self) -> None:
        """Every alias points where the model says, at living versions, and the history ends there."""
        for model, expected in self.expected.items():
            if not expected.last_number:
                continue
            aliases = {each.name.alias: _target(each) for each in self.store.get_model(model).aliases}
            assert aliases == {alias: moves[-1] for alias, moves in expected.aliases.items()}
            for alias, target in aliases.items():
                assert target.numbers <= set(expected.living)
                newest = self.store.list_alias_history(AliasName(model, alias), PageRequest(1)).items[0]
                assert (newest.to_version, newest.traffic) == (VersionName(model, target.number), target.traffic)

    @invariant()
    def every_version_is_whole(self) -> None:
        """Each version that is not purged, a deleted one too, can be read back."""
        for digest in self._needed():
            assert self.store.blobs.has(digest)
        for model, expected in self.expected.items():
            if expected.living:
                newest = self.store.get_version(VersionName(model, max(expected.living)))
                assert all(read_stage(self.store.blobs, stage.digest) for stage in newest.stages)
                assert self.store.resolve(ModelName(model)) == newest.name

    def _needed(self) -> set[str]:
        needed: set[str] = set()
        for model, expected in self.expected.items():
            for number in expected.versions:
                version = self.store.get_version(VersionName(model, number))
                needed |= {version.manifest_digest, *(stage.digest for stage in version.stages)}
        return needed

    def _refused(self, call: Any) -> None:
        """Expect a refusal on purpose, of which nothing is left behind."""
        with pytest.raises((IllegalState, NotFound, InvalidInput)):
            call()


def _target(alias: Alias) -> Target:
    return Target(alias.version.number, alias.traffic)


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = hypothesis.settings(max_examples=15, stateful_step_count=30, deadline=None)


@pytest.mark.slow
class TestLongRegistryMachine(RegistryMachine.TestCase):  # type: ignore[misc]  # hypothesis makes the class
    """The same machine, for four times as many steps."""

    settings = hypothesis.settings(max_examples=30, stateful_step_count=60, deadline=None)
