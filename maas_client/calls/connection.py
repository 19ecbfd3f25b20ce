"""The channels to both services, and how a call reads pages and goes on after a broken connection."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
from maas.inference.v1 import inference_pb2_grpc
from maas.model_store.v1 import model_store_pb2_grpc
from maas.training.v1 import training_pb2_grpc

from grpc_runtime.addresses import channel_options
from maas_client.settings import ClientSettings
from maas_client.wire.resuming import resumed
from maas_client.wire.retrying import Retries
from maas_client.wire.stubs import ActiveCalls, Stubs

PAGE_SIZE = 1000
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_LONGEST_BACKOFF_MS = 5000


class Connection:
    """Channels to both services, opened at first use; safe to share between threads.

    `training`, `registry` and `inference` are gRPC's own stubs, for whoever needs them: they raise grpc.RpcError. Those
    in `stubs`, which every method uses, raise maas_client.errors.
    """

    def __init__(self, address: str | ClientSettings = "", *, training: str = "", inference: str = "") -> None:
        """Take where the services are; raise InvalidAddress where that is no address.

        `address` is `host:port` of a server or proxy that has both services, or a `host` where both listen on their own
        ports (50052 and 50051). `training` and `inference` name one service each. What is not given is taken from the
        variables MAAS_TRAINING_ADDRESS and MAAS_INFERENCE_ADDRESS.
        """
        if isinstance(address, ClientSettings):
            settings = address
        elif address or training or inference:
            settings = ClientSettings.of(address, training=training, inference=inference)
        else:
            settings = ClientSettings.from_environment()
        self.settings: ClientSettings = settings
        self.training_channel = _channel(settings.training_address, settings.keepalive_seconds)
        self.inference_channel = _channel(settings.inference_address, settings.keepalive_seconds)
        self.training = training_pb2_grpc.TrainingServiceStub(self.training_channel)
        self.registry = model_store_pb2_grpc.ModelStoreServiceStub(self.training_channel)
        self.inference = inference_pb2_grpc.InferenceServiceStub(self.inference_channel)
        self.stubs = Stubs.over(self.training_channel, self.inference_channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both channels."""
        self.training_channel.close()
        self.inference_channel.close()

    def cancellable(self, calls: ActiveCalls) -> Self:
        """Return the same client over the same channels, whose calls are counted in `calls` and end with them."""
        other = copy.copy(self)
        other.stubs = Stubs.over(self.training_channel, self.inference_channel, calls)
        return other

    def retries(self) -> Retries:
        """Return the tries of an upload to the training service."""
        return Retries(self.training_channel, self.settings.reconnect_seconds)

    def resumed(self, call: Callable[[Any], Any], request: Any) -> Iterator[Any]:  # noqa: ANN401  any numbered stream
        """Yield the numbered messages of a stream of the training service, and go on after the last one received."""
        return resumed(call, request, self.training_channel, self.settings.reconnect_seconds)


def all_pages(call: Callable[[Any], Any], request: Any, field: str) -> Iterator[Any]:  # noqa: ANN401  any List RPC
    """Yield the resources of every page that a List RPC answers."""
    while True:
        response = call(request)
        yield from getattr(response, field)
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token


def _channel(address: str, keepalive_seconds: float) -> grpc.Channel:
    limits = [(f"grpc.max_{way}_message_length", _MAX_MESSAGE_BYTES) for way in ("send", "receive")]
    keepalive_ms = round(1000 * keepalive_seconds)
    keepalive = [
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", keepalive_ms),
        ("grpc.http2.ping_timeout_ms", keepalive_ms),  # of the pings that measure the bandwidth: others wait for them
        ("grpc.http2.max_pings_without_data", 0),
        (
            "grpc.max_reconnect_backoff_ms",
            _LONGEST_BACKOFF_MS,
        ),  # else 2 minutes, longer than a call waits for a service
    ]
    return grpc.insecure_channel(address, [*limits, *keepalive, *channel_options(address)])
