"""OpenVINO in this process: imported without its telemetry, and stages that it compiled as modules of PyTorch."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from queue import SimpleQueue
from threading import Lock
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

NUMBERS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""OpenVINO's names of what a stage's tensors are in, and what computes where it is not quantised, by precision."""

_DIGEST_BYTES = hashlib.sha256().digest_size


def openvino_version() -> str | None:
    """Return the version of the installed OpenVINO; None without one."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


def nncf_version() -> str | None:
    """Return the version of the installed NNCF, by which stages are quantised; None without one."""
    try:
        return version("nncf")
    except PackageNotFoundError:
        return None


def import_openvino() -> ModuleType:
    """Import OpenVINO so that it reports to nobody; raise ImportError where that fails.

    Its converter's package sends an event at every import and conversion where a machine's user agreed to that once.
    NNCF, imported after this, finds no telemetry either, and does without.
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
    """OpenVINO, for `num_threads` threads that each run rows of their own; it is imported at the first use.

    A model of one stream runs in the thread that calls it, for one caller at a time: so each thread has a copy, and one
    more copy runs a row that is alone on all cores. One model of several streams hands every call to a thread of
    OpenVINO and back, and ran 5 to 25 % fewer rows.
    """

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads

    @property
    def num_copies(self) -> int:
        """How many copies of a stage's numbers can be in memory."""
        return self._num_threads + (self._num_threads > 1)

    def stage(self, file: bytes, precision: str) -> CompiledStage | None:
        """Return the stage that was compiled for this precision; None where the bytes are not as `sealed` gave them.

        What is imported does not compute in what it was compiled for, but in what the processor does fastest.
        """
        content = memoryview(file)[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != file[:_DIGEST_BYTES]:
            return None
        end = file.index(b"\n", _DIGEST_BYTES) + 1
        form, compiled = json.loads(file[_DIGEST_BYTES:end]), file[end:]
        copies = [self._copy(compiled, precision, 1) for _ in range(self._num_threads)]
        wide = partial(self._copy, compiled, precision, self._num_threads)
        return CompiledStage(self._openvino, copies, wide, **form)

    def _copy(self, compiled: bytes, precision: str, num_threads: int) -> Any:  # noqa: ANN401  the library carries no types
        config = {
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": num_threads,
            "ENABLE_CPU_PINNING": False,  # pinned to a core, a thread would wait there for other processes
            "INFERENCE_PRECISION_HINT": NUMBERS[precision],
        }
        return self._core.import_model(compiled, "CPU", config).create_infer_request()

    @cached_property
    def _openvino(self) -> ModuleType:
        return import_openvino()

    @cached_property
    def _core(self) -> Any:  # noqa: ANN401  the library carries no types
        return self._openvino.Core()


class CompiledStage(nn.Module):
    """A compiled stage of one tensor [n, …] to another, [n, *row_shape]; as many threads at once as it has copies.

    A caller with several of PyTorch's threads has the wide copy, which runs on all cores. It is prepared for the first
    of them: a load under load takes two thirds of the time without it.

    The rows that it takes are in memory channels last where `is_channels_last`; what it gives never is.
    """

    def __init__(
        self,
        openvino: ModuleType,
        copies: Sequence[Any],
        wide: Callable[[], Any],
        *,
        row_shape: Sequence[int],
        is_channels_last: bool,
    ) -> None:
        super().__init__()
        self._openvino = openvino
        self._row_shape, self._is_channels_last = row_shape, is_channels_last
        self._narrow: SimpleQueue[Any] = SimpleQueue()
        for each in copies:
            self._narrow.put(each)
        self._wide: Any = None
        self._prepare_wide: Callable[[], Any] | None = wide
        self._wide_turn = Lock()

    def forward(self, x: Tensor) -> Tensor:
        """Return the stage's output for rows of the shape and type that it was compiled for, in that type.

        It was compiled for one row: a thread runs as many rows a second one by one.
        """
        rows = (x.permute(0, 2, 3, 1) if self._is_channels_last else x).contiguous()
        output = torch.empty((len(x), *self._row_shape), dtype=x.dtype)
        with self._copy() as copy:
            for row in range(len(x)):
                copy.set_input_tensor(self._shared(rows[row : row + 1]))
                copy.set_output_tensor(self._shared(output[row : row + 1]))
                copy.infer()
        return output

    @contextmanager
    def _copy(self) -> Iterator[Any]:
        """Yield a copy that no other thread uses meanwhile."""
        if torch.get_num_threads() == 1:
            copy = self._narrow.get()
            try:
                yield copy
            finally:
                self._narrow.put(copy)
            return
        with self._wide_turn:
            if self._prepare_wide is not None:
                self._wide = self._prepare_wide()
                self._prepare_wide = None  # and with it the bytes that copies are prepared from
            yield self._wide

    def _shared(self, tensor: Tensor) -> Any:  # noqa: ANN401  the library carries no types
        """Return the tensor as OpenVINO's, in the same memory; NumPy has no bfloat16."""
        openvino = self._openvino
        if tensor.dtype == torch.bfloat16:
            return openvino.Tensor(tensor.view(torch.int16).numpy(), openvino.Shape(tensor.shape), openvino.Type.bf16)
        return openvino.Tensor(tensor.numpy(), shared_memory=True)
