"""Builds a library's model without filling its tensors: shapes, and those numbers alone that no checkpoint has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def built(make: Callable[[], nn.Module]) -> nn.Module:
    """Return the model that `make` builds, by the ambient random numbers, on the ambient device.

    On the meta device its parameters and the buffers of its state dict have no memory. All other buffers (indices of
    relative positions, rotary tables) are on the CPU with their numbers: nothing would fill them later. Libraries
    compute some of these from values, which a meta tensor has not, so models are built on the CPU.
    """
    if torch.get_default_device().type != "meta":
        return make()
    with torch.device("cpu"), _NoFills():
        model = make()
    return _without_memory(model)


class _NoFills(TorchFunctionMode):
    """Writes zeros instead of random numbers, which take ten times as long; some are drawn again until they fit."""

    _FILLS = frozenset({Tensor.normal_, Tensor.uniform_, Tensor.erfinv_, nn.init.normal_, nn.init.uniform_})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Call the function, or write zeros."""
        kwargs = kwargs or {}
        if func in self._FILLS:
            tensor: Tensor = args[0] if args else kwargs["tensor"]
            tensor.detach().zero_()
            return tensor
        return func(*args, **kwargs)


def _without_memory(model: nn.Module) -> nn.Module:
    for module in model.modules():
        computed = module._non_persistent_buffers_set  # noqa: SLF001  PyTorch has no public way to ask
        for name, parameter in module.named_parameters(recurse=False):
            empty = nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)
            module.register_parameter(name, empty)
        for name, buffer in module.named_buffers(recurse=False):
            if name not in computed:
                module.register_buffer(name, buffer.to("meta"))
    return model
