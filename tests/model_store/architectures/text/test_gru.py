"""The recurrent network reads each row from both ends, whatever is padded beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from model_store.architectures import Head, build, build_random, stage_names
from model_store.errors import InvalidManifest
from model_store.modalities import IDS, MASK, Batch

SIZES: dict[str, Any] = {"vocabulary": 30, "width": 6, "hidden": 5, "layers": 2, "dropout": 0.2}
LENGTHS = (9, 1, 4)


def texts() -> Batch:
    """Return rows of several lengths, padded to the longest and beyond."""
    ids = torch.randint(1, 30, (3, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(12) < torch.tensor(LENGTHS)[:, None]
    return Batch({IDS: ids * mask, MASK: mask}, 3)


def test_a_row_equals_the_plain_network_over_its_tokens() -> None:
    """PyTorch's own GRU over each row alone, then mean and greatest."""
    chain = build_random("gru", SIZES, Head("none"), seed=1).eval()
    embeddings = next(each for each in chain.modules() if isinstance(each, nn.Embedding))
    units = next(each for each in chain.modules() if isinstance(each, nn.GRU))
    batch = texts()
    with torch.inference_mode():
        found = chain(batch)
        for row, length in enumerate(LENGTHS):
            outputs, _ = units(embeddings(batch.tensors[IDS][row : row + 1, :length]))
            wanted = torch.cat([outputs.mean(1), outputs.amax(1)], dim=1)
            torch.testing.assert_close(found[row : row + 1], wanted, rtol=0, atol=1e-6)


def test_every_tensor_trains() -> None:
    """There is a stage of words, one of units, and a head of the embedding's size."""
    assert stage_names("gru", SIZES, Head("linear", 3)) == ("embeddings", "gru", "pooling", "head")
    chain = build_random("gru", SIZES, Head("linear", 3), seed=1).train()
    chain(texts()).sum().backward()
    assert not [name for name, parameter in chain.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hidden": 0}, "hidden"),
        ({"dropout": "x"}, "dropout"),
        ({"more": 1}, "more is unknown"),
        ({"layers": 9}, "layers"),
    ],
)
def test_impossible_sizes_are_named(change: dict[str, Any], told: str) -> None:
    """A manifest from elsewhere is refused by the name of the argument."""
    with pytest.raises(InvalidManifest, match=told):
        build("gru", {**SIZES, **change}, Head("none"))
