"""Folded stages give what plain ones give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inference_service.models.folding import find_folds, folded, has_norms
from model_store.architectures import Head, build_random, torchvision_architectures


@pytest.mark.parametrize("architecture", [*torchvision_architectures(), "timm:test_resnet"])
def test_a_folded_network_gives_the_same(architecture: str) -> None:
    """Float32, batch 2, BatchNorm statistics as training leaves them: within 1e-4 of the largest activation."""
    chain = build_random(architecture, {}, Head("linear", 5), 0).eval().requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(1)
    for module in chain.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                assert tensor is not None
                tensor.data = tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
            assert module.running_var is not None
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    x = torch.randn(2, 3, 224, 224, generator=generator).contiguous(memory_format=torch.channels_last)
    num_norms = 0
    with torch.inference_mode():
        plain = fast = x
        for name in chain.stage_names:
            stage = chain.stage(name)
            plain = stage(plain)
            if has_norms(stage):
                stage = folded(stage, find_folds(stage))
            fast = stage(fast)
            assert (plain - fast).abs().max() <= 1e-4 * max(1.0, float(plain.abs().max()))
            num_norms += sum(isinstance(module, nn.BatchNorm2d) for module in stage.modules())
    if not architecture.startswith("densenet"):  # whose BatchNorms mostly come before a convolution
        assert num_norms == 0


def test_a_convolution_that_others_read_is_not_folded() -> None:
    """Its own output is added to that of its BatchNorm: folding would change both."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output = self.conv(x)
            normed: torch.Tensor = self.norm(output)
            return normed + output

    assert find_folds(Both().eval()) == ()


def test_a_stage_that_cannot_be_traced_is_left_as_it_is() -> None:
    """Libraries' modules branch on values."""

    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            normed: torch.Tensor = self.norm(x)
            return normed if x.shape[0] > 1 else x

    assert find_folds(Branching().eval()) == ()
    assert find_folds(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).eval()) == (("0", "1"),)
