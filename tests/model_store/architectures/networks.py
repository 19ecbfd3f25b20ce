"""Architectures of torchvision, small inputs for them, and chains with random weights."""

from __future__ import annotations

import torch
from torch import nn

from model_store.architectures import (
    Chain,
    Head,
    build_random,
)
from model_store.architectures.torchvision_compat import torchvision

SIZE = 64  # pixels: enough for every network here to keep a feature map to the end

NUM_LABELS = 7


def arguments_of(architecture: str) -> dict[str, int]:
    """Return what makes the architecture take SIZE pixels."""
    return {"image_size": SIZE} if architecture == "vit_b_16" else {}


def native_head(architecture: str) -> Head:
    """Return the head that torchvision's model has."""
    return Head("conv" if architecture == "squeezenet1_1" else "linear", NUM_LABELS)


def images(seed: int = 0) -> torch.Tensor:
    """Return two seeded inputs."""
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def randomised_chain(architecture: str) -> Chain:
    """Return a chain none of whose tensors is at a trivial value: no zero head, no BatchNorm at 0 and 1."""
    chain = build_random(architecture, arguments_of(architecture), native_head(architecture), seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, tensor in chain.state_dict_torchvision().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=generator), alpha=0.02)
    return chain.eval()


def model_of_torchvision(architecture: str) -> nn.Module:
    """Return torchvision's model of as many classes, at whatever values."""
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = torchvision.models.get_model(
            architecture, num_classes=NUM_LABELS, **arguments_of(architecture)
        )
    return model.eval()
