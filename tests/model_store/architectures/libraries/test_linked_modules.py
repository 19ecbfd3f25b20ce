"""Modules are linked where nothing is computed between them, and a part of a model runs as the model does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_store.architectures.libraries.linked_modules import inside, linked, part_of, traced


class Network(nn.Module):
    """Layers with code before the first and, where told so, between two of them."""

    def __init__(self, between: str = "") -> None:
        super().__init__()
        self.between = between
        self.shift = nn.Parameter(torch.ones(4))
        self.first = nn.Linear(4, 4)
        self.blocks = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
        self.last = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Shift, and run the layers."""
        x = self.first(x + self.shift)
        if self.between == "new":
            x = x + self.shift
        if self.between == "in place":
            x += self.shift
        result: Tensor = self.last(self.blocks(x))
        return result


def paths_of(network: nn.Module) -> list[str]:
    """Return the paths of the modules by which a run ends."""
    x = torch.ones(2, 4)
    with torch.no_grad(), traced(network) as trace:
        end = network(x)
    return [call.path for call in linked(trace, x, end)]


def test_linked_modules_end_where_code_runs() -> None:
    """The row begins after the last computation outside a module, into a new tensor or into the same one."""
    assert paths_of(Network()) == ["first", "blocks", "last"]
    assert paths_of(Network("new")) == ["blocks", "last"]
    assert paths_of(Network("in place")) == ["blocks", "last"]


def test_the_modules_inside_one_are_found() -> None:
    """A sequence consists of its layers; a layer consists of nothing else."""
    network, x = Network(), torch.ones(2, 4)
    with torch.no_grad(), traced(network) as trace:
        network(x)
    calls = {call.path: call for call in trace.calls}
    assert [call.path for call in inside(trace, calls["blocks"])] == ["blocks.0", "blocks.1"]
    assert inside(trace, calls["last"]) == []


def test_a_module_that_runs_twice_is_not_linked() -> None:
    """It cannot be one stage among others."""
    layer = nn.Linear(4, 4)
    assert paths_of(nn.Sequential(layer, layer)) == []


def test_a_part_runs_what_is_left() -> None:
    """The parts before and after the cut give the model's own result; their tensors have full names, each once."""
    network, x = Network("new"), torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    before = part_of(network, Network.forward, ["blocks.0", "blocks.1", "last"])
    assert set(before.state_dict()) == {"shift", "first.weight", "first.bias"}
    with torch.no_grad():
        assert torch.equal(network.last(network.blocks(before(x))), network(x))
    assert isinstance(network.last, nn.Linear)
