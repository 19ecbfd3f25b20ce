"""One batch on its way down the tree of stages: what versions share runs once for all of their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, groupby, pairwise, takewhile

import numpy as np
import torch
from torch import Tensor

from inference_service.batching.queue_entry import Part
from inference_service.execution.row_threads import RowThreads
from inference_service.execution.work import Output, Work
from inference_service.models.resident import Stage
from model_store.architectures.activation import activated
from model_store.modalities import Batch, InputSpec, concatenated
from model_store.modalities.spec import Numbers

_NUMBERS = 2  # dimensions of rows of numbers, [n, d]


class BatchExecution:
    """One batch on its way down the tree of stages: number `turn` of those that an executor ran."""

    def __init__(self, device: torch.device, row_threads: RowThreads | None, turn: int) -> None:
        self._device = device
        self._row_threads = row_threads
        self._turn = turn
        self._wants_next: Callable[[], object] | None = None

    def run(self, members: list[Member], wants_next: Callable[[], object] | None = None) -> None:
        """Answer members of one input form; `wants_next` is called as soon as most of it is under way."""
        self._wants_next = wants_next
        # Equal beginnings of paths side by side: the rows of every stage then lie together, and a branch is a view.
        members.sort(key=lambda member: ([id(stage) for stage in member.path], member.form))
        spec = members[0].work.version.input_spec
        joined = [_joined(list(group), self._device) for _, group in groupby(members, key=lambda member: member.form)]
        stages = _next_stages(members, 0)
        if len(joined) == 1:
            batch = self._through(stages, joined[0], spec)
        else:  # rows that were prepared in different ways: put together once they are the same
            batch = self._through(stages, concatenated([spec.to_input(each) for each in joined]))
        self._descend(batch, members, len(stages))

    def _descend(self, batch: Batch, members: Sequence[Member], depth: int) -> None:
        """Answer what ends after `depth` stages, and run the next ones over the rows whose paths share them."""
        self._answer(batch, members, depth)
        pairs = zip(members, _row_ranges(members), strict=True)
        going_on = (pair for pair in pairs if depth < len(pair[0].path))
        for _, group in groupby(going_on, key=lambda pair: pair[0].path[depth]):
            branch, ranges = zip(*group, strict=True)
            stages = _next_stages(branch, depth)
            rows = batch[ranges[0].start : ranges[-1].stop]
            self._descend(self._through(stages, rows), branch, depth + len(stages))

    def _answer(self, batch: Batch, members: Sequence[Member], depth: int) -> None:
        values: dict[Output, Numbers] = {}
        for member, rows in zip(members, _row_ranges(members), strict=True):
            for output in member.due.pop(depth, ()):
                if output not in values:
                    values[output] = _OUTPUT_OF[output](batch, members).float().cpu().numpy()
                member.answer[output] = values[output][rows]

    def _through(self, stages: Sequence[Stage], batch: Batch, spec: InputSpec | None = None) -> Batch:
        """Run rows through stages, one after another; with a spec they are rows as they were sent.

        Rows that are maps or sequences are shared among the cores: over a row of numbers a stage takes less time.
        """

        def run(rows: Batch) -> Batch:
            if spec is not None:
                rows = spec.to_input(rows)
            for stage in stages:
                rows = stage(rows)
            return rows

        if self._row_threads is None or not stages or all(each.ndim <= _NUMBERS for each in batch.tensors.values()):
            return run(batch)
        taken, self._wants_next = self._wants_next, None
        return self._row_threads.run(run, batch, stages[0].precision, turn=self._turn, last_is_taken=taken)


class Member:
    """A part's rows on their way down the tree, and the answer that is being filled."""

    def __init__(self, part: Part[Work]) -> None:
        self.work = work = part.work
        self.rows = work.rows[part.start : part.stop]
        version = work.version
        self.path = version.backbone if work.outputs == {Output.EMBEDDING} else version.stages
        self.form = self.rows.form
        self.input_form = (version.input_spec.device_key, version.input_spec.form(self.rows))
        self.answer: dict[Output, Numbers] = {}
        depth = len(version.backbone)
        ends = ((depth, work.outputs & {Output.EMBEDDING}), (depth + 1, work.outputs - {Output.EMBEDDING}))
        self.due = {end: outputs for end, outputs in ends if outputs}
        """What is answered after how many stages, and is not yet."""


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


def _next_stages(members: Sequence[Member], depth: int) -> list[Stage]:
    """Return the next stages, as long as all members take them and none is answered before."""
    # By the order of the paths, what the first and the last of them share is what all share.
    first, last = members[0].path, members[-1].path
    end = min(end for member in members for end in member.due)
    pairs = zip(first[depth:end], last[depth:end], strict=False)
    return [one for one, other in takewhile(lambda pair: pair[0] is pair[1], pairs)]


def _row_ranges(members: Sequence[Member]) -> Iterator[slice]:
    stops = accumulate((len(member.rows) for member in members), initial=0)
    return (slice(start, stop) for start, stop in pairwise(stops))


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
