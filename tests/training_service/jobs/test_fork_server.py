"""Processes are forks of one that has imported what they need, and nobody of them outlives whom it works for."""

from __future__ import annotations

import asyncio
import errno
import os
import signal

import psutil
import pytest
import uvloop

from tests.training_service.jobs import forked
from tests.training_service.running import until
from training_service.jobs.fork_server import process_name
from training_service.jobs.worker_process import ForkServer, WorkerProcess

MODULE = forked.__name__


@pytest.fixture
def server() -> ForkServer:
    """A server of this test alone."""
    return ForkServer((forked.IMPORTED,))


async def told(process: WorkerProcess) -> list[str]:
    """Ask a process what it finds."""
    await process.send(b"what\n")
    return (await process.answers.readline()).decode().split()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_processes_are_forks_of_one_with_its_imports(
    server: ForkServer, monkeypatch: pytest.MonkeyPatch, run: object
) -> None:
    """The environment is that of the start; the exit code arrives, and so does a signal."""

    async def check() -> None:
        first = await server.start(MODULE, has_answers=True)
        monkeypatch.setenv(forked.NAME, "set")
        second = await server.start(MODULE, has_answers=True)
        parent, *found = await told(first)
        assert found == ["None", "True"]
        assert await told(second) == [parent, "set", "True"]
        assert int(parent) not in {os.getpid(), first.pid, second.pid}
        assert psutil.Process(first.pid).name() == process_name(MODULE)
        await first.send(b"end\n")
        assert await first.wait() == 4
        await first.send(b"nobody reads this\n")
        second.terminate()
        assert await second.wait() == -signal.SIGTERM
        await asyncio.gather(first.kill(), second.kill())

    assert callable(run)
    run(check())


def test_processes_end_with_their_server_and_the_next_has_a_new_one(server: ForkServer) -> None:
    """Nobody would hear of their end; they count as killed."""

    async def check() -> None:
        process = await server.start(MODULE, has_answers=True)
        parent, *_ = await told(process)
        os.kill(int(parent), signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        until(lambda: not psutil.pid_exists(process.pid))
        again = await server.start(MODULE, has_answers=True)
        assert (await told(again))[0] != parent
        await again.kill()

    asyncio.run(check())


def test_a_server_that_cannot_start_is_an_error_of_each_start() -> None:
    """A module that is not there, in its own words on standard error."""

    async def check() -> None:
        server = ForkServer(("no_such_module",))
        for _ in range(2):
            with pytest.raises(OSError, match="has died") as caught:
                await server.start(MODULE)
            assert caught.value.errno == errno.ECHILD

    asyncio.run(check())


def test_a_killed_process_is_waited_for(server: ForkServer) -> None:
    """In the middle of an answer that nobody reads."""

    async def check() -> None:
        process = await server.start(MODULE, has_answers=True)
        await process.send(b"what\n")
        await process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not psutil.pid_exists(process.pid)

    asyncio.run(check())
