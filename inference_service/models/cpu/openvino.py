"""OpenVINO in this process: imported without its telemetry, and stages that it compiled as modules of PyTorch."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_DIGEST_BYTES = hashlib.sha256().digest_size


def openvino_version() -> str | None:
    """Return the version of the installed OpenVINO; None without one."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


def import_openvino() -> ModuleType:
    """Import OpenVINO so that it reports to nobody; raise ImportError where that fails.

    Its converter's package sends an event at every import and conversion where a machine's user agreed to that once.
    """
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]  # None makes an import fail
    modules.setdefault("openvino_telemetry", None)
    modules.setdefault("openvino.tools.ovc", None)
    return importlib.import_module("openvino")


def sealed(form: Mapping[str, object], compiled: bytes) -> bytes:
    """Return a compiled stage's file: a SHA-256, and the bytes that it is of, a line of JSON before the rest."""
    content = json.dumps(form).encode() + b"\n" + compiled
    return hashlib.sha256(content).digest() + content


class OpenVino:
    """OpenVINO, with `num_threads` threads that each run rows of their own; it is imported at the first use."""

    def __init__(self, num_threads: int) -> None:
        # A thread that calls a stage runs it; pinned to a core it would wait there for other processes.
        self._config = {
            "NUM_STREAMS": str(num_threads),
            "INFERENCE_NUM_THREADS": num_threads,
            "ENABLE_CPU_PINNING": False,
        }

    def stage(self, file: bytes) -> CompiledStage | None:
        """Return the stage in the bytes that `sealed` gave on such a processor; None where they are damaged."""
        content = memoryview(file)[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != file[:_DIGEST_BYTES]:
            return None
        end = file.index(b"\n", _DIGEST_BYTES) + 1
        compiled = self._core.import_model(file[end:], "CPU", self._config)
        return CompiledStage(self._openvino, compiled, **json.loads(file[_DIGEST_BYTES:end]))

    @cached_property
    def _openvino(self) -> ModuleType:
        return import_openvino()

    @cached_property
    def _core(self) -> Any:  # noqa: ANN401  the library carries no types
        return self._openvino.Core()


class CompiledStage(nn.Module):
    """A compiled stage of one tensor [n, …] to another, [n, *row_shape]; any thread may call it.

    The rows that it takes are in memory channels last where `is_channels_last`; what it gives never is.
    """

    def __init__(
        self,
        openvino: ModuleType,
        compiled: Any,  # noqa: ANN401  the library carries no types
        *,
        row_shape: Sequence[int],
        is_channels_last: bool,
    ) -> None:
        super().__init__()
        self._openvino, self._compiled = openvino, compiled
        self._row_shape, self._is_channels_last = row_shape, is_channels_last
        self._requests = threading.local()

    def forward(self, x: Tensor) -> Tensor:
        """Return the stage's output for rows of the shape and type that it was compiled for, in that type."""
        request = getattr(self._requests, "own", None)
        if request is None:
            request = self._requests.own = self._compiled.create_infer_request()
        rows = (x.permute(0, 2, 3, 1) if self._is_channels_last else x).contiguous()
        output = torch.empty((len(x), *self._row_shape), dtype=x.dtype)
        request.set_input_tensor(self._shared(rows))
        request.set_output_tensor(self._shared(output))
        request.infer()
        return output

    def _shared(self, tensor: Tensor) -> Any:  # noqa: ANN401  the library carries no types
        """Return the tensor as OpenVINO's, in the same memory; NumPy has no bfloat16."""
        openvino = self._openvino
        if tensor.dtype == torch.bfloat16:
            return openvino.Tensor(tensor.view(torch.int16).numpy(), openvino.Shape(tensor.shape), openvino.Type.bf16)
        return openvino.Tensor(tensor.numpy(), shared_memory=True)
