"""In which precisions and by which backends a version can be run, and which of its stages are to be compiled."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from inference_service.models.cpu.compiled_stages import Backbone, CompiledStages
from inference_service.models.precision import Precision, candidates
from inference_service.models.resident import StageKey
from model_store.architectures import HEAD, Head, borrowed_stages, build
from model_store.manifests import Manifest, ManifestStage, canonical_json
from model_store.modalities import read_input_spec

_COMPILED_PRECISIONS = (Precision.INT8, Precision.BFLOAT16, Precision.FLOAT32)
_MAX_ANSWERS = 256  # an architecture's arguments, such as sizes, can be any

Way = tuple[Precision, Backbone | None]
"""In which precision, and of which compiled stages: of none where PyTorch runs all."""


class Ways:
    """The precisions of the settings, as they apply to a version on this device.

    `precision` is one of Precision or `auto`. With `compiled`, OpenVINO runs the stages of backbones that it can.
    """

    def __init__(self, precision: str, device: torch.device, compiled: CompiledStages | None) -> None:
        can_quantise = compiled is not None and compiled.can_quantise
        self._precisions = candidates(precision, device, can_quantise=can_quantise)
        self._compiled = compiled

    def of(self, manifest: Manifest, *, has_rows: bool) -> list[Way]:
        """Return how a version may be run, the best first; without rows to calibrate by, `auto` is float32."""
        backbone = self._backbone(manifest)
        ways: list[Way] = []
        for precision in self._precisions if has_rows else self._precisions[-1:]:
            if backbone is not None and self._is_compiled(backbone, precision):
                ways.append((precision, backbone))
            if precision is not Precision.INT8:  # PyTorch does not run it
                ways.append((precision, None))
        return ways

    def compile_absent(
        self, manifest: Manifest, inputs: Callable[[], Tensor] | None, done: Callable[[], object]
    ) -> None:
        """Let stages be compiled that are not yet, and call `done` in another thread after that.

        `inputs` gives the version's rows to calibrate by, as `CompiledStages.compile` takes them; without, none is
        compiled in int8.
        """
        backbone = self._backbone(manifest)
        if self._compiled is None or backbone is None:
            return
        precisions = [each for each in self._precisions if each in _COMPILED_PRECISIONS]
        if inputs is None:
            precisions = [each for each in precisions if each is not Precision.INT8]
        self._compiled.compile(backbone, precisions, done, inputs)

    def _is_compiled(self, backbone: Backbone, precision: Precision) -> bool:
        """Say whether the compiled stages are there; in int8 each must be, elsewhere PyTorch runs what cannot be."""
        if self._compiled is None:
            return False
        return self._compiled.has(backbone, precision, whole=precision is Precision.INT8)

    def _backbone(self, manifest: Manifest) -> Backbone | None:
        """Return what is to be compiled of a version; None where PyTorch runs all of it.

        Compiled are backbones of convolutions, for rows of one size: transformers ran no faster.
        """
        row_shape = read_input_spec(manifest.input_spec).tensors()[0].shape
        if self._compiled is None or len(row_shape) < 2 or min(row_shape) < 1:
            return None
        if not _has_convolutions(manifest.architecture, canonical_json(manifest.arguments)):
            return None
        head = Head.from_json(manifest.head)
        keys = tuple(stage_key(manifest, head, entry) for entry in manifest.stages if entry.name != HEAD)
        return Backbone(keys, row_shape, canonical_json(manifest.head).decode())


def stage_key(manifest: Manifest, head: Head, entry: ManifestStage) -> StageKey:
    """Return what makes a stage of this version interchangeable with those of others."""
    borrowed = borrowed_stages(manifest.architecture, manifest.arguments)
    architecture, arguments = borrowed.get(entry.name, (manifest.architecture, manifest.arguments))
    return StageKey(
        architecture=architecture,
        arguments=canonical_json(arguments).decode(),
        head=canonical_json(head.to_json()).decode() if entry.name == HEAD else "",
        name=entry.name,
        digest=entry.digest,
    )


@lru_cache(maxsize=_MAX_ANSWERS)
def _has_convolutions(architecture: str, arguments: bytes) -> bool:
    chain = build(architecture, json.loads(arguments), Head("none"))
    return sum(isinstance(module, nn.Conv2d) for module in chain.modules()) > 1  # one makes patches for a transformer
