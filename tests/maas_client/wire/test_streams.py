"""Streams that a reader leaves, or that Ctrl-C interrupts anywhere, on a real channel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from queue import SimpleQueue

import grpc
import pytest
from maas.model_store.v1 import model_store_pb2

from maas_client.wire.signals import take
from maas_client.wire.streams import responses
from tests.maas_client.commands.publishing import publish
from tests.training_service.registry_running import TIMEOUT, RunningRegistry

_NUM_STREAMS = 300
_INTERRUPTED = f"""
import random, signal
from maas_client.client import Client

signal.signal(signal.SIGALRM, signal.default_int_handler)
rng = random.Random(5)
for _ in range({_NUM_STREAMS}):
    try:
        with Client() as client:
            for _ in client.changes(after_sequence=0):
                signal.setitimer(signal.ITIMER_REAL, 10 ** rng.uniform(-5.3, -2.5))
    except KeyboardInterrupt:
        continue
print("whole")
"""


def test_a_stream_can_be_interrupted_anywhere(registry: RunningRegistry) -> None:
    """A process that interrupts many, each a random time after its first message, goes on as if nothing had been."""
    publish(registry)
    environment = {**os.environ, "MAAS_TRAINING_ADDRESS": registry.address}
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "whole\n", "")


def test_a_stream_that_is_left_is_cancelled(registry: RunningRegistry) -> None:
    """The service need not serve who reads no more, and the thread that read it has ended."""
    publish(registry)
    streams = []

    def call() -> grpc.Future:
        request = model_store_pb2.WatchChangesRequest(after_sequence=0)
        streams.append(registry.client.registry.WatchChanges(request))
        return streams[0]

    before = set(threading.enumerate())
    reading = responses(call)
    assert next(reading).sequence == 1
    (reader,) = (thread for thread in set(threading.enumerate()) - before if "_run_all" in thread.name)
    reading.close()
    assert streams[0].cancelled()
    reader.join(TIMEOUT)
    assert not reader.is_alive()


def test_what_a_stream_raises_is_raised_where_it_is_read(registry: RunningRegistry) -> None:
    """With its code, as if the reader had called."""
    request = model_store_pb2.DownloadModelVersionRequest(name="models/none/versions/1")
    with pytest.raises(grpc.RpcError) as raised:
        list(responses(partial(registry.client.registry.DownloadModelVersion, request)))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_signals_handler_may_answer_who_waits() -> None:
    """Even in the thread that waits: nothing is locked that the handler needs."""
    queue: SimpleQueue[int] = SimpleQueue()
    before = signal.signal(signal.SIGALRM, lambda number, _: queue.put(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert take(queue) == signal.SIGALRM
    finally:
        signal.signal(signal.SIGALRM, before)
