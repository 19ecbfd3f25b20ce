"""Stages prepared for serving give what plain ones give."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inference_service.models.cpu.packed_conv import PackedConv
from inference_service.models.cpu.prepare import folded, make_plan, packed
from model_store.architectures import Head, build_random, torchvision_architectures


@pytest.mark.parametrize("architecture", torchvision_architectures())
def test_a_prepared_network_gives_the_same(architecture: str) -> None:
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
    num_norms = num_packed = num_with_convs = 0
    with torch.inference_mode():
        plain = fast = x
        for name in chain.stage_names:
            stage = chain.stage(name)
            plain = stage(plain)
            plan = make_plan(stage)
            if plan is not None:
                num_with_convs += 1
                stage = packed(folded(stage, plan), plan)
            fast = stage(fast)
            kinds = {type(module) for module in stage.modules()}
            assert len(kinds & {nn.Conv2d, PackedConv}) <= 1, "all are packed, or none"
            num_packed += PackedConv in kinds
            assert (plain - fast).abs().max() <= 1e-4 * max(1.0, float(plain.abs().max()))
            num_norms += sum(isinstance(module, nn.BatchNorm2d) for module in stage.modules())
    if not architecture.startswith("densenet"):  # whose BatchNorms mostly come before a convolution
        assert num_norms == 0
    if architecture.startswith(("resnet", "densenet", "squeezenet")):
        assert num_packed == num_with_convs
