"""The change feed: complete, in the order of commits, and on PostgreSQL awake as soon as something is committed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy

from model_store.database.engine import Database
from model_store.errors import Unavailable
from model_store.names import AliasName, VersionName
from model_store.records.changes import Change
from model_store.registry.models import ModelStore
from model_store.transactions.changes import ChangeFeed, append_change
from tests.model_store.making import publication

NEVER_SECONDS = 3600.0  # no poll comes to the rescue
postgres_only = pytest.mark.parametrize("database", ["postgres"], indirect=True)


def write(database: Database, *resources: str) -> None:
    """Commit one change for each of these, all at once."""
    with database.write() as session:
        for resource in resources:
            append_change(session, "tested", resource)


class IdleFeed(ChangeFeed):
    """A real feed that knows when a follower has read all there is: what it sees next it was woken for."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._read_up_to: queue.Queue[int] = queue.Queue()

    def after(self, sequence: int, limit: int = 1000) -> tuple[Change, ...]:
        found = super().after(sequence, limit)
        if not found:
            self._read_up_to.put(sequence)
        return found

    def wait_until_idle(self) -> None:
        """Wait for a look that finds nothing after the newest change; once for each change."""
        newest = self.newest()
        while self._read_up_to.get(timeout=20) < newest:
            pass


class Follower:
    """What a follower in another thread has seen."""

    def __init__(self, feed: ChangeFeed, poll_seconds: float) -> None:
        self.stop = threading.Event()
        self._seen: queue.Queue[str] = queue.Queue()
        self._feed, self._poll_seconds = feed, poll_seconds

    def run(self) -> None:
        for batch in self._feed.follow(0, stop=self.stop, poll_seconds=self._poll_seconds):
            for change in batch:
                self._seen.put(change.resource)

    def next(self) -> str:
        return self._seen.get(timeout=20)


@contextmanager
def following(feed: ChangeFeed, poll_seconds: float = NEVER_SECONDS) -> Iterator[tuple[Follower, Future[None]]]:
    """Follow from the start in another thread."""
    follower = Follower(feed, poll_seconds)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(follower.run)
        try:
            yield follower, ended
        finally:
            follower.stop.set()


def listeners(database: Database, what: str = "pid") -> list[Any]:
    """Return the process ids, or something else, of the server's connections that listen."""
    query = f"SELECT {what} FROM pg_stat_activity WHERE query = 'LISTEN maas_changes'"  # noqa: S608  our own words
    with database.read() as session:
        return list(session.scalars(sqlalchemy.text(query)))


def test_every_write_is_in_the_feed(store: ModelStore, database: Database) -> None:
    """A follower that reads the feed misses nothing, and an alias that does not move writes nothing."""
    store.publish(publication(store, alias="production"))
    store.set_alias(AliasName("flowers", "production"), VersionName("flowers", 1))
    feed = ChangeFeed(database)
    assert [(change.kind, change.resource) for change in feed.after(0)] == [
        ("version_published", "models/flowers/versions/1"),
        ("alias_moved", "models/flowers/aliases/production"),
    ]
    assert feed.after(feed.newest()) == ()


def test_a_follower_gets_what_is_there_and_then_what_comes(database: Database) -> None:
    """Each change once, oldest first, whether it was committed before or after the follower came."""
    write(database, "a", "b")
    with following(ChangeFeed(database), poll_seconds=0.01) as (follower, _):
        assert [follower.next(), follower.next()] == ["a", "b"]
        write(database, "c")
        assert follower.next() == "c"


def test_what_is_rolled_back_is_never_seen(database: Database) -> None:
    """The feed holds what is committed, and nothing else."""
    with database.write() as session:
        append_change(session, "tested", "a")
        session.flush()
        session.rollback()
    write(database, "b")
    assert [change.resource for change in ChangeFeed(database).after(0)] == ["b"]


def test_a_follower_ends_when_told_to(database: Database) -> None:
    """However long its polls are."""
    feed = IdleFeed(database)
    with following(feed) as (follower, ended):
        feed.wait_until_idle()
        follower.stop.set()
        ended.result(timeout=5)


