"""A recurrent network for texts, trained from scratch where there is no encoder: `embeddings`, `gru`, `pooling`, head.

Words go through an embedding and gated recurrent units in both directions (Cho et al. 2014, arXiv:1406.1078); the
embedding of a text is the mean and the greatest of their outputs over its tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from model_store.architectures.chain import HEAD, Chain
from model_store.architectures.head import Head
from model_store.architectures.text.modules import Under, masked_mean
from model_store.errors import InvalidManifest
from model_store.modalities.batch import IDS, MASK, X
from model_store.modalities.spec import InputSpec

MODALITY = "text"
_MOST = {"vocabulary": 2_000_000, "width": 4096, "hidden": 4096, "layers": 8}
_MAX_DROPOUT = 0.9
_WIDENED = 4
"""Two directions, and of each the mean and the greatest."""


class WordEmbeddings(nn.Module):
    """What is learned for each word, with dropout."""

    reads = (IDS,)
    drops = (IDS,)

    def __init__(self, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Turn ids, int64 [n, tokens], into [n, tokens, width]."""
        result: Tensor = self.dropout(self.words(ids))
        return result


class BothDirections(nn.Module):
    """Gated recurrent units over the tokens of each row, from both ends; padding is never read."""

    reads = (X, MASK)

    def __init__(self, width: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.units = nn.GRU(width, hidden, layers, batch_first=True, bidirectional=True, dropout=between)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Turn [n, tokens, width] into [n, tokens, 2 * hidden], zeros where there is padding."""
        lengths = mask.sum(1).cpu()
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.units(packed)[0], batch_first=True, total_length=x.shape[1])
        return outputs


class MeanAndGreatest(nn.Module):
    """The mean and the greatest of each number over the tokens of a row."""

    reads = (X, MASK)
    drops = (MASK,)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Turn [n, tokens, d] into [n, 2 * d]."""
        greatest = x.masked_fill(~mask[:, :, None], -torch.inf).amax(1)
        return torch.cat([masked_mean(x, mask), greatest], dim=1)


def check_input(arguments: Mapping[str, Any], spec: InputSpec) -> None:
    """Raise InvalidManifest unless each id has an embedding."""
    found, most = spec.to_json()["vocabulary"], arguments["vocabulary"]
    if found > most:
        raise InvalidManifest(f"input_spec.vocabulary must be at most {most}, the network's own, not {found}")


def _gru(arguments: Mapping[str, Any], head: Head) -> Chain:
    """Build the chain; `{"vocabulary": 20000, "width": 128, "hidden": 128, "layers": 1, "dropout": 0.3}`."""
    _check_arguments(arguments)
    if head.kind == "conv":
        raise InvalidManifest("head.kind 'conv' is squeezenet1_1's own; gru takes 'linear' or 'none'")
    vocabulary, width, hidden, layers, dropout = (
        arguments[name] for name in ("vocabulary", "width", "hidden", "layers", "dropout")
    )
    stages: list[tuple[str, nn.Module]] = [
        ("embeddings", Under("embeddings", WordEmbeddings(vocabulary, width, dropout))),
        ("gru", Under("gru", BothDirections(width, hidden, layers, dropout))),
        ("pooling", MeanAndGreatest()),
    ]
    if head.kind != "none":
        classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(_WIDENED * hidden, head.outputs))
        stages.append((HEAD, Under("classifier", classifier)))
    return Chain(stages, _WIDENED * hidden)


def _check_arguments(arguments: Mapping[str, Any]) -> None:
    for name in sorted({*_MOST, "dropout"} ^ set(arguments)):
        raise InvalidManifest(f"gru's argument {name} is {'unknown' if name in arguments else 'missing'}")
    for name, most in _MOST.items():
        if type(arguments[name]) is not int or not 0 < arguments[name] <= most:
            raise InvalidManifest(f"gru's argument {name} must be an integer in 1..{most}, not {arguments[name]!r}")
    dropout = arguments["dropout"]
    if type(dropout) not in {int, float} or not 0 <= dropout <= _MAX_DROPOUT:
        raise InvalidManifest(f"gru's argument dropout must be a number from 0 to {_MAX_DROPOUT}, not {dropout!r}")


BUILDERS = {"gru": _gru}
