"""What a trainer needs to go on, as tensors and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from model_store.blobs.local import LocalBlobs
from model_store.tensors.stages import read_stage, write_stage
from training_service.training.checkpoints import packed, unpacked


def test_a_state_comes_back_as_it_was() -> None:
    """With the types of its keys, its tuples, numbers that are not finite, and empty parts."""
    state = {
        "step": 3,
        "loss": float("inf"),
        "names": ["a", None, True],
        "weights": {"x": torch.arange(6.0).reshape(2, 3), "none": torch.empty(0), "count": torch.tensor(7)},
        "slots": {0: {"betas": (0.9, 0.999), "structure": {}}},
    }
    found = unpacked(packed(state))
    weights, expected = found.pop("weights"), state.pop("weights")
    assert found == state
    assert isinstance(found["slots"][0]["betas"], tuple)
    for name, tensor in expected.items():
        assert weights[name].dtype == tensor.dtype
        assert torch.equal(weights[name], tensor)


@pytest.mark.parametrize("make", [torch.optim.AdamW, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)])
def test_an_optimizer_goes_on_as_if_nothing_had_happened(make: type[torch.optim.Optimizer], tmp_path: Path) -> None:
    """Bit by bit, through the blob in which a state is stored."""
    blobs = LocalBlobs(tmp_path)
    torch.manual_seed(0)
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer, other = make(first.parameters()), make(second.parameters())
    step(first, optimizer)
    blob = write_stage(blobs, packed({"weights": first.state_dict(), "optimizer": optimizer.state_dict()}))
    state = unpacked(read_stage(blobs, blob.digest))
    second.load_state_dict(state["weights"])
    other.load_state_dict(state["optimizer"])
    step(first, optimizer)
    step(second, other)
    assert torch.equal(first.weight, second.weight)


def step(model: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
    """Take one step."""
    optimizer.zero_grad()
    model(torch.ones(1, 3)).square().sum().backward()
    optimizer.step()
