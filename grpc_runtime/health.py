"""grpc.health.v1 with its newest method, List, which gRPC's own servicer lacks."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2


class HealthServicer(health.aio.HealthServicer):
    """gRPC's own servicer, which also lists the health of every service."""

    def __init__(self) -> None:
        super().__init__()
        self._names: set[str] = set()

    async def set(self, service: str, status: Any) -> None:  # noqa: ANN401  as the class that it extends has it
        """Set the health of a service; nothing changes once the server is stopping."""
        self._names.add(service)
        await super().set(service, status)

    async def List(
        self,
        request: Any,  # noqa: ANN401, ARG002  the type stubs lack its messages
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> Any:  # noqa: ANN401
        """Return the health of every service, and of the server as a whole under the empty name."""
        found = {name: await self.Check(health_pb2.HealthCheckRequest(service=name), context) for name in self._names}
        return health_pb2.HealthListResponse(statuses=found)  # type: ignore[attr-defined]
