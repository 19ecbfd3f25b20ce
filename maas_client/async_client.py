"""The client for asyncio: the methods of `Client`, to be awaited, and its iterators, to be iterated with `async for`.

Each call runs in a thread of its own, which ends with it: files are read and written there too. A prediction takes no
thread, so that any number may be under way. Whoever cancels the task that awaits cancels the call on the wire.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from maas.inference.v1 import inference_pb2

from maas_client.calls.examples import Examples
from maas_client.calls.predictions import TIMEOUT_SECONDS, embed_request, predict_request
from maas_client.client import Client
from maas_client.errors import translated
from maas_client.settings import ClientSettings
from maas_client.wire.stubs import ActiveCalls

P = ParamSpec("P")
T = TypeVar("T")
_END = object()


def _awaited(
    method: Callable[Concatenate[Client, P], T],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """Return the method to be awaited."""

    @functools.wraps(method)
    async def call(self: AsyncClient, /, *arguments: P.args, **options: P.kwargs) -> T:
        calls = ActiveCalls()
        client = self.client.cancellable(calls)
        try:
            return await _in_thread(lambda: method(client, *arguments, **options))
        except asyncio.CancelledError:
            calls.cancel()
            raise

    return call


def _iterated(
    method: Callable[Concatenate[Client, P], Iterator[T]],
) -> Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]:
    """Return the method whose iterator is one for `async for`."""

    @functools.wraps(method)
    async def iterate(self: AsyncClient, /, *arguments: P.args, **options: P.kwargs) -> AsyncIterator[T]:
        calls = ActiveCalls()
        client = self.client.cancellable(calls)
        found = method(client, *arguments, **options)
        try:
            while (each := await _in_thread(lambda: next(found, _END))) is not _END:
                yield each  # type: ignore[misc]  # not the end: of the iterator's own type
        finally:
            calls.cancel()

    return iterate


async def _in_thread(work: Callable[[], T]) -> T:
    """Return what the work returns, done in a thread that no pool limits and no exit of the process waits for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:  # noqa: ANN401  what the work returned
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(value)

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except Exception as raised:  # noqa: BLE001  it is raised again where the work is awaited
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, daemon=True, name="maas-call").start()
    return await done


async def _response(call: Any) -> Any:  # noqa: ANN401  a future of gRPC; any message
    """Wait for the response of a call without a thread."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def tell(_: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(ended.set)

    call.add_done_callback(tell)
    try:
        await ended.wait()
    finally:
        call.cancel()  # of no effect where it has ended
    with translated():
        return call.result()


class AsyncClient:
    """Every method of `Client` under the same name and with the same arguments; for one event loop.

    `client` is the client that makes the calls.
    """

    def __init__(self, address: str | ClientSettings = "", *, training: str = "", inference: str = "") -> None:
        """Take where the services are, as `Client` does."""
        self.client = Client(address, training=training, inference=inference)

    @property
    def settings(self) -> ClientSettings:
        """Where the services are."""
        return self.client.settings

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def predict(
        self,
        model: str,
        examples: Examples,
        *,
        top_k: int = 0,
        routing_key: str = "",
        timeout: float | None = TIMEOUT_SECONDS,  # noqa: ASYNC109  the service is told of it
    ) -> inference_pb2.PredictResponse:
        """Ask a model about one example or several, as `Client.predict` does; files are read in a thread."""
        request = await _in_thread(lambda: predict_request(model, examples, top_k, routing_key))
        return await _response(self.client.stubs.inference.Predict.future(request, timeout=timeout))

    async def embed(
        self,
        model: str,
        examples: Examples,
        *,
        routing_key: str = "",
        timeout: float | None = TIMEOUT_SECONDS,  # noqa: ASYNC109  the service is told of it
    ) -> inference_pb2.EmbedResponse:
        """Embed one example or several, as `Client.embed` does; files are read in a thread."""
        request = await _in_thread(lambda: embed_request(model, examples, routing_key))
        return await _response(self.client.stubs.inference.Embed.future(request, timeout=timeout))

    close = _awaited(Client.close)

    upload_dataset = _awaited(Client.upload_dataset)
    register_dataset = _awaited(Client.register_dataset)
    dataset = _awaited(Client.dataset)
    datasets = _iterated(Client.datasets)
    dataset_rows = _iterated(Client.dataset_rows)
    preview_dataset = _awaited(Client.preview_dataset)
    delete_dataset = _awaited(Client.delete_dataset)
    undelete_dataset = _awaited(Client.undelete_dataset)

    finetune = _awaited(Client.finetune)
    watch = _iterated(Client.watch)
    wait = _awaited(Client.wait)
    job_name = _awaited(Client.job_name)
    job = _awaited(Client.job)
    jobs = _iterated(Client.jobs)
    trials = _iterated(Client.trials)
    pause = _awaited(Client.pause)
    resume = _awaited(Client.resume)
    retry = _awaited(Client.retry)
    cancel = _awaited(Client.cancel)
    report = _awaited(Client.report)
    evaluate = _awaited(Client.evaluate)
    recommend = _awaited(Client.recommend)

    model = _awaited(Client.model)
    models = _iterated(Client.models)
    version = _awaited(Client.version)
    version_name = _awaited(Client.version_name)
    versions = _iterated(Client.versions)
    compare = _awaited(Client.compare)
    lineage = _awaited(Client.lineage)
    changes = _iterated(Client.changes)
    create_model = _awaited(Client.create_model)
    tag = _awaited(Client.tag)
    describe = _awaited(Client.describe)
    delete = _awaited(Client.delete)
    undelete = _awaited(Client.undelete)

    alias = _awaited(Client.alias)
    aliases = _iterated(Client.aliases)
    set_alias = _awaited(Client.set_alias)
    promote = _awaited(Client.promote)
    roll_back_alias = _awaited(Client.roll_back_alias)
    delete_alias = _awaited(Client.delete_alias)
    alias_history = _iterated(Client.alias_history)

    predict_files = _iterated(Client.predict_files)
    score_files = _awaited(Client.score_files)
    served_model = _awaited(Client.served_model)
    served_models = _iterated(Client.served_models)
    wait_ready = _awaited(Client.wait_ready)
    status = _awaited(Client.status)

    import_base = _awaited(Client.import_base)
    publish = _awaited(Client.publish)
    export = _awaited(Client.export)
    import_archive = _awaited(Client.import_archive)
