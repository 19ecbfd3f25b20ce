"""Watches the change feed and a job, many times at once, until the end of standard input.

`python -m benchmarks.harness.watchers ADDRESS JOB NUM` prints a line once every stream has begun.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
from maas.model_store.v1 import model_store_pb2 as registry_pb
from maas.model_store.v1 import model_store_pb2_grpc
from maas.training.v1 import training_pb2 as pb
from maas.training.v1 import training_pb2_grpc


async def watch(address: str, job: str, num_each: int) -> None:
    """Open as many streams of each kind, and read them."""
    async with grpc.aio.insecure_channel(address) as channel:
        registry: Any = model_store_pb2_grpc.ModelStoreServiceStub(channel)
        training: Any = training_pb2_grpc.TrainingServiceStub(channel)
        changes = [registry.WatchChanges(registry_pb.WatchChangesRequest()) for _ in range(num_each)]
        events = [training.WatchTrainingJob(pb.WatchTrainingJobRequest(name=job)) for _ in range(num_each)]
        await asyncio.gather(*(call.initial_metadata() for call in changes), *(call.read() for call in events))
        print("watching", flush=True)
        reading = [asyncio.create_task(_read(call)) for call in (*changes, *events)]
        await asyncio.to_thread(sys.stdin.read)
        for task in reading:
            task.cancel()


async def _read(call: Any) -> None:  # noqa: ANN401  gRPC's own type of a stream
    while await call.read() is not grpc.aio.EOF:
        pass


if __name__ == "__main__":
    asyncio.run(watch(sys.argv[1], sys.argv[2], int(sys.argv[3])))
