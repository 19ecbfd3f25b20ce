"""One batch on its way down the tree of stages: what versions share runs once for all of their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby, pairwise, takewhile
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from inference_service.execution.batch_buffer import BatchBuffer
from inference_service.execution.row_threads import RowThreads
from inference_service.execution.work import Output, Rows, Work
from inference_service.models.resident import Stage
from model_store.architectures import pooled
from model_store.modalities.inputs import InputSpec, Values, to_input

# A core multiplies so many in about half a millisecond.
_MANY_PRODUCTS = 10_000_000


class BatchExecution:
    """One batch on its way down the tree of stages: number `turn` of those that an executor ran."""

    def __init__(self, device: torch.device, row_threads: RowThreads | None, buffer: BatchBuffer, turn: int) -> None:
        self._device = device
        self._row_threads = row_threads
        self._buffer = buffer
        self._turn = turn
        self._wants_next: Callable[[], object] | None = None
        self.num_stage_runs = 0

    def run(self, members: list[Member], wants_next: Callable[[], object] | None = None) -> None:
        """Answer members of one input form; `wants_next` is called as soon as most of it is under way."""
        self._wants_next = wants_next
        # Equal beginnings of paths side by side: the rows of every stage then lie together, and a branch is a view.
        members.sort(key=lambda member: ([id(stage) for stage in member.path], member.rows.dtype.kind))
        spec = members[0].work.version.input_spec
        first, *others = [list(group) for _, group in groupby(members, key=lambda member: member.rows.dtype)]
        x = self._joined(first)
        if others:  # pixels and numbers: put together once they are the same
            x = torch.cat([_as_input(x, spec), *(_as_input(self._joined(each), spec) for each in others)])
        shared = _shared_stages(members, 0)
        self._descend(self._through(shared, x, spec), members, len(shared))

    def _joined(self, members: Sequence[Member]) -> Tensor:
        rows = [member.rows for member in members]
        if rows[0].ndim == 2:  # few numbers, which an answer may be a view of
            return torch.from_numpy(np.concatenate(rows)).to(self._device)
        return self._buffer.joined(rows).to(self._device, non_blocking=True)

    def _descend(self, x: Tensor, members: Sequence[Member], depth: int) -> None:
        """Answer what ends after `depth` stages, and run each next stage over its rows; members are in x's order."""
        if shared := _shared_stages(members, depth):
            x, depth = self._through(shared, x), depth + len(shared)
        _answer(x, members, depth)
        for branches in _alike(_branches(members, depth)):
            going_on = [member for branch in branches for member in branch.members]
            self._descend(self._run_stage(x, branches), going_on, depth + 1)

    def _run_stage(self, x: Tensor, branches: Sequence[_Branch]) -> Tensor:
        """Run one stage over its rows, or several heads as one; rows come in the branches' order."""
        if len(branches) == 1:
            return self._through([branches[0].stage], x[branches[0].rows])
        self.num_stage_runs += 1
        return _run_linears(x, branches)

    def _through(self, stages: Sequence[Stage], x: Tensor, spec: InputSpec | None = None) -> Tensor:
        """Run rows through stages, one after another; with a spec they are rows as they were sent."""
        self.num_stage_runs += len(stages)

        def run(rows: Tensor) -> Tensor:
            if spec is not None:
                rows = _as_input(rows, spec)
            for stage in stages:
                rows = stage(rows)
            return rows

        if self._row_threads is None or not _is_worth_sharing(stages, x):
            return run(x)
        taken, self._wants_next = self._wants_next, None
        return self._row_threads.run(run, x, stages[0].precision, turn=self._turn, last_is_taken=taken)


