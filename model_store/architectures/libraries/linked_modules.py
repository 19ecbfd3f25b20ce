"""Finds the modules by which a computation ends, each given the very tensor that the one before it returned.

Such modules can be cut out and run one after another. Object identity proves that nothing is computed between them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a module by one tensor, and flags or None beside it, that returned one.

    `raw` is the result as the module itself returned it.

    `given_edits` and `result_edits` count the writes into a tensor so far: code that writes between two calls shows.
    """

    path: str
    given: Tensor
    given_edits: int
    raw: Tensor
    result: Tensor
    result_edits: int


@dataclass
class Trace:
    """The calls of one run, in the order of their ends; `called` has the path of every module that was called."""

    calls: list[Call] = field(default_factory=list)
    called: list[str] = field(default_factory=list)


def linked(trace: Trace, start: Tensor, end: Tensor) -> list[Call]:
    """Return the longest row of linked calls that ends in `end`, first to last, the outermost modules.

    It begins after `start` at the earliest. A module that is called twice is in no row.
    """
    producers = {id(call.result): call for call in trace.calls if trace.called.count(call.path) == 1}
    found: list[Call] = []
    while end is not start and (call := producers.get(id(end))) is not None:
        if found and found[-1].given_edits != call.result_edits:
            break
        found.append(call)
        end = call.given
    return found[::-1]


def inside(trace: Trace, outer: Call) -> list[Call]:
    """Return the linked calls that a call consists of; none where it does anything else."""
    calls = linked(trace, outer.given, outer.raw)
    return calls if calls and calls[0].given is outer.given else []


@contextmanager
def traced(model: nn.Module) -> Iterator[Trace]:
    """Trace the calls of the modules of a model, except itself. Every result is a tensor object of its own."""
    trace = Trace()
    hooks = []
    for path, module in model.named_modules():
        if path:
            before, after = _hooks(trace, path)
            hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
            hooks.append(module.register_forward_hook(after, with_kwargs=True))
    try:
        yield trace
    finally:
        for hook in hooks:
            hook.remove()


def _hooks(trace: Trace, path: str) -> tuple[Callable[..., None], Callable[..., Tensor | None]]:
    edits: list[int] = []  # of the tensor given, before the module writes into it; a stack, as modules may nest

    def before(_: nn.Module, args: tuple[Any, ...], __: Mapping[str, Any]) -> None:
        trace.called.append(path)
        edits.append(args[0]._version if args and isinstance(args[0], Tensor) else 0)  # noqa: SLF001  has no other name

    def after(_: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], raw: object) -> Tensor | None:
        given_edits = edits.pop()
        if not args or not isinstance(args[0], Tensor) or not isinstance(raw, Tensor):
            return None
        if not all(other is None or isinstance(other, bool) for other in (*args[1:], *kwargs.values())):
            return None
        result = raw.view_as(raw)
        trace.calls.append(Call(path, args[0], given_edits, raw, result, result._version))  # noqa: SLF001
        return result

    return before, after


class Passed(nn.Module):
    """Stands for a module that is left out, whatever else than a tensor it is called with."""

    def forward(self, x: Tensor, *_: object, **__: object) -> Tensor:
        """Return the tensor."""
        return x


def part_of(model: nn.Module, forward: Callable[..., Any], left_out: Iterable[str]) -> nn.Module:
    """Return a module with the model's own submodules whose `forward` is this function, `left_out` doing nothing.

    The tensors have their full names. The model itself is unchanged.
    """
    part = _copy(model)
    kind: Any = type(model)  # a class of PyTorch, which mypy takes for unhashable
    part.__class__ = _running(kind, forward)
    for path in left_out:
        *parents, name = path.split(".")
        owner = part
        for parent in parents:
            owner._modules[parent] = child = _copy(owner.get_submodule(parent))  # noqa: SLF001  a name may be a number
            owner = child
        owner._modules[name] = Passed()  # noqa: SLF001
    return part


@lru_cache(maxsize=256)
def _running(kind: type[nn.Module], forward: Callable[..., Any]) -> type[nn.Module]:
    """Return a subclass with another `forward`: of a method set on an object, torch.fx would trace the class's own."""
    return type(kind.__name__, (kind,), {"forward": forward})


def without_own_tensors(part: nn.Module) -> nn.Module:
    """Remove the tensors that a part has itself, not in a submodule; return it."""
    part._parameters, part._buffers = {}, {}  # noqa: SLF001  the dicts are those of `_copy`
    return part


def _copy(module: nn.Module) -> nn.Module:
    """Return a module of the same class with the same submodules and tensors, whose own ones can be replaced."""
    copied = copy.copy(module)
    for name in ("_modules", "_parameters", "_buffers"):
        setattr(copied, name, dict(getattr(module, name)))
    return copied


def writes_nowhere(model: nn.Module) -> nn.Module:
    """Let no module of the model write into its input, which may be cached or read by another stage; return it."""
    for module in model.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return model


def grouped(blocks: list[str], most: int) -> list[list[str]]:
    """Return the blocks as they are where there are at most `most`, else in about half as many groups of equal size."""
    size = 1 if len(blocks) <= most else -(-len(blocks) // (most // 2))
    return [blocks[start : start + size] for start in range(0, len(blocks), size)]


def num_matrices(module: nn.Module) -> int:
    """Return how many weights of two or more dimensions a module has: layers, not norms."""
    return sum(parameter.ndim > 1 for parameter in module.parameters())
