"""What a loaded version is in memory: a chain of stages, each shared by all loaded versions that have it in common."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakSet

from torch import nn

from inference_service.models.cuda_graphs import Graphed
from inference_service.models.drift_monitor import DriftMonitor
from inference_service.models.precision import Agreement, Backend, Precision
from inference_service.models.statistics import VersionStatistics
from model_store.modalities import Batch, InputSpec, X, cast
from model_store.names import VersionName
from model_store.tasks import Activation, Task


@dataclass(frozen=True)
class StageKey:
    """What makes two stages interchangeable: how they are built, and the digest of their tensors.

    `arguments` and `head` are canonical JSON; `head` is empty for a backbone's stage, which no head changes.
    """

    architecture: str
    arguments: str
    head: str
    name: str
    digest: str


StageIdentity = tuple[StageKey, Precision, Backend]


@dataclass(frozen=True, eq=False)
class Stage:
    """One stage on the device, ready to run in one precision.

    The loader makes one object of each key, precision and backend, so identity is equality. `reads` and `writes` name
    the tensors of a batch that the module takes and gives, in order; those of `drops` are not passed on. A stage that
    keeps its dtype takes tensors of any precision as they are.
    """

    key: StageKey
    precision: Precision
    module: nn.Module
    size_bytes: int
    reads: tuple[str, ...] = (X,)
    writes: tuple[str, ...] = (X,)
    drops: tuple[str, ...] = ()
    backend: Backend = Backend.TORCH
    keeps_dtype: bool = False
    users: WeakSet[ResidentVersion] = field(default_factory=WeakSet, repr=False)

    @property
    def identity(self) -> StageIdentity:
        """What no other stage in memory has."""
        return self.key, self.precision, self.backend

    def __call__(self, batch: Batch) -> Batch:
        """Run the stage over rows whose floating tensors are of any precision; pass on what it does not write."""
        read = [batch.tensors[name] for name in self.reads]
        if not self.keeps_dtype:
            read = [cast(each, self.precision.dtype) for each in read]
        outputs = self.module(*read)
        written = {self.writes[0]: outputs} if len(self.writes) == 1 else zip(self.writes, outputs, strict=True)
        kept = batch.without(self.drops) if self.drops else batch
        return kept.updated(dict(written))

    @property
    def is_recorded(self) -> bool:
        """Say whether nothing is left to record of the stage."""
        return not isinstance(self.module, Graphed) or self.module.is_recorded

    def record(self, batch: Batch) -> None:
        """Record the stage for rows like this one, where it can be recorded and is not yet."""
        if isinstance(self.module, Graphed):
            self.module.record(batch.x.to(self.precision.dtype))


@dataclass(frozen=True, eq=False)
class ResidentVersion:
    """An immutable version on the device, and what it was asked; its memory is free once nothing refers to it any more.

    `head` and `task` are None for a backbone only. `architecture` is its name. `precision` is that of the backbone,
    `agreements` how it and those that were tried before it compare with float32. `drift` is None where no rows are
    compared with those of training.
    """

    name: VersionName
    architecture: str
    embedding_size: int
    input_spec: InputSpec
    task: Task | None
    backbone: tuple[Stage, ...]
    head: Stage | None
    precision: Precision = Precision.FLOAT32
    agreements: tuple[Agreement, ...] = ()
    drift: DriftMonitor | None = field(default=None, repr=False)
    statistics: VersionStatistics = field(default_factory=VersionStatistics, repr=False)

    def __post_init__(self) -> None:
        for stage in self.stages:
            stage.users.add(self)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """All stages, first to last."""
        return self.backbone if self.head is None else (*self.backbone, self.head)

    @property
    def names(self) -> tuple[str, ...]:
        """What each output stands for, labels or targets; none for a backbone only."""
        return () if self.task is None else self.task.names

    @cached_property
    def activation(self) -> tuple[Activation, float]:
        """The task's activation, and the temperature that logits are divided by before it."""
        return ("identity", 1.0) if self.task is None else (self.task.activation, self.task.temperature)

    @property
    def temperature(self) -> float:
        """What logits are divided by before the activation."""
        return self.activation[1]

    @property
    def backbone_key(self) -> Hashable:
        """What versions have in common whose backbones give the same for the same rows."""
        return (self.input_spec, *(stage.identity for stage in self.backbone))

    @property
    def backend(self) -> Backend:
        """What runs its backbone: OpenVINO where that runs any stage."""
        return Backend.OPENVINO if any(each.backend is Backend.OPENVINO for each in self.backbone) else Backend.TORCH

    def features(self, rows: Batch, *, records: bool = False) -> Batch:
        """Return what the backbone gives for prepared rows on its device, and the head reads.

        With `records`, of one row, each stage is recorded before it runs, where it can be.
        """
        batch = self.input_spec.to_input(rows)
        for stage in self.backbone:
            if records:
                stage.record(batch)
            batch = stage(batch)
        return batch

    @property
    def size_bytes(self) -> int:
        """Bytes of all its stages."""
        return sum(stage.size_bytes for stage in self.stages)

    @property
    def shared_bytes(self) -> int:
        """Bytes of the stages that other loaded versions use too."""
        return sum(stage.size_bytes for stage in self.stages if len(stage.users) > 1)
