"""A convolution on the CPU as oneDNN likes it best, by the operators that PyTorch's own compiler uses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []),
    nn.SiLU: ("swish", []),
}
"""Activations that a convolution can apply, by oneDNN's names, and their numbers."""
_NONE: tuple[str, list[float]] = ("none", [])


def can_pack(conv: nn.Conv2d) -> bool:
    """Say whether this is faster packed, on this machine and in the precision of its weights.

    Grouped convolutions are not: MobileNet gains nothing, and EfficientNet in bfloat16 takes far longer.
    """
    if conv.groups != 1:
        return False
    has_onednn = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]  # PyTorch's own stub
    if not has_onednn or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    if conv.weight.device.type != "cpu":
        return False
    if conv.weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001  there is no public name
    return conv.weight.dtype == torch.float32


class PackedConv(nn.Module):
    """A convolution that `can_pack`, with the activation behind it; its weights are for oneDNN alone."""

    def __init__(self, conv: nn.Conv2d, activation: type[nn.Module] | None = None) -> None:
        super().__init__()
        self.bias = conv.bias
        self._form: tuple[Any, ...] = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._activation = _NONE if activation is None else ACTIVATIONS[activation]
        reorder = torch.ops.mkldnn._reorder_convolution_weight  # noqa: SLF001  there is no public name
        self._weight: Tensor = reorder(conv.weight.detach(), *self._form, None)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return the activation of the convolution of rows [n, c, h, w] plus, where it is given, the other."""
        name, numbers = self._activation
        run: Any = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001  there is no public name
        if other is None:
            output: Tensor = run.default(x, self._weight, self.bias, *self._form, name, numbers, "")
            return output
        added: Tensor = run.binary(
            x, other, self._weight, self.bias, *self._form, "add", 1.0, None if name == "none" else name, numbers, ""
        )
        return added
