"""Compiled stages in a folder of this service: found by what they were compiled from, made by a child process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from safetensors.torch import save
from torch import Tensor, nn

from grpc_runtime.child_process import command_of
from inference_service.models.cpu.openvino import OpenVino, nncf_version, openvino_version
from inference_service.models.precision import Precision
from inference_service.models.resident import StageKey
from model_store.blobs import BlobStore
from model_store.blobs.cache import BlobCache
from model_store.errors import StoreError
from model_store.manifests import canonical_json
from model_store.modalities import X

_log = structlog.get_logger()
_COMPILER = "inference_service.models.cpu.compile_stages"
_Files = Mapping[StageKey, Mapping[Precision, Path]]
_Reasons = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Backbone:
    """Stages to compile, first to last, for rows of one shape; `head` is the head's JSON."""

    stages: tuple[StageKey, ...]
    row_shape: tuple[int, ...]
    head: str


class CompiledStages:
    """Finds compiled stages, and compiles absent ones in the background; close it at the end.

    A stage is looked up by its digest, its architecture, the shape of the version's rows, the precision, the version of
    OpenVINO and the processor's abilities; in int8 by the version of NNCF too, but not by the rows that gave its
    scales. An empty file stands for a stage that cannot be compiled. The folder belongs to this service: OpenVINO
    trusts the bytes that it imports.
    """

    def __init__(self, cache: BlobCache, blobs: BlobStore, openvino: OpenVino) -> None:
        self._cache = cache
        self._blobs = blobs
        self._openvino = openvino
        self._place = {"openvino": openvino_version(), "processor": dict(torch.cpu.get_capabilities())}
        self._thread = ThreadPoolExecutor(1, "compiler")
        self._failed: set[tuple[Backbone, Precision]] = set()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    @property
    def can_quantise(self) -> bool:
        """Say whether stages can be compiled in int8."""
        return nncf_version() is not None

    def size_bytes(self, stored_bytes: int, precision: Precision) -> int:
        """Return the memory of all copies of a stage of this many bytes in float32.

        A copy's numbers are in float32, whatever they compute in, but those of int8 in 8 bits.
        """
        return self._openvino.num_copies * stored_bytes // (4 if precision is Precision.INT8 else 1)

    def has(self, backbone: Backbone, precision: Precision, *, whole: bool = False) -> bool:
        """Say whether each stage was compiled, or unless `whole` is asked for, found not to be compilable."""
        sizes = [self._size(backbone, key, precision) for key in backbone.stages]
        return all(size is not None and (size > 0 or not whole) for size in sizes)

    def stage(self, backbone: Backbone, key: StageKey, precision: Precision) -> nn.Module | None:
        """Return a compiled stage; None where it cannot be compiled, or where its file is damaged, and dropped."""
        name = self._name(backbone, key, precision)
        file = self._cache.open(name)
        data = b"" if file is None else file.readall()
        stage = self._openvino.stage(data, precision) if data else None
        if data and stage is None:
            _log.warning("compiled_stage_damaged", stage=key.name, digest=key.digest)
            self._cache.drop(name)
        return stage

    def compile(
        self,
        backbone: Backbone,
        precisions: Sequence[Precision],
        done: Callable[[], object],
        inputs: Callable[[], Tensor] | None = None,
    ) -> None:
        """Compile absent stages, and call `done` in another thread after that; what failed once is not tried again.

        `inputs` gives rows that the first stage may take, [n, *row_shape]: those by which int8 is scaled, and needs.
        """
        if any(not self.has(backbone, each) for each in self._possible(backbone, precisions)):
            self._thread.submit(self._compile, backbone, precisions, done, inputs)

    def close(self) -> None:
        """Give up what is being compiled."""
        self._is_closed = True
        if (child := self._child) is not None:
            child.kill()
        self._thread.shutdown(cancel_futures=True)

    def _compile(
        self,
        backbone: Backbone,
        precisions: Sequence[Precision],
        done: Callable[[], object],
        inputs: Callable[[], Tensor] | None,
    ) -> None:
        possible = self._possible(backbone, precisions)
        if not possible or self._is_closed:
            return
        try:
            self._write_absent(backbone, possible, inputs)
        except (OSError, StoreError, subprocess.SubprocessError):
            if self._is_closed:
                return
            _log.exception("compile_failed", architecture=backbone.stages[0].architecture, precisions=possible)
            # Int8 alone needs rows and another library: without it the rest may succeed.
            blamed = [Precision.INT8] if Precision.INT8 in possible else possible
            self._failed.update((backbone, each) for each in blamed)
            self._compile(backbone, precisions, done, inputs)
        else:
            done()

    def _possible(self, backbone: Backbone, precisions: Sequence[Precision]) -> list[Precision]:
        return [each for each in precisions if (backbone, each) not in self._failed]

    def _write_absent(
        self, backbone: Backbone, precisions: Sequence[Precision], inputs: Callable[[], Tensor] | None
    ) -> None:
        temporary = {
            key: {
                each: self._cache.temporary / uuid.uuid4().hex
                for each in precisions
                if self._size(backbone, key, each) is None
            }
            for key in backbone.stages
        }
        try:
            if any(temporary.values()):
                is_quantised = any(Precision.INT8 in files for files in temporary.values())
                rows = inputs() if inputs is not None and is_quantised else None
                self._keep(backbone, temporary, self._reasons(backbone, temporary, rows))
        finally:
            for file in [file for files in temporary.values() for file in files.values()]:
                file.unlink(missing_ok=True)

    def _keep(self, backbone: Backbone, temporary: _Files, reasons: _Reasons) -> None:
        for key, files in temporary.items():
            for precision, file in files.items():
                reason = reasons.get(key.name, {}).get(precision)
                if reason is not None:
                    file.write_bytes(b"")
                    _log.info(
                        "stage_not_compiled", stage=key.name, digest=key.digest, precision=precision, reason=reason
                    )
                self._cache.add(file, self._name(backbone, key, precision))

    def _reasons(self, backbone: Backbone, temporary: _Files, rows: Tensor | None) -> _Reasons:
        """Let a process write the files; return why stages cannot be compiled, by name and precision."""
        blobs = [self._blobs.read(key.digest) for key in backbone.stages]
        stages = [
            (key.name, len(blob), {precision: str(file) for precision, file in temporary[key].items()})
            for key, blob in zip(backbone.stages, blobs, strict=True)
        ]
        calibration = b"" if rows is None else save({X: rows.contiguous()})
        order = {
            "architecture": backbone.stages[0].architecture,
            "arguments": json.loads(backbone.stages[0].arguments),
            "head": json.loads(backbone.head),
            "row_shape": backbone.row_shape,
            "calibration_bytes": len(calibration),
            "stages": stages,
        }
        command, work = command_of(_COMPILER), b"".join([json.dumps(order).encode(), b"\n", calibration, *blobs])
        with tempfile.TemporaryFile() as errors:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as child:
                self._child = child
                answer, _ = child.communicate(work)
            errors.seek(0)
            if child.returncode:
                raise subprocess.CalledProcessError(child.returncode, command, stderr=errors.read()[-2000:])
        reasons: _Reasons = json.loads(answer)
        return reasons

    def _size(self, backbone: Backbone, key: StageKey, precision: Precision) -> int | None:
        """Return the bytes of a stage's file, if there is one."""
        file = self._cache.open(self._name(backbone, key, precision))
        if file is None:
            return None
        with file:
            return file.seek(0, os.SEEK_END)

    def _name(self, backbone: Backbone, key: StageKey, precision: Precision) -> str:
        made_of = {
            "stage": [key.architecture, key.arguments, key.name, key.digest],
            "rows": backbone.row_shape,
            "precision": precision,
            **self._place,
        }
        if precision is Precision.INT8:
            made_of["nncf"] = nncf_version()
        return hashlib.sha256(canonical_json(made_of)).hexdigest()
