"""Makes a stage fast for serving, at load and off the request path: fewer operations, the same numbers.

In evaluation a BatchNorm is a multiplication and an addition by constants, so one that follows a convolution is folded
into its weights: https://pytorch.org/docs/stable/generated/torch.nn.utils.fusion.fuse_conv_bn_eval.html.
"""

from __future__ import annotations

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Plan = tuple[tuple[str, str], ...]
"""Names of convolutions, each with that of the BatchNorm to fold into it."""


def fold_plan(stage: nn.Module) -> Plan:
    """Return what can be folded in a stage, whatever its tensors are.

    No other thread may run a module meanwhile: tracing replaces how all of them are called.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in stage.modules()):
        return ()
    traced = fx.symbolic_trace(stage)
    norms = [node for node in traced.graph.nodes if _is_a(traced, node, nn.BatchNorm2d)]
    return tuple((str(norm.args[0].target), str(norm.target)) for norm in norms if _is_foldable(traced, norm))


def folded(stage: nn.Module, plan: Plan) -> nn.Module:
    """Return the stage, in `eval()`, with each BatchNorm of the plan folded into its convolution."""
    for conv, norm in plan:
        modules = stage.get_submodule(conv), stage.get_submodule(norm)
        stage.set_submodule(conv, fuse_conv_bn_eval(*modules))  # type: ignore[type-var, arg-type]
        stage.set_submodule(norm, nn.Identity())
    return stage


def _is_foldable(traced: fx.GraphModule, norm: fx.Node) -> bool:
    """Say whether a BatchNorm takes the output of a convolution that nothing else takes, and both are run once."""
    conv = norm.args[0]
    return (
        isinstance(conv, fx.Node)
        and _is_a(traced, conv, nn.Conv2d)
        and len(conv.users) == 1
        and all(_num_calls(traced, node.target) == 1 for node in (conv, norm))
    )


def _is_a(traced: fx.GraphModule, node: fx.Node, kind: type[nn.Module]) -> bool:
    return node.op == "call_module" and isinstance(traced.get_submodule(str(node.target)), kind)


def _num_calls(traced: fx.GraphModule, target: object) -> int:
    return sum(node.op == "call_module" and node.target == target for node in traced.graph.nodes)
