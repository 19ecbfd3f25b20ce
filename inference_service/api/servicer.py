"""maas.inference.v1.InferenceService: from a request to its answer."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from maas.inference.v1 import inference_pb2 as pb
from maas.inference.v1 import inference_pb2_grpc

from inference_service.api import convert
from inference_service.api.answers import predictions, read_options
from inference_service.api.examples import read_examples
from inference_service.execution.work import Output
from inference_service.lifecycle.lease import Shadow
from inference_service.lifecycle.manager import Manager
from inference_service.models.resident import ResidentVersion
from inference_service.pipeline.answering import Pipeline, Urgency
from inference_service.pipeline.examples import Examples
from model_store.database.paging import PageRequest, cut, decode_token
from model_store.modalities.spec import Numbers
from model_store.names import parse_model, parse_target

_LISTING = "served models"


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Answers from leased versions; every refusal is a domain error, which the server maps to a code."""

    def __init__(self, manager: Manager, pipeline: Pipeline, *, max_examples_per_request: int) -> None:
        self._manager = manager
        self._pipeline = pipeline
        self._max_examples = max_examples_per_request

    async def Predict(
        self, request: pb.PredictRequest, context: grpc.aio.ServicerContext[pb.PredictRequest, pb.PredictResponse]
    ) -> pb.PredictResponse:
        """Answer examples by the version's task."""
        target = parse_target(request.name, "name")
        examples = read_examples(request.examples, self._max_examples)
        deadline = _deadline(context)
        lease = await self._manager.lease_when_ready(target, deadline, request.routing_key)
        with lease as version:
            task = read_options(request, version)
            scores = await self._run(version, examples, Output.SCORES, deadline, lease.shadow)
            return pb.PredictResponse(predictions=predictions(task, scores, request), version=str(version.name))

    async def Embed(
        self, request: pb.EmbedRequest, context: grpc.aio.ServicerContext[pb.EmbedRequest, pb.EmbedResponse]
    ) -> pb.EmbedResponse:
        """Compute embeddings."""
        target = parse_target(request.name, "name")
        examples = read_examples(request.examples, self._max_examples)
        deadline = _deadline(context)
        lease = await self._manager.lease_when_ready(target, deadline, request.routing_key)
        with lease as version:
            embeddings = await self._run(version, examples, Output.EMBEDDING, deadline, lease.shadow)
            return convert.embed_response(version, embeddings)

    async def GetServedModel(
        self,
        request: pb.GetServedModelRequest,
        context: grpc.aio.ServicerContext[pb.GetServedModelRequest, pb.ServedModel],  # noqa: ARG002
    ) -> pb.ServedModel:
        """Say how one model stands."""
        return convert.served_model(self._manager.report(parse_model(request.name, "name")))

    async def ListServedModels(
        self,
        request: pb.ListServedModelsRequest,
        context: grpc.aio.ServicerContext[pb.ListServedModelsRequest, pb.ListServedModelsResponse],  # noqa: ARG002
    ) -> pb.ListServedModelsResponse:
        """Say how all models stand, in pages."""
        limit = PageRequest(request.page_size, request.page_token).limit
        after = decode_token(_LISTING, request.page_token, str)
        ids = self._manager.model_ids()
        start = bisect_right(ids, str(after)) if after is not None else 0
        wanted = ids[start : start + limit + 1]
        page = cut(_LISTING, wanted, wanted, limit)
        states = [convert.served_model(self._manager.report(model_id)) for model_id in page.items]
        return pb.ListServedModelsResponse(served_models=states, next_page_token=page.next_token)

    async def WatchServedModels(
        self,
        request: pb.WatchServedModelsRequest,
        context: grpc.aio.ServicerContext[pb.WatchServedModelsRequest, pb.ServedModel],  # noqa: ARG002
    ) -> AsyncIterator[pb.ServedModel]:
        """Stream the state of models, now and whenever it changes."""
        model_id = parse_model(request.name, "name") if request.name else None
        async with aclosing(self._manager.watch(model_id)) as reports:
            async for report in reports:
                yield convert.served_model(report)

    async def _run(
        self,
        version: ResidentVersion,
        examples: Examples,
        output: Output,
        deadline: float | None,
        shadow: Shadow | None,
    ) -> Numbers:
        answer = await self._pipeline.answer(version, examples, frozenset({output}), Urgency(deadline), shadow)
        return answer[output]


def _deadline(context: grpc.aio.ServicerContext[Any, Any]) -> float | None:
    """Return the caller's deadline by time.monotonic."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining
