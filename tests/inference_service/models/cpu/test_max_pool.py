"""Max pooling by integers gives what PyTorch's own gives, to the bit, and stands where no number is negative."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from inference_service.models.cpu.max_pool import IntegerMaxPool, faster_pool
from inference_service.models.cpu.packed_conv import can_pack
from inference_service.models.cpu.prepare import folded, make_plan, packed


@pytest.mark.parametrize("shape", [(2, 3, 12, 12), (1, 8, 9, 14), (3, 1, 5, 3), (1, 2, 2, 2), (1, 1, 7, 4)])
@pytest.mark.parametrize("form", [(3, 2, 1), (2, 2, 0), (2, 1, 0), (3, 1, 1), (5, 3, 2), (1, 2, 0)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_pooling_is_the_same(form: tuple[int, int, int], shape: tuple[int, ...], layout: torch.memory_format) -> None:
    """Sizes that the stride divides and others, windows that overlap and that leave gaps, and infinity."""
    size, stride, padding = form
    pool = nn.MaxPool2d(size, stride, padding)
    faster = faster_pool(pool, torch.bfloat16)
    assert isinstance(faster, IntegerMaxPool)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu()
    x.view(-1)[::7] = torch.inf
    rows = x.to(torch.bfloat16).contiguous(memory_format=layout)
    found = faster(rows)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found.view(torch.int16), pool(rows).view(torch.int16))


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d((3, 2)),
        nn.MaxPool2d(3, stride=(2, 1)),
        nn.MaxPool2d(2, 2, padding=1),
        nn.MaxPool2d(3, dilation=2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(3, return_indices=True),
    ],
)
def test_other_forms_are_left_alone(pool: nn.MaxPool2d) -> None:
    """What the integers' way does not know keeps PyTorch's."""
    assert faster_pool(pool, torch.bfloat16) is pool


def test_only_what_is_never_negative_is_pooled_so() -> None:
    """Behind an activation pooling is replaced in bfloat16, and in no other precision; behind a convolution never."""
    relu = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    bare = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU())
    if not can_pack(nn.Conv2d(3, 4, 3).to(torch.bfloat16)):
        pytest.skip("this CPU has no bfloat16")
    for stage, precision, is_replaced in (
        (relu, torch.float32, False),
        (relu, torch.bfloat16, True),
        (bare, torch.bfloat16, False),
    ):
        plan = make_plan(stage.eval())
        assert plan is not None
        x = torch.randn(2, 3, 10, 10, generator=torch.Generator().manual_seed(1)).to(precision)
        with torch.inference_mode():
            plain = stage.to(precision)(x)
            prepared = packed(folded(nn.Sequential(*stage), plan), plan)
            assert any(isinstance(module, IntegerMaxPool) for module in prepared.modules()) == is_replaced
            torch.testing.assert_close(prepared(x), plain)
