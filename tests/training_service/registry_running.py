"""A real server of the registry alone, in a thread of the tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from maas.model_store.v1 import model_store_pb2_grpc

from grpc_runtime.server import GrpcServer
from grpc_runtime.settings import ServerSettings
from maas_client.client import Client
from maas_client.settings import ClientSettings
from model_store.blobs.local import LocalBlobs
from model_store.database.engine import Database, sqlite_url
from model_store.registry.models import ModelStore
from model_store.transactions.changes import ChangeFeed
from training_service.api.change_notifier import ChangeNotifier
from training_service.api.registry_servicer import ModelStoreServicer
from training_service.threads import call_threads

TIMEOUT = 20.0
SERVICE = "maas.model_store.v1.ModelStoreService"
MAX_SIZES = {"image": 65536, "values": 64, "audio": 10**6}


@dataclass(frozen=True)
class RunningRegistry:
    """A server and a client of it; `store` and `blobs` read and write beside it."""

    store: ModelStore
    blobs: LocalBlobs
    client: Client
    address: str
    stop: Callable[[], None]


@contextmanager
def running_registry(home: Path, *, bind: str = "127.0.0.1:0") -> Iterator[RunningRegistry]:
    """Serve the store in this folder until the block ends; a service with this `MAAS_HOME` finds the same store."""
    database = Database(sqlite_url(home / "store.db"))
    database.open_schema()
    blobs = LocalBlobs(home / "blobs")
    store = ModelStore(database, blobs)
    started: Future[tuple[str, Callable[[], None]]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(store, ChangeFeed(database), bind, started)))
    thread.start()
    address, end = started.result(TIMEOUT)

    def stop() -> None:
        if thread.is_alive():
            end()
            thread.join(TIMEOUT)
        assert not thread.is_alive()

    try:
        with Client(ClientSettings(address, address, reconnect_seconds=TIMEOUT)) as client:
            yield RunningRegistry(store, blobs, client, address, stop)
    finally:
        stop()
        database.close()


async def _serve(
    store: ModelStore, feed: ChangeFeed, bind: str, started: Future[tuple[str, Callable[[], None]]]
) -> None:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    notifier = ChangeNotifier(feed, poll_seconds=0.02)
    with call_threads(4) as threads:
        servicer = ModelStoreServicer(store, feed, notifier, threads, MAX_SIZES)
        add = partial(model_store_pb2_grpc.add_ModelStoreServiceServicer_to_server, servicer)
        server = GrpcServer(ServerSettings(bind=bind), {SERVICE: add})
        async with asyncio.TaskGroup() as parts:
            parts.create_task(notifier.run())
            address = await server.start()
            started.set_result((address, partial(loop.call_soon_threadsafe, stopping.set)))
            await stopping.wait()
            notifier.stop()
            await server.stop()
