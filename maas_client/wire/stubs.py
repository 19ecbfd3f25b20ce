"""The stubs of the services, whose calls raise the client's own errors and can be cancelled together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from maas.inference.v1 import inference_pb2_grpc
from maas.model_store.v1 import model_store_pb2_grpc
from maas.open_inference.v2 import open_inference_pb2_grpc
from maas.training.v1 import training_pb2_grpc

from maas_client.errors import translated


class CallerGone(Exception):
    """Whoever wanted a call's answer has gone: nothing that failed is tried again."""


class ActiveCalls:
    """The calls that one piece of work has under way; once they are cancelled, it can make no others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: set[Any] = set()
        self._is_cancelled = False

    def cancel(self) -> None:
        """Cancel what is under way, and each call that comes after."""
        with self._lock:
            self._is_cancelled = True
            active = list(self._active)
        for call in active:
            call.cancel()

    def watch(self, call: Any) -> None:  # noqa: ANN401  any call of gRPC
        """Count a call among those under way until it has ended."""
        with self._lock:
            self._active.add(call)
            is_cancelled = self._is_cancelled
        call.add_done_callback(self._forget)
        if is_cancelled:
            call.cancel()

    def _forget(self, call: Any) -> None:  # noqa: ANN401  any call of gRPC
        with self._lock:
            self._active.discard(call)

    @contextmanager
    def holding(self, call: Any) -> Iterator[None]:  # noqa: ANN401  any call of gRPC
        """Count a call among those under way."""
        with self._lock:
            self._active.add(call)
            is_cancelled = self._is_cancelled
        if is_cancelled:
            call.cancel()
        try:
            yield
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            if self._is_cancelled:
                raise CallerGone from error
            raise
        finally:
            with self._lock:
                self._active.discard(call)


@dataclass(frozen=True)
class Stubs:
    """The services' stubs."""

    training: Any
    registry: Any
    inference: Any
    open_inference: Any

    @classmethod
    def over(cls, training: grpc.Channel, inference: grpc.Channel, calls: ActiveCalls | None = None) -> Stubs:
        """Return stubs over two channels; what they begin is counted in `calls`, where these are given."""
        of_training: Any = _Channel(training, calls)
        of_inference: Any = _Channel(inference, calls)
        return cls(
            training_pb2_grpc.TrainingServiceStub(of_training),
            model_store_pb2_grpc.ModelStoreServiceStub(of_training),
            inference_pb2_grpc.InferenceServiceStub(of_inference),
            open_inference_pb2_grpc.GRPCInferenceServiceStub(of_inference),
        )


class _Channel:
    """What a stub makes its calls with."""

    def __init__(self, channel: grpc.Channel, calls: ActiveCalls | None) -> None:
        self._channel = channel
        self._calls = calls

    def unary_unary(self, *arguments: Any, **options: Any) -> _OneResponse:  # noqa: ANN401  as gRPC's own
        return _OneResponse(self._channel.unary_unary(*arguments, **options), self._calls)

    def stream_unary(self, *arguments: Any, **options: Any) -> _OneResponse:  # noqa: ANN401  as gRPC's own
        return _OneResponse(self._channel.stream_unary(*arguments, **options), self._calls)

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., _Responses]:  # noqa: ANN401  as gRPC's own
        call: Any = self._channel.unary_stream(*arguments, **options)
        return lambda request, **given: _Responses(call(request, **given), self._calls)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  as gRPC's own
        """Return gRPC's own call: no method of the client makes one."""
        return self._channel.stream_stream(*arguments, **options)


class _OneResponse:
    """A call with one response."""

    def __init__(self, call: Any, calls: ActiveCalls | None) -> None:  # noqa: ANN401  gRPC's own
        self._call = call
        self._calls = calls

    def __call__(self, request: Any, **options: Any) -> Any:  # noqa: ANN401  any message
        with translated():
            if self._calls is None:
                return self._call(request, **options)
            future = self._call.future(request, **options)
            with self._calls.holding(future):
                return future.result()

    def future(self, request: Any, **options: Any) -> Any:  # noqa: ANN401  gRPC's own
        """Begin the call; the future's errors are gRPC's own."""
        future = self._call.future(request, **options)
        if self._calls is not None:
            self._calls.watch(future)
        return future


class _Responses:
    """A call with a stream of responses."""

    def __init__(self, stream: Any, calls: ActiveCalls | None) -> None:  # noqa: ANN401  gRPC's own
        self._stream = stream
        self._calls = calls

    def __iter__(self) -> _Responses:
        return self

    def __next__(self) -> Any:  # noqa: ANN401  any message
        return self._take(lambda: next(self._stream))

    def initial_metadata(self) -> Any:  # noqa: ANN401  gRPC's own
        """Wait for the metadata that come before the first message."""
        return self._take(self._stream.initial_metadata)

    def cancel(self) -> None:
        """End the call."""
        self._stream.cancel()

    def _take(self, read: Callable[[], Any]) -> Any:  # noqa: ANN401  any message
        with translated():
            if self._calls is None:
                return read()
            with self._calls.holding(self._stream):
                return read()
