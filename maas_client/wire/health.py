"""Ask a server for its health, by the gRPC health protocol (https://github.com/grpc/grpc/blob/master/doc/health-checking.md)."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_runtime.addresses import NO_PROXY, channel_options
from maas_client.errors import error_of


def is_serving(address: str, *, timeout_seconds: float = 1.0, is_here: bool = False) -> bool:
    """Say whether a server reports SERVING; False too where nothing answers in time."""
    return not why_not_serving(address, timeout_seconds=timeout_seconds, is_here=is_here)


def why_not_serving(address: str, *, service: str = "", timeout_seconds: float = 1.0, is_here: bool = False) -> str:
    """Return why a server, or one service of it, does not report SERVING; an empty text where it does.

    One that `is_here`, on this machine, is asked without a proxy whatever its address.
    """
    options = NO_PROXY if is_here else channel_options(address)
    with grpc.insecure_channel(address, options) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_seconds)
        except grpc.RpcError as error:
            return str(error_of(error))
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return f"{service or address} reports {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"
