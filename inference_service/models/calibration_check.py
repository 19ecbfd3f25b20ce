"""Runs versions over the rows that are stored with them, on the device and between its batches."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Executor as Threads
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from inference_service.models.precision import Agreement, Backend, agreement
from inference_service.models.resident import ResidentVersion
from model_store.blobs import BlobStore
from model_store.calibration import batch_of, read_logits, read_rows
from model_store.modalities import Batch, InputSpec, concatenated
from model_store.names import VersionName
from model_store.records.resources import CalibrationDigests

R = TypeVar("R")
_ROWS_AT_ONCE = 8  # requests wait for so many at most
_MAX_FEATURES = 2  # an `auto` version may have tried int8 and bfloat16


class Calibrator:
    """Compares a version's answers with its stored ones; call it in one thread.

    `digests_of` names a version's calibration, if it has one. The features of the last two backbones, or of one in two
    precisions, are kept: of many probes on one dataset each costs its head alone.
    """

    def __init__(
        self,
        blobs: BlobStore,
        device: torch.device,
        device_thread: Threads,
        digests_of: Callable[[VersionName], CalibrationDigests | None],
    ) -> None:
        self._blobs = blobs
        self._device = device
        self._device_thread = device_thread
        self._digests_of = digests_of
        self._features: dict[tuple[str, Hashable], Batch] = {}

    def digests(self, name: VersionName) -> CalibrationDigests | None:
        """Return what a version can be calibrated by; None where nothing was stored with it."""
        return self._digests_of(name)

    def inputs(self, input_spec: InputSpec, digests: CalibrationDigests) -> Tensor:
        """Return the rows as a backbone's first stage takes them, [n, …] on the CPU; any thread may call it.

        Raises what read_rows raises.
        """
        rows = read_rows(self._blobs, digests.rows, input_spec)
        return input_spec.to_input(batch_of(rows, torch.device("cpu"))).x

    def agreement(self, version: ResidentVersion, digests: CalibrationDigests) -> Agreement:
        """Return how a version with a head agrees with float32; raise what read_calibration raises."""
        features = self._features_of(version, digests.rows)
        wanted = read_logits(self._blobs, digests.logits, features.num_rows, len(version.names))
        logits = self._run(version, lambda: _head(version, features))
        return replace(agreement(version.precision, wanted, logits, *version.activation), backend=version.backend)

    def _features_of(self, version: ResidentVersion, rows_digest: str) -> Batch:
        key = (rows_digest, version.backbone_key)
        if key not in self._features:
            rows = read_rows(self._blobs, rows_digest, version.input_spec)
            chunks = [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
            parts = [
                self._run(version, lambda rows=chunk: version.features(batch_of(rows, self._device)))  # type: ignore[misc]
                for chunk in chunks
            ]
            if len(self._features) == _MAX_FEATURES:
                del self._features[next(iter(self._features))]
            self._features[key] = concatenated(parts)
        return self._features[key]

    def _run(self, version: ResidentVersion, work: Callable[[], R]) -> R:
        """Run between batches; beside them where OpenVINO has a copy of each stage for one thread more."""
        with_no_gradients = torch.inference_mode()(work)
        if version.backend is Backend.OPENVINO:
            return with_no_gradients()
        return self._device_thread.submit(with_no_gradients).result()


def _head(version: ResidentVersion, features: Batch) -> Tensor:
    if version.head is None:
        raise ValueError(f"{version.name} has no head to calibrate")
    return version.head(features).x
