"""The chain of a model: named stages, of which the last one may be the head."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from model_store.errors import InvalidManifest
from model_store.modalities.batch import Batch, X

HEAD = "head"
Step = tuple[str, nn.Module]
Stages = Sequence[tuple[str, nn.Module | Sequence[Step]]]


class Chain(nn.Sequential):
    """An ordered chain of named stages, each of which maps a Batch to a Batch: see `run_stage`.

    `embedding_size` is d of the embedding [n, d] that the backbone writes and a linear head reads.

    Guarantees: the tensors of a stage have the full names of the published model (`layer1.0.conv1.weight`), so the
    union of the stages is that model's state dict; no stage writes into its input, so an output may be cached or fed to
    two successors; a frozen stage stays in `eval()` after any call of `train()`.
    """

    def __init__(self, stages: Stages, embedding_size: int) -> None:
        super().__init__()
        self.embedding_size = embedding_size
        for name, steps in stages:
            # Not add_module: it refuses a stage named `head`, because of the property below.
            self._modules[name] = steps if isinstance(steps, nn.Module) else nest(steps)
        self._frozen: frozenset[str] = frozenset()

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages, first to last."""
        return tuple(self._modules)

    @property
    def backbone(self) -> list[tuple[str, nn.Module]]:
        """Every stage before the head."""
        return [(name, stage) for name, stage in self.named_children() if name != HEAD]

    @property
    def head(self) -> nn.Module | None:
        """The last stage; None for a backbone only."""
        return self._modules.get(HEAD)

    def stage(self, name: str) -> nn.Module:
        """Return one stage; raise InvalidManifest for an unknown name."""
        stage = self._modules.get(name)
        if stage is None:
            raise InvalidManifest(f"there is no stage {name!r}: the stages are {', '.join(self.stage_names)}")
        return stage

    def features(self, batch: Batch) -> Batch:
        """Return the backbone's output for inputs; the head reads it."""
        for _, stage in self.backbone:
            batch = run_stage(stage, batch)
        return batch

    def embed(self, batch: Batch) -> Tensor:
        """Return the embedding [n, d]."""
        return self.features(batch).embedding

    def forward(self, batch: Batch) -> Tensor:
        """Return the head's outputs [n, outputs]; for a backbone only, the embedding [n, d]."""
        features = self.features(batch)
        return features.embedding if self.head is None else run_stage(self.head, features).x

    def stage_tensors(self, name: str) -> dict[str, Tensor]:
        """Return one stage's parameters and buffers by full name, detached, sharing memory with the chain."""
        return dict(self.stage(name).state_dict())

    def load_stage(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Make these tensors the stage's own, without a copy; raise InvalidManifest if they do not fit."""
        load_stage_module(self.stage(name), name, tensors)

    def state_dict_torchvision(self) -> dict[str, Tensor]:
        """Return all tensors by torchvision's names; torchvision's model with as many classes loads them strictly."""
        return {key: tensor for name in self.stage_names for key, tensor in self.stage_tensors(name).items()}

    def load_state_dict_torchvision(self, tensors: Mapping[str, Tensor]) -> None:
        """Take tensors by torchvision's names, without a copy.

        Raise InvalidManifest naming missing tensors, additional ones, and tensors of another shape.
        """
        remaining = dict(tensors)
        for name in self.stage_names:
            wanted = self.stage_tensors(name).keys() & remaining.keys()
            self.load_stage(name, {key: remaining.pop(key) for key in wanted})
        if remaining:
            raise InvalidManifest(f"no stage has a tensor named {', '.join(sorted(remaining)[:5])}")

    def freeze(self, names: Iterable[str]) -> Self:
        """Train all stages but these, which get no gradients and stay in `eval()`, BatchNorm statistics included."""
        self._frozen = frozenset(names)
        for name in self.stage_names:
            self.stage(name).requires_grad_(name not in self._frozen)
        for name in self._frozen:
            self.stage(name).eval()
        return self

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002  nn.Module's own signature
        """Set training mode on all stages that are not frozen."""
        super().train(mode)
        for name in self._frozen:
            self.stage(name).eval()
        return self


def reads(stage: nn.Module) -> tuple[str, ...]:
    """Return the names of the tensors that a stage reads, in the order of its arguments: `x` unless it says others."""
    return getattr(stage, "reads", _X_ALONE)


def writes(stage: nn.Module) -> tuple[str, ...]:
    """Return the names of the tensors that a stage writes, in the order of its results: `x` unless it says others."""
    return getattr(stage, "writes", _X_ALONE)


def drops(stage: nn.Module) -> tuple[str, ...]:
    """Return the names of the tensors that no stage behind this one reads: none unless it says some."""
    return getattr(stage, "drops", ())


def categorical_columns(chain: Chain) -> tuple[int, ...]:
    """Return the columns of the embedding that are codes of categories: those that the backbone's last stage says.

    A stage says so by `categorical_columns`; codes are whole numbers from 0, and NaN where the category is missing.
    """
    return tuple(getattr(chain.backbone[-1][1], "categorical_columns", ()))


def keeps_dtype(stage: nn.Module) -> bool:
    """Say whether a stage computes in the dtypes of its own tensors, in every precision that a version is served in.

    A stage says so by `keeps_dtype = True`: its tensors are never cast, and it takes tensors of any floating dtype.
    """
    return bool(getattr(stage, "keeps_dtype", False))


def run_stage(stage: nn.Module, batch: Batch) -> Batch:
    """Run a stage over the tensors that it reads, and pass on those that it neither writes nor drops (a mask)."""
    outputs = stage(*(batch.tensors[name] for name in reads(stage)))
    names = writes(stage)
    kept = batch.without(unread) if (unread := drops(stage)) else batch
    return kept.updated({names[0]: outputs} if len(names) == 1 else dict(zip(names, outputs, strict=True)))


_X_ALONE = (X,)


def nest(steps: Sequence[Step]) -> nn.Sequential:
    """Run modules in order, each registered under its dotted path, so that its tensors keep their full names.

    `[("layer1.0", a), ("layer1.1", b), ("pool", c)]` becomes `Sequential(layer1=Sequential(a, b), pool=c)`.
    """
    sequence = nn.Sequential()
    for name, group in itertools.groupby(steps, key=lambda step: step[0].partition(".")[0]):
        members = [(path.partition(".")[2], module) for path, module in group]
        if name in sequence._modules:  # noqa: SLF001  add_module would silently replace it
            raise ValueError(f"the steps under {name!r} must follow one another")
        sequence.add_module(name, members[0][1] if members[0][0] == "" else nest(members))
    return sequence


def load_stage_module(stage: nn.Module, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Make these tensors the stage's own, without a copy; raise InvalidManifest if they do not fit."""
    try:
        stage.load_state_dict(dict(tensors), strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split()).removeprefix("Error(s) in loading state_dict for Sequential: ")
        raise InvalidManifest(f"stage {name!r}: {reason}") from error
    check_values(stage, name)


def check_values(stage: nn.Module, name: str) -> None:
    """Raise InvalidManifest where the tensors of a stage hold numbers that it cannot run with, such as a wrong index.

    A stage whose numbers are not all alike has a method `check_values`, which raises that for a place in it.
    """
    if check := getattr(stage, "check_values", None):
        try:
            check()
        except InvalidManifest as error:
            raise InvalidManifest(f"stage {name!r}: {error}") from error


def initialise_head(chain: Chain, seed: int) -> None:
    """Give the head fresh weights, the same for the same seed, and leave the global random numbers alone.

    Uniform within 1/sqrt(fan_in), PyTorch's own start of a linear layer, for every architecture and kind.
    """
    if chain.head is None:
        raise InvalidManifest("a backbone only has no head to initialise")
    generator = torch.Generator().manual_seed(seed)
    device = next((p.device for p in chain.parameters() if not p.is_meta), torch.device("cpu"))
    for layer in chain.head.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            bound = layer.weight[0].numel() ** -0.5
            for name, old in list(layer.named_parameters(recurse=False)):
                fresh = torch.empty(old.shape).uniform_(-bound, bound, generator=generator)
                setattr(layer, name, nn.Parameter(fresh.to(device), requires_grad=old.requires_grad))
