"""Calls to the inference service."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from maas.inference.v1 import inference_pb2

from maas_client.calls.connection import Connection
from maas_client.calls.examples import Given, example
from maas_client.typed.shorthand import model_of, target_name
from maas_client.wire.streams import responses


class LoadFailed(Exception):
    """The inference service cannot load a version; the text says why."""


class PredictionCalls(Connection):
    """Calls to the inference service."""

    def predict(
        self, model: str, examples: Iterable[Given], *, top_k: int = 0, timeout: float | None = 60
    ) -> inference_pb2.PredictResponse:
        """Ask a model about examples (see `Given`); waits up to `timeout` seconds.

        `top_k` is for classification alone. The examples go in one message, of 64 MiB at most:
        `maas_client.transfers.predicting.predict_all` sends as many as it takes.
        """
        request = inference_pb2.PredictRequest(
            name=target_name(model), examples=[example(each) for each in examples], top_k=top_k
        )
        return self.inference.Predict(request, timeout=timeout)

    def embed(
        self, model: str, examples: Iterable[Given], *, timeout: float | None = 60
    ) -> inference_pb2.EmbedResponse:
        """Embed examples (see `Given`); waits up to `timeout` seconds."""
        request = inference_pb2.EmbedRequest(name=target_name(model), examples=[example(each) for each in examples])
        return self.inference.Embed(request, timeout=timeout)

    def await_ready(self, version: str, *, timeout: float = 60) -> None:
        """Wait until the inference service answers from a version, and the names that should mean it do.

        Raises LoadFailed where the service cannot load it.
        """
        name = target_name(version)
        request = inference_pb2.WatchServedModelsRequest(name=model_of(name))
        watching = partial(self.inference.WatchServedModels, request, timeout=timeout, wait_for_ready=True)
        for model in responses(watching):
            for report in model.versions:
                if report.name == name and report.state == inference_pb2.VERSION_STATE_READY:
                    return
                if report.name == name and report.state == inference_pb2.VERSION_STATE_FAILED:
                    raise LoadFailed(f"{name} could not be loaded: {report.reason}")
