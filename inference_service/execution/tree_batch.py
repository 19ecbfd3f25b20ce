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

from inference_service.execution.row_threads import RowThreads
from inference_service.execution.work import Output, Work
from inference_service.models.resident import Stage
from model_store.architectures.activation import activated
from model_store.modalities import Batch, InputSpec, Rows, concatenated
from model_store.modalities.spec import Numbers

# A core multiplies so many in about half a millisecond.
_MANY_PRODUCTS = 10_000_000


class BatchExecution:
    """One batch on its way down the tree of stages: number `turn` of those that an executor ran."""

    def __init__(self, device: torch.device, row_threads: RowThreads | None, turn: int) -> None:
        self._device = device
        self._row_threads = row_threads
        self._turn = turn
        self._wants_next: Callable[[], object] | None = None
        self.num_stage_runs = 0

    def run(self, members: list[Member], wants_next: Callable[[], object] | None = None) -> None:
        """Answer members of one input form; `wants_next` is called as soon as most of it is under way."""
        self._wants_next = wants_next
        # Equal beginnings of paths side by side: the rows of every stage then lie together, and a branch is a view.
        members.sort(key=lambda member: ([id(stage) for stage in member.path], member.form))
        spec = members[0].work.version.input_spec
        joined = [_joined(list(group), self._device) for _, group in groupby(members, key=lambda member: member.form)]
        shared = _shared_stages(members, 0)
        if len(joined) == 1:
            batch = self._through(shared, joined[0], spec)
        else:  # rows that were prepared in different ways: put together once they are the same
            batch = self._through(shared, concatenated([spec.to_input(each) for each in joined]))
        self._descend(batch, members, len(shared))

    def _descend(self, batch: Batch, members: Sequence[Member], depth: int) -> None:
        """Answer what ends after `depth` stages, and run each next stage over its rows, in the order of members."""
        if shared := _shared_stages(members, depth):
            batch, depth = self._through(shared, batch), depth + len(shared)
        self._answer(batch, members, depth)
        for branches in _alike(_branches(members, depth)):
            going_on = [member for branch in branches for member in branch.members]
            self._descend(self._run_stage(batch, branches), going_on, depth + 1)

    def _answer(self, batch: Batch, members: Sequence[Member], depth: int) -> None:
        values: dict[Output, Numbers] = {}
        for member, rows in zip(members, _row_ranges(members), strict=True):
            for output in member.due.get(depth, ()):
                if output not in values:
                    values[output] = _OUTPUT_OF[output](batch, members).float().cpu().numpy()
                member.answer[output] = values[output][rows]

    def _run_stage(self, batch: Batch, branches: Sequence[_Branch]) -> Batch:
        """Run one stage over its rows, or several heads as one; rows come in the branches' order."""
        if len(branches) == 1:
            return self._through([branches[0].stage], batch[branches[0].rows])
        self.num_stage_runs += 1
        return Batch.of(_run_linears(batch.x, branches))

    def _through(self, stages: Sequence[Stage], batch: Batch, spec: InputSpec | None = None) -> Batch:
        """Run rows through stages, one after another; with a spec they are rows as they were sent."""
        self.num_stage_runs += len(stages)

        def run(rows: Batch) -> Batch:
            if spec is not None:
                rows = spec.to_input(rows)
            for stage in stages:
                rows = stage(rows)
            return rows

        if self._row_threads is None or not _is_worth_sharing(stages, batch):
            return run(batch)
        taken, self._wants_next = self._wants_next, None
        return self._row_threads.run(run, batch, stages[0].precision, turn=self._turn, last_is_taken=taken)


def _joined(members: Sequence[Member], device: torch.device) -> Batch:
    """Return rows of one form one behind the other on the device; for a GPU by way of pinned memory."""
    rows = [member.rows for member in members]
    num_rows = sum(map(len, rows))
    tensors = {}
    for name, first in rows[0].arrays.items():
        dtype = torch.from_numpy(np.empty(0, first.dtype)).dtype
        whole = torch.empty((num_rows, *first.shape[1:]), dtype=dtype, pin_memory=device.type == "cuda")
        np.concatenate([each.arrays[name] for each in rows], out=whole.numpy())
        tensors[name] = whole.to(device, non_blocking=True)
    return Batch(tensors, num_rows)


def _is_worth_sharing(stages: Sequence[Stage], batch: Batch) -> bool:
    """Say whether stages take longer over these rows than it takes to share them among the cores.

    Over a row of numbers a stage uses each of its weights once; over a map or a sequence many times.
    """
    if any(tensor.ndim > 2 for tensor in batch.tensors.values()):
        return len(stages) > 0
    return len(batch) * sum(stage.size_bytes // stage.precision.dtype.itemsize for stage in stages) > _MANY_PRODUCTS


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
        self.form = rows.form
        self.input_form = (work.version.input_spec, work.version.input_spec.form(rows))
        self.answer: dict[Output, Numbers] = {}
        self.due = _due(len(work.version.backbone), work.outputs)


@lru_cache(maxsize=1024)
def _due(num_stages: int, outputs: frozenset[Output]) -> Mapping[int, frozenset[Output]]:
    """Return what is answered after how many stages, of a backbone that has so many."""
    due = {num_stages: outputs & {Output.EMBEDDING}, num_stages + 1: outputs - {Output.EMBEDDING}}
    return MappingProxyType({depth: wanted for depth, wanted in due.items() if wanted})


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


def _logits(batch: Batch, _: Sequence[Member]) -> Tensor:
    return batch.x


def _scores(batch: Batch, members: Sequence[Member]) -> Tensor:
    """Return the activation of the logits divided by the temperature, each row by its own version's."""
    activations = {member.work.version.activation for member in members}
    if len(activations) == 1:
        return activated(batch.x, *activations.pop())
    pairs = zip(members, _row_ranges(members), strict=True)
    return torch.cat([activated(batch.x[rows], *member.work.version.activation) for member, rows in pairs])


def _embedding(batch: Batch, _: Sequence[Member]) -> Tensor:
    return batch.embedding


_OUTPUT_OF = {Output.SCORES: _scores, Output.LOGITS: _logits, Output.EMBEDDING: _embedding}
