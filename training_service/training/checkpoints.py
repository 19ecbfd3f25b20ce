"""Checkpoints of a training job: what a trainer needs to go on, as one blob of tensors, written at intervals.

Numbers and text travel as JSON in a tensor of bytes beside the others, so nothing is pickled and every byte is verified
when it is read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
import torch
from torch import Tensor

from model_store.blobs import BlobStore
from model_store.errors import CorruptBlob, MissingBlob
from model_store.names import job_name
from model_store.records.jobs import JobCheckpoint
from model_store.registry.jobs import Claim, JobStore
from model_store.tensors.stages import read_stage, write_stage

_log = structlog.get_logger()
_STRUCTURE = "structure"
_TENSOR, _TUPLE, _DICT = "tensor", "tuple", "dict"

State = Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one claimed job; `should_stop` says that the next step will not come."""

    def __init__(
        self,
        jobs: JobStore,
        blobs: BlobStore,
        claim: Claim,
        *,
        interval_seconds: float,
        should_stop: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._claim = claim
        self._interval = interval_seconds
        self._should_stop = should_stop
        self._clock = clock
        self._saved_at = clock()
        self._saved_step = -1

    def load(self) -> State | None:
        """Return the newest state that can be read whole; None where there is none: the job then begins anew."""
        for checkpoint in self._jobs.checkpoints(self._claim.job_id):
            try:
                state = unpacked(read_stage(self._blobs, checkpoint.digest))
            except (MissingBlob, CorruptBlob) as error:
                self._tell(f"the checkpoint of step {checkpoint.step} cannot be used: {error}")
                continue
            self._saved_step = checkpoint.step
            self._tell(f"goes on after step {checkpoint.step}, from its checkpoint")
            return state
        return None

    def save_if_due(self, step: int, make_state: Callable[[], State]) -> None:
        """Save the state after so many steps, where the last one is old or no further step will come.

        Raises StorageFull, or LeaseLost where another runner has the job by now.
        """
        is_due = self._should_stop() or self._clock() - self._saved_at >= self._interval
        if is_due and step > self._saved_step:
            blob = write_stage(self._blobs, packed(make_state()))
            self._jobs.add_checkpoint(self._claim, JobCheckpoint(step, blob.digest, blob.size_bytes), self._blobs)
            self._saved_at, self._saved_step = self._clock(), step

    def _tell(self, text: str) -> None:
        _log.info("checkpoint", job=job_name(self._claim.job_id), text=text)
        self._jobs.append(self._claim, "message", {"text": text})


def packed(state: State) -> dict[str, Tensor]:
    """Return a state as named tensors; `unpacked` gives it back, with the types of its keys and its tuples.

    A state holds dicts, lists, tuples, tensors, numbers, text and None.
    """
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_flat(state, tensors)).encode()
    return {_STRUCTURE: torch.frombuffer(bytearray(structure), dtype=torch.uint8), **tensors}


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what `packed` took."""
    state: dict[str, Any] = _nested(json.loads(tensors[_STRUCTURE].numpy().tobytes()), tensors)
    return state


def _flat(value: object, tensors: dict[str, Tensor]) -> object:
    if isinstance(value, Tensor):
        name = f"{_TENSOR}{len(tensors)}"
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {_DICT: [[_flat(key, tensors), _flat(each, tensors)] for key, each in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_flat(each, tensors) for each in value]}
    if isinstance(value, list):
        return [_flat(each, tensors) for each in value]
    return value


def _nested(value: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401  any JSON
    if isinstance(value, list):
        return [_nested(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == _TENSOR:
        return tensors[content]
    if kind == _TUPLE:
        return tuple(_nested(each, tensors) for each in content)
    return {_nested(key, tensors): _nested(each, tensors) for key, each in content}