@postgres_only
def test_a_follower_that_is_left_leaves_no_connection_behind(database: Database) -> None:
    """Whoever breaks off its loop, by an error say, listens no longer."""
    write(database, "a")
    for _ in ChangeFeed(database).follow(0, stop=threading.Event()):
        assert listeners(database)
        break
    deadline = time.monotonic() + 20  # the server lets go of a closed connection in its own time
    while listeners(database):
        assert time.monotonic() < deadline


@postgres_only
def test_a_commit_wakes_the_follower(database: Database) -> None:
    """Each commit does, without any poll."""
    feed = IdleFeed(database)
    with following(feed) as (follower, _):
        for resource in "abc":
            feed.wait_until_idle()
            write(database, resource)
            assert follower.next() == resource


@postgres_only
def test_nothing_falls_between_listening_and_reading(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits just before the follower listens, just after, and just after it has read: all are seen without a poll."""
    listening = Database.listening

    @contextmanager
    def listening_amid_commits(self: Database, channel: str) -> Iterator[Callable[[float], bool]]:
        write(self, "before listening")
        with listening(self, channel) as heard:
            write(self, "before reading")
            yield heard

    class Feed(ChangeFeed):
        num_late = 0

        def after(self, sequence: int, limit: int = 1000) -> tuple[Change, ...]:
            found = super().after(sequence, limit)
            if not found and not self.num_late:
                self.num_late += 1
                write(database, "before waiting")
            return found

    monkeypatch.setattr(Database, "listening", listening_amid_commits)
    with following(Feed(database)) as (follower, _):
        assert [follower.next() for _ in range(3)] == ["before listening", "before reading", "before waiting"]


@postgres_only
def test_a_listener_that_is_killed_is_replaced(database: Database) -> None:
    """The follower misses nothing meanwhile, and is woken again afterwards."""
    feed = IdleFeed(database)
    with following(feed) as (follower, _):
        feed.wait_until_idle()
        assert any(listeners(database, "pg_terminate_backend(pid)"))
        write(database, "meanwhile")
        assert follower.next() == "meanwhile"
        feed.wait_until_idle()
        write(database, "afterwards")
        assert follower.next() == "afterwards"


@postgres_only
def test_a_server_that_lets_nobody_in_is_unavailable(database: Database) -> None:
    """A follower says that its database is lost, and whoever follows again once it is back misses nothing."""
    name = f"shut_{database.url.query['options'][-8:]}"
    administrator = sqlalchemy.create_engine(database.url, isolation_level="AUTOCOMMIT").connect()
    administrator.exec_driver_sql(f"CREATE DATABASE {name}")
    shut = Database(database.url.set(database=name).difference_update_query(["options"]).render_as_string())
    shut.open_schema()
    feed = IdleFeed(shut)
    with following(feed) as (_, ended):
        feed.wait_until_idle()
        administrator.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        administrator.exec_driver_sql(kill, (name,))
        with pytest.raises(Unavailable, match="does not answer") as caught:
            ended.result(timeout=20)
        assert "not currently accepting connections" in caught.value.detail
    administrator.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    write(shut, "back")
    with following(feed) as (follower, _):
        assert follower.next() == "back"
    shut.close()
    administrator.exec_driver_sql(f"DROP DATABASE {name}")
    administrator.close()


def test_numbers_become_visible_in_the_order_of_commits(database: Database) -> None:
    """While eight writers commit and roll back, a follower gets every committed change once, by ascending number."""
    stop, seen = threading.Event(), []

    def follow() -> None:
        for batch in ChangeFeed(database).follow(0, stop=stop, poll_seconds=0.001):
            seen.extend(batch)
            if any(change.resource == "last" for change in batch):
                stop.set()

    def commit(number: int) -> None:
        with database.write() as session:
            append_change(session, "tested", number)
            session.flush()
            if number % 10 == 0:
                session.rollback()

    with ThreadPoolExecutor(9) as pool:
        follower = pool.submit(follow)
        list(pool.map(commit, range(400)))
        write(database, "last")
        follower.result(timeout=30)
    sequences = [change.sequence for change in seen]
    assert sequences == sorted(set(sequences))
    assert sorted(change.resource for change in seen) == sorted([*(str(n) for n in range(400) if n % 10), "last"])
