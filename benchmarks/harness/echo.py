"""The least server there can be: it answers every ModelInfer with the bytes of a file.

`python -m benchmarks.harness.echo FILE` runs it. It is the limit of what a Python process with grpc.aio can serve:
nothing is parsed, nothing is computed.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from benchmarks.harness.load import INFER, runner
from grpc_runtime.child_process import command_of


@contextmanager
def echoing(answer: Path) -> Iterator[str]:
    """Run the server in a process of its own, and give its address."""
    command = [*command_of("benchmarks.harness.echo"), str(answer)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


class _Echo(grpc.GenericRpcHandler):
    def __init__(self, answer: bytes) -> None:
        async def infer(_request: bytes, _context: Any) -> bytes:  # noqa: ANN401
            return answer

        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(infer)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handler if handler_call_details.method == INFER else None


async def _main(answer: bytes) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((_Echo(answer),))
    port = server.add_insecure_port("127.0.0.1:0")
    gc.freeze()
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    runner()(_main(Path(sys.argv[1]).read_bytes()))
