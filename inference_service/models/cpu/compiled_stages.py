"""Compiled stages in a folder of this service: found by what they were compiled from, made by a child process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from torch import nn

from grpc_runtime.child_process import command_of
from inference_service.models.cpu.openvino import OpenVino, openvino_version
from inference_service.models.precision import Precision
from inference_service.models.resident import StageKey
from model_store.blobs import BlobStore
from model_store.blobs.cache import BlobCache
from model_store.errors import StoreError
from model_store.manifests import canonical_json

_log = structlog.get_logger()
_COMPILER = "inference_service.models.cpu.compile_stages"
_Files = Mapping[StageKey, Mapping[Precision, Path]]


@dataclass(frozen=True)
class Backbone:
    """Stages to compile, first to last, for rows of one shape; `head` is the head's JSON."""

    stages: tuple[StageKey, ...]
    row_shape: tuple[int, ...]
    head: str


class CompiledStages:
    """Finds compiled stages, and compiles absent ones in the background; close it at the end.

    A stage is looked up by its digest, its architecture, the shape of the version's rows, the precision, the version of
    OpenVINO and the processor's abilities. An empty file stands for a stage that cannot be compiled. The folder belongs
    to this service: OpenVINO trusts the bytes that it imports.
    """

    def __init__(self, cache: BlobCache, blobs: BlobStore, openvino: OpenVino) -> None:
        self._cache = cache
        self._blobs = blobs
        self._openvino = openvino
        self._place = {"openvino": openvino_version(), "processor": dict(torch.cpu.get_capabilities())}
        self._thread = ThreadPoolExecutor(1, "compiler")
        self._failed: set[Backbone] = set()
        self._child: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    @property
    def num_copies(self) -> int:
        """How many copies of a stage's numbers are in memory, in float32 whatever they compute in."""
        return self._openvino.num_copies

    def has(self, backbone: Backbone, precision: Precision) -> bool:
        """Say whether each stage was compiled, or found not to be compilable."""
        return all(self._has(backbone, key, precision) for key in backbone.stages)

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

    def compile(self, backbone: Backbone, precisions: Sequence[Precision], done: Callable[[], object]) -> None:
        """Compile absent stages, and call `done` in another thread after that; what failed once is not tried again."""
        if backbone not in self._failed:
            self._thread.submit(self._compile, backbone, precisions, done)

    def close(self) -> None:
        """Give up what is being compiled."""
        self._is_closed = True
        if (child := self._child) is not None:
            child.kill()
        self._thread.shutdown(cancel_futures=True)

    def _compile(self, backbone: Backbone, precisions: Sequence[Precision], done: Callable[[], object]) -> None:
        temporary = {
            key: {
                each: self._cache.temporary / uuid.uuid4().hex
                for each in precisions
                if not self._has(backbone, key, each)
            }
            for key in backbone.stages
        }
        if backbone in self._failed or self._is_closed:
            return
        try:
            if any(temporary.values()):
                self._keep(backbone, temporary, self._reasons(backbone, temporary))
        except (OSError, StoreError, subprocess.SubprocessError):
            self._failed.add(backbone)
            if not self._is_closed:
                _log.exception("compile_failed", architecture=backbone.stages[0].architecture)
        else:
            done()
        finally:
            for file in [file for files in temporary.values() for file in files.values()]:
                file.unlink(missing_ok=True)

    def _keep(self, backbone: Backbone, temporary: _Files, reasons: Mapping[str, str]) -> None:
        for key, files in temporary.items():
            if key.name in reasons:
                _log.info("stage_not_compiled", stage=key.name, digest=key.digest, reason=reasons[key.name])
            for precision, file in files.items():
                if key.name in reasons:
                    file.write_bytes(b"")
                self._cache.add(file, self._name(backbone, key, precision))

    def _reasons(self, backbone: Backbone, temporary: _Files) -> dict[str, str]:
        """Let a process write the files; return why stages cannot be compiled, by name."""
        blobs = [self._blobs.read(key.digest) for key in backbone.stages]
        stages = [
            (key.name, len(blob), {precision: str(file) for precision, file in temporary[key].items()})
            for key, blob in zip(backbone.stages, blobs, strict=True)
        ]
        order = {
            "architecture": backbone.stages[0].architecture,
            "arguments": json.loads(backbone.stages[0].arguments),
            "head": json.loads(backbone.head),
            "row_shape": backbone.row_shape,
            "stages": stages,
        }
        command, work = command_of(_COMPILER), b"".join([json.dumps(order).encode(), b"\n", *blobs])
        with tempfile.TemporaryFile() as errors:
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as child:
                self._child = child
                answer, _ = child.communicate(work)
            errors.seek(0)
            if child.returncode:
                raise subprocess.CalledProcessError(child.returncode, command, stderr=errors.read()[-2000:])
        reasons: dict[str, str] = json.loads(answer)
        return reasons

    def _has(self, backbone: Backbone, key: StageKey, precision: Precision) -> bool:
        file = self._cache.open(self._name(backbone, key, precision))
        if file is not None:
            file.close()
        return file is not None

    def _name(self, backbone: Backbone, key: StageKey, precision: Precision) -> str:
        made_of = {
            "stage": [key.architecture, key.arguments, key.name, key.digest],
            "rows": backbone.row_shape,
            "precision": precision,
            **self._place,
        }
        return hashlib.sha256(canonical_json(made_of)).hexdigest()