def _is_worth_sharing(stages: Sequence[Stage], x: Tensor) -> bool:
    """Say whether stages take longer over these rows than it takes to share them among the cores.

    Of vectors every number of a stage is used once a row; of images many times.
    """
    if x.ndim > 2:
        return len(stages) > 0
    return len(x) * sum(stage.size_bytes // stage.precision.dtype.itemsize for stage in stages) > _MANY_PRODUCTS


def _as_input(rows: Tensor, spec: InputSpec) -> Tensor:
    """Return rows as the first stage takes them; images are copied."""
    if rows.dtype == torch.uint8:
        return to_input(rows, spec)
    return rows.clone(memory_format=torch.channels_last) if rows.ndim == 4 else rows


def _shared_stages(members: Sequence[Member], depth: int) -> list[Stage]:
    """Return the next stages, as long as all take them and none is answered before: the most that most batches do."""
    # By the order of the paths, what the first and the last of them share is what all share.
    first, last = members[0].path, members[-1].path
    due = min(end for member in members for end in member.due if end >= depth)
    pairs = zip(first[depth:due], last[depth:due], strict=False)
    return [one for one, _ in takewhile(lambda pair: pair[0] is pair[1], pairs)]


class Member:
    """A part's rows on their way down the tree, and the answer that is being filled."""

    def __init__(self, work: Work, rows: Rows) -> None:
        self.work = work
        self.rows = rows
        self.path = work.version.backbone if work.outputs == {Output.EMBEDDING} else work.version.stages
        pixels_shape = (3, *rows.shape[1:3])
        self.input_form = (work.version.input_spec, pixels_shape if rows.dtype == np.uint8 else rows.shape[1:])
        self.answer: dict[Output, Values] = {}
        self.due = _due(len(work.version.backbone), work.outputs)


@lru_cache(maxsize=1024)
def _due(num_stages: int, outputs: frozenset[Output]) -> Mapping[int, frozenset[Output]]:
    """Return what is answered after how many stages, of a backbone that has so many."""
    due = {num_stages: outputs & {Output.EMBEDDING}, num_stages + 1: outputs - {Output.EMBEDDING}}
    return MappingProxyType({depth: wanted for depth, wanted in due.items() if wanted})


def _answer(x: Tensor, members: Sequence[Member], depth: int) -> None:
    values: dict[Output, Values] = {}
    for member, rows in zip(members, _row_ranges(members), strict=True):
        for output in member.due.get(depth, ()):
            if output not in values:
                values[output] = _OUTPUT_OF[output](x, members).float().cpu().numpy()
            member.answer[output] = values[output][rows]


@dataclass(frozen=True)
class _Branch:
    """A stage that comes next, the rows that it runs over, and whose they are."""

    stage: Stage
    rows: slice
    members: list[Member]

    @property
    def num_rows(self) -> int:
        return int(self.rows.stop - self.rows.start)


def _branches(members: Sequence[Member], depth: int) -> Iterator[_Branch]:
    ranges = zip(members, _row_ranges(members), strict=True)
    going_on = (each for each in ranges if depth < len(each[0].path))
    for stage, pairs in groupby(going_on, key=lambda pair: pair[0].path[depth]):
        group, rows = zip(*pairs, strict=True)
        yield _Branch(stage, slice(rows[0].start, rows[-1].stop), list(group))


def _alike(branches: Iterable[_Branch]) -> Iterable[list[_Branch]]:
    """Put together what runs as one: small linear heads of one shape that have as many rows each."""
    found: dict[object, list[_Branch]] = {}
    for branch in branches:
        linear = branch.stage.small_linear
        key = branch.stage if linear is None else (linear.weight.shape, branch.num_rows)
        found.setdefault(key, []).append(branch)
    return found.values()


def _run_linears(x: Tensor, branches: Sequence[_Branch]) -> Tensor:
    """Run linear stages of one shape as one multiplication."""
    linears = [branch.stage.small_linear for branch in branches if branch.stage.small_linear is not None]
    weights = torch.stack([linear.weight for linear in linears])
    biases = torch.stack([linear.bias for linear in linears])
    rows = torch.cat([x[branch.rows] for branch in branches]).to(weights.dtype).view(len(branches), -1, x.shape[-1])
    return torch.baddbmm(biases.unsqueeze(1), rows, weights.transpose(1, 2)).flatten(0, 1)


def _row_ranges(members: Sequence[Member]) -> Iterator[slice]:
    stops = list(accumulate(len(member.rows) for member in members))
    return (slice(start, stop) for start, stop in pairwise([0, *stops]))


def _logits(x: Tensor, _: Sequence[Member]) -> Tensor:
    return x


def _scores(x: Tensor, members: Sequence[Member]) -> Tensor:
    temperatures = {member.work.version.temperature for member in members}
    if temperatures == _NOT_DIVIDED:
        return x.softmax(dim=-1)
    if len(temperatures) == 1:
        return x.div(temperatures.pop()).softmax(dim=-1)
    of_rows = [member.work.version.temperature for member in members for _ in range(len(member.rows))]
    return x.div(torch.tensor(of_rows, device=x.device).unsqueeze(1)).softmax(dim=-1)


def _embedding(x: Tensor, _: Sequence[Member]) -> Tensor:
    return pooled(x)


_OUTPUT_OF = {Output.SCORES: _scores, Output.LOGITS: _logits, Output.EMBEDDING: _embedding}
_NOT_DIVIDED = {1.0}
