"""A modality whose rows differ in cost: sequences of vectors, padded to the length of a bucket, and a small encoder."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  PyTorch's own name for it
from torch import Tensor, nn

from inference_service.models.precision import Precision
from inference_service.models.resident import ResidentVersion, Stage, StageKey
from model_store.architectures import Chain, Head, reads, writes
from model_store.errors import InvalidExample, InvalidManifest
from model_store.modalities import Batch, Rows, TensorForm, X
from model_store.modalities.spec import Array, Numbers, check_finite, concatenated_rows
from model_store.names import VersionName
from model_store.tasks import Classification

KIND = "sequence"
MASK = "mask"
_INPUT = "INPUT"
_NUM_HEADS = 4


@dataclass(frozen=True)
class SequenceInputSpec:
    """Sequences float32 [length, width] of up to the last bucket's length; `buckets` are the lengths to pad to."""

    width: int
    buckets: tuple[int, ...]
    kind: str = KIND
    unit: str = "vectors"

    @property
    def rows_key(self) -> Hashable:
        """Return the whole spec."""
        return self

    @property
    def device_key(self) -> Hashable:
        """The whole spec."""
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the form that a manifest holds."""
        return asdict(self)

    def stored(self, data: bytes) -> object:
        """Return the vectors, float32 [length, width]."""
        return np.frombuffer(data, "<f4").astype(np.float32, copy=False).reshape(-1, self.width)

    def open(self, example: object, max_size: int) -> OpenedSequence:
        """Take float32 [length, width] with finite numbers; raise InvalidExample for anything else."""
        if not isinstance(example, np.ndarray) or example.dtype != np.float32 or example.shape[1:] != (self.width,):
            raise InvalidExample(f"must be a sequence of vectors of {self.width} numbers")
        if not 0 < len(example) <= min(max_size, self.buckets[-1]):
            raise InvalidExample(f"{len(example)} vectors are over the limit of {min(max_size, self.buckets[-1])}")
        check_finite(example)
        return OpenedSequence(example, next(each for each in self.buckets if each >= len(example)))

    def form(self, rows: Rows) -> Hashable:
        """Return the padded length."""
        return self.cost(rows)

    def cost(self, rows: Rows) -> int:
        """Return the padded length."""
        return int(rows.arrays[MASK].shape[1])

    def collate(self, rows: Sequence[Rows]) -> Rows:
        """Pad to the longest bucket among the rows, and concatenate."""
        length = max(map(self.cost, rows))
        return concatenated_rows([_padded(each, length) for each in rows])

    def to_input(self, batch: Batch) -> Batch:
        """Return the rows as they are."""
        return batch

    def blank(self) -> Rows:
        """Return one sequence of one vector of zeros."""
        return self.open(np.zeros((1, self.width), np.float32), 1).prepare()

    def tensors(self) -> tuple[TensorForm, ...]:
        """Return INPUT, float32 [n, length, width]."""
        return (TensorForm(_INPUT, "float32", (-1, self.width)),)

    def read_tensors(self, tensors: Mapping[str, Array]) -> Sequence[object]:
        """Return the sequences, which are padded when they are prepared."""
        return list(tensors[_INPUT])

    def to_blob(self, rows: Rows) -> dict[str, Tensor]:
        """Return the arrays as tensors."""
        return {name: torch.from_numpy(array) for name, array in rows.arrays.items()}

    def from_blob(self, tensors: Mapping[str, Tensor], max_rows: int) -> Rows:
        """Read the tensors of `to_blob`; raise InvalidManifest for any other form."""
        if set(tensors) != {X, MASK} or not 0 < len(tensors[X]) <= max_rows:
            raise InvalidManifest(f"must be the tensors {X} and {MASK} of 1 to {max_rows} rows")
        return Rows({name: tensor.numpy() for name, tensor in tensors.items()}, len(tensors[X]))


@dataclass(frozen=True)
class OpenedSequence:
    """A sequence that was checked, and the length that it will be padded to."""

    vectors: Numbers
    padded_length: int

    @property
    def size(self) -> int:
        """The number of vectors."""
        return len(self.vectors)

    def prepare(self) -> Rows:
        """Return `x`, float32 [1, padded length, width], and `mask`, which is true at the sequence's own vectors."""
        rows = Rows({X: self.vectors[None], MASK: np.ones((1, len(self.vectors)), np.bool_)}, 1)
        return _padded(rows, self.padded_length)


def _padded(rows: Rows, length: int) -> Rows:
    missing = length - rows.arrays[MASK].shape[1]
    x = np.pad(rows.arrays[X], ((0, 0), (0, missing), (0, 0)))
    return Rows({X: x, MASK: np.pad(rows.arrays[MASK], ((0, 0), (0, missing)))}, rows.num_rows)


class EncoderLayer(nn.Module):
    """Attention among a sequence's own vectors, then two linear layers: [n, length, width] to the same."""

    reads = (X, MASK)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projections = nn.Linear(width, 3 * width)
        self.wide = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the layer's output, added to its input."""
        parts = self.projections(F.layer_norm(x, x.shape[-1:])).chunk(3, dim=-1)
        queries, keys, values = (part.unflatten(-1, (_NUM_HEADS, -1)).transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask[:, None, None, :])
        x = x + found.transpose(1, 2).flatten(2)
        added: Tensor = self.narrow(F.gelu(self.wide(F.layer_norm(x, x.shape[-1:]))))
        return x + added


class MaskedMean(nn.Module):
    """The mean of a sequence's own vectors, [n, length, width] to [n, width]."""

    reads = (X, MASK)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the mean."""
        weights = mask.unsqueeze(-1).to(x.dtype)
        return (x * weights).sum(dim=1) / weights.sum(dim=1)


def encoder(spec: SequenceInputSpec, num_layers: int) -> list[Stage]:
    """Return the stages of a backbone of this many layers on the CPU."""
    layers = [(f"layer{number}", EncoderLayer(spec.width)) for number in range(num_layers)]
    chain = Chain([*layers, ("pool", MaskedMean())], spec.width).eval()
    return [_stage(name, module) for name, module in chain.backbone]


def version(model: str, spec: SequenceInputSpec, backbone: Sequence[Stage], labels: Sequence[str]) -> ResidentVersion:
    """Return a model of its own on a backbone: a linear head that tells these labels."""
    head = Head("linear", len(labels))
    stage = _stage("head", nn.Linear(spec.width, head.outputs).eval())
    name = VersionName(model, 1)
    return ResidentVersion(name, KIND, spec.width, spec, Classification(tuple(labels)), tuple(backbone), stage)


def _stage(name: str, module: nn.Module) -> Stage:
    size = sum(each.nbytes for each in module.parameters())
    key = StageKey(KIND, "{}", "", name, f"{id(module):x}")
    return Stage(key, Precision.FLOAT32, module, size, reads(module), writes(module))
