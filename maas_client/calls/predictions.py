"""Calls to the inference service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from maas.inference.v1 import inference_pb2 as pb

from maas_client.calls.connection import PAGE_SIZE, Connection, all_pages
from maas_client.calls.examples import Examples, examples_of
from maas_client.errors import LoadFailed
from maas_client.typed.shorthand import model_name, model_of, target_name
from maas_client.wire.streams import responses

TIMEOUT_SECONDS = 60.0


class PredictionCalls(Connection):
    """Calls to the inference service."""

    def predict(
        self,
        model: str,
        examples: Examples,
        *,
        top_k: int = 0,
        routing_key: str = "",
        timeout: float | None = TIMEOUT_SECONDS,
    ) -> pb.PredictResponse:
        """Ask a model about one example or several (see `Given`); waits up to `timeout` seconds.

        `top_k` is for classification alone. Requests with the same `routing_key` are answered by the same version of
        an alias that has canaries. The examples go in one message, of 64 MiB at most: `predict_files` sends as many as
        it takes.
        """
        request = predict_request(model, examples, top_k, routing_key)
        return self.stubs.inference.Predict(request, timeout=timeout)

    def embed(
        self,
        model: str,
        examples: Examples,
        *,
        routing_key: str = "",
        timeout: float | None = TIMEOUT_SECONDS,
    ) -> pb.EmbedResponse:
        """Embed one example or several (see `Given`); waits up to `timeout` seconds."""
        return self.stubs.inference.Embed(embed_request(model, examples, routing_key), timeout=timeout)

    def served_model(self, model: str) -> pb.ServedModel:
        """Return what the inference service has loaded of a model, and which version its aliases answer from."""
        return self.stubs.inference.GetServedModel(pb.GetServedModelRequest(name=model_name(model)))

    def served_models(self) -> Iterator[pb.ServedModel]:
        """Yield what the inference service has loaded of each model, by id."""
        request = pb.ListServedModelsRequest(page_size=PAGE_SIZE)
        yield from all_pages(self.stubs.inference.ListServedModels, request, "served_models")

    def wait_ready(self, version: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        """Wait until the inference service answers from a version, and the names that should mean it do.

        Raises LoadFailed where the service cannot load it, and DeadlineExceeded after `timeout` seconds.
        """
        name = target_name(version)
        request = pb.WatchServedModelsRequest(name=model_of(name))
        watching = partial(self.stubs.inference.WatchServedModels, request, timeout=timeout, wait_for_ready=True)
        for model in responses(watching):
            for report in model.versions:
                if report.name == name and report.state == pb.VERSION_STATE_READY:
                    return
                if report.name == name and report.state == pb.VERSION_STATE_FAILED:
                    raise LoadFailed(f"{name} could not be loaded: {report.reason}")


def predict_request(model: str, examples: Examples, top_k: int, routing_key: str) -> pb.PredictRequest:
    """Return the message that asks for predictions."""
    name = target_name(model)
    return pb.PredictRequest(name=name, examples=examples_of(examples), top_k=top_k, routing_key=routing_key)


def embed_request(model: str, examples: Examples, routing_key: str) -> pb.EmbedRequest:
    """Return the message that asks for embeddings."""
    return pb.EmbedRequest(name=target_name(model), examples=examples_of(examples), routing_key=routing_key)
