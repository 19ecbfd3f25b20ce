"""Status codes that refusals have."""

from __future__ import annotations

import grpc

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
UNAVAILABLE, UNIMPLEMENTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED
FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
