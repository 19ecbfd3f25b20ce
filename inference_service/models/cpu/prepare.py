"""Makes a stage fast for serving, at load and off the request path: fewer operations, the same numbers.

In evaluation a BatchNorm is a multiplication and an addition by constants, so one that follows a convolution is folded
into its weights: https://pytorch.org/docs/stable/generated/torch.nn.utils.fusion.fuse_conv_bn_eval.html. On a CPU a
convolution then keeps its weights in oneDNN's own order, in which it would else put them in every call, and adds what
is added to its output and applies the activation that follows before it writes: `packed_conv.py`. Max pooling in
bfloat16 has a faster way where no number is negative: `max_pool.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from inference_service.models.cpu.max_pool import NEVER_NEGATIVE, faster_pool
from inference_service.models.cpu.packed_conv import ACTIVATIONS, PackedConv, can_pack


@dataclass(frozen=True)
class Plan:
    """What can be done to a stage: by names of its modules, and so for all tensors that it may have.

    `folds` has convolutions, each with the BatchNorm to fold into it. `pools` are max poolings of numbers that are
    never negative. `forward` takes the stage and its input, and calls the convolutions alone, with what is to be added
    to their output as second argument; those in `activations` have the activation built in. It is None where there is
    nothing of that kind.
    """

    folds: tuple[tuple[str, str], ...]
    pools: tuple[str, ...]
    activations: dict[str, type[nn.Module]]
    forward: Callable[[nn.Module, Tensor], Tensor] | None


def has_convolutions(stage: nn.Module) -> bool:
    """Say whether there is anything to plan for a stage."""
    return any(type(module) is nn.Conv2d for module in stage.modules())


def make_plan(stage: nn.Module) -> Plan | None:
    """Return what can be done to a stage, whatever its tensors are; None where `has_convolutions` says no.

    The stage may stay in memory for a while, so let it have no tensors. No other thread may run a module meanwhile:
    tracing replaces how all of them are called.
    """
    if not has_convolutions(stage):
        return None
    kinds = {type(module) for module in stage.modules()}
    if kinds.isdisjoint({nn.BatchNorm2d, *ACTIVATIONS}):
        return Plan((), (), {}, None)
    traced = fx.symbolic_trace(stage)
    calls = _Calls(traced)
    pools = tuple(str(node.target) for node in traced.graph.nodes if calls.is_pool_of_no_negatives(node))
    folds, activations, is_changed = [], {}, False
    for conv in [node for node in traced.graph.nodes if calls.is_a(node, nn.Conv2d) and calls.is_only(node)]:
        tail = _tail(calls, conv)
        if tail.norm is not None:
            folds.append((str(conv.target), str(tail.norm.target)))
        if tail.activation is not None:
            activations[str(conv.target)] = type(calls.module(tail.activation))
        if tail.last is not conv:
            is_changed = True
            _replace(traced.graph, conv, tail)
    return Plan(
        tuple(folds), pools, activations, type(fx.GraphModule(traced, traced.graph)).forward if is_changed else None
    )


def folded(stage: nn.Module, plan: Plan) -> nn.Module:
    """Return the stage, in `eval()`, with each BatchNorm of the plan folded into its convolution."""
    for conv, norm in plan.folds:
        modules = stage.get_submodule(conv), stage.get_submodule(norm)
        stage.set_submodule(conv, fuse_conv_bn_eval(*modules))  # type: ignore[type-var, arg-type]
        stage.set_submodule(norm, nn.Identity())
    return stage


def packed(stage: nn.Module, plan: Plan) -> nn.Module:
    """Return the stage, folded and in the precision it will run in, on a CPU with its convolutions packed.

    It has its own copy of all tensors. A stage stays as it is where one of its convolutions cannot be packed.
    """
    convs = {name: module for name, module in stage.named_modules() if isinstance(module, nn.Conv2d)}
    if not all(can_pack(conv) for conv in convs.values()):
        return stage
    for name, conv in convs.items():
        stage.set_submodule(name, PackedConv(conv, plan.activations.get(name)).eval())
    precision = next(iter(convs.values())).weight.dtype
    for name in plan.pools:
        stage.set_submodule(name, faster_pool(stage.get_submodule(name), precision).eval())
    for tensor in [*stage.parameters(), *stage.buffers()]:
        tensor.data = tensor.data.clone()  # else it would keep what the convolutions' weights were read into
    return stage if plan.forward is None else _Rewritten(stage, plan.forward).eval()


class _Rewritten(nn.Module):
    """A stage that is run in another way than its own."""

    def __init__(self, stage: nn.Module, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.stage = stage
        self._run = run

    def forward(self, x: Tensor) -> Tensor:
        """Run the stage."""
        return self._run(self.stage, x)


class _Calls:
    """The calls of modules in a traced stage."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self._traced = traced
        self._targets = [node.target for node in traced.graph.nodes if node.op == "call_module"]

    def module(self, node: fx.Node) -> nn.Module:
        return self._traced.get_submodule(str(node.target))

    def is_a(self, node: fx.Node, *kinds: type[nn.Module]) -> bool:
        return node.op == "call_module" and type(self.module(node)) in kinds

    def is_only(self, node: fx.Node) -> bool:
        """Say whether a module is called once."""
        return self._targets.count(node.target) == 1

    def is_pool_of_no_negatives(self, node: fx.Node) -> bool:
        """Say whether a node is the only call of a max pooling, and what it takes is never negative."""
        if not (self.is_a(node, nn.MaxPool2d) and self.is_only(node)):
            return False
        return isinstance(node.args[0], fx.Node) and self.is_a(node.args[0], *NEVER_NEGATIVE)

    def only_user(self, node: fx.Node, *kinds: type[nn.Module]) -> fx.Node | None:
        """Return what takes a node's output and nothing else does, where it is a call of such a module.

        A BatchNorm must be called once, as it is changed.
        """
        users = list(node.users)
        if len(users) != 1 or not self.is_a(users[0], *kinds):
            return None
        return users[0] if nn.BatchNorm2d not in kinds or self.is_only(users[0]) else None


