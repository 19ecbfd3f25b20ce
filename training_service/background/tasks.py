"""Long work that a caller waits for: each task in its own process, a few at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from google.protobuf.message import Message

from model_store.errors import StoreError, Unavailable
from training_service.background.order import ERROR, LENGTH_BYTES, Kind, SideOrder, read_error
from training_service.jobs.worker_process import BACKGROUND_WORKER, FORK_SERVER, WorkerProcess, how_it_ended
from training_service.settings import TrainingSettings

_WORDS = {Kind.EVALUATE: "evaluation", Kind.REPORT: "report", Kind.RECOMMEND: "recommendation"}


class TooMuchWork(StoreError):
    """The number of concurrent evaluations, reports and recommendations has reached the operator's limit."""


class WorkerDied(StoreError):
    """The process that worked for a caller has died."""


class BackgroundTasks:
    """Runs evaluations, reports and recommendations up to the operator's limit; more are refused.

    A native crash ends the process of one of them, and neither the service nor its jobs.
    """

    def __init__(self, settings: TrainingSettings, *, module: str = BACKGROUND_WORKER) -> None:
        self._settings = settings
        self._module = module
        self._num_running = 0

    async def run(self, kind: Kind, request: Message) -> AsyncIterator[bytes]:
        """Yield the answers of the work, one serialized message after the other.

        Raises the errors of the work, TooMuchWork, and WorkerDied. When the caller goes, the process is ended.
        """
        with self._place():
            process = await self._started()
            try:
                order = SideOrder(kind, request.SerializeToString(), self._settings)
                await process.send(order.to_line())
                async for message in _messages(process.answers):
                    yield message
                if code := await process.wait():
                    raise WorkerDied(
                        f"the process of this {_WORDS[kind]} {how_it_ended(code)}: the service goes on, "
                        "and its log may tell more"
                    )
            finally:
                await process.kill()

    @contextmanager
    def _place(self) -> Iterator[None]:
        most = self._settings.num_concurrent_evaluations
        if self._num_running >= most:
            raise TooMuchWork(
                f"{most} evaluations, reports or recommendations are under way already: try again in a while"
            )
        self._num_running += 1
        try:
            yield
        finally:
            self._num_running -= 1

    async def _started(self) -> WorkerProcess:
        try:
            return await FORK_SERVER.start(self._module, has_answers=True)
        except OSError as error:
            raise Unavailable(f"no process could be started for this ({error.strerror}): try again later") from error


async def _messages(answers: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the messages of a worker's frames, to the end of its output; raise the error that it sends."""
    try:
        while head := await answers.readexactly(1 + LENGTH_BYTES):
            content = await answers.readexactly(int.from_bytes(head[1:]))
            if head[:1] == ERROR:
                raise read_error(content)
            yield content
    except (asyncio.IncompleteReadError, ConnectionError):  # the end of the process, for any reason
        return