@dataclass(frozen=True)
class _Tail:
    """What follows a convolution, each taken by the next alone: a BatchNorm, an addition of `other`, an activation."""

    last: fx.Node
    norm: fx.Node | None = None
    other: fx.Node | None = None
    activation: fx.Node | None = None


def _tail(calls: _Calls, conv: fx.Node) -> _Tail:
    norm = calls.only_user(conv, nn.BatchNorm2d)
    last = norm or conv
    addition, other = _addition_after(last)
    last = addition or last
    activation = calls.only_user(last, *ACTIVATIONS)
    return _Tail(activation or last, norm, other, activation)


def _addition_after(node: fx.Node) -> tuple[fx.Node, fx.Node] | tuple[None, None]:
    """Return the addition that alone takes this node's output, and what it adds to it."""
    users = list(node.users)
    if len(users) != 1 or users[0].target not in {operator.add, operator.iadd, torch.add} or users[0].kwargs:
        return None, None
    others = [each for each in users[0].args if isinstance(each, fx.Node) and each is not node]
    return (users[0], others[0]) if len(others) == 1 else (None, None)


def _replace(graph: fx.Graph, conv: fx.Node, tail: _Tail) -> None:
    """Let one call of the convolution stand for all from it to the last node."""
    with graph.inserting_before(tail.last):
        added = () if tail.other is None else (tail.other,)
        call = graph.call_module(str(conv.target), (conv.args[0], *added))
    tail.last.replace_all_uses_with(call)
    node = tail.last
    while node is not conv:
        before = next(each for each in node.all_input_nodes if each is not tail.other)
        graph.erase_node(node)
        node = before
    graph.erase_node(conv)
