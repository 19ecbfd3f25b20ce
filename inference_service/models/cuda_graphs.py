"""A stage on an NVIDIA GPU as one launch: its operations are recorded once as a CUDA graph, and then replayed.

A small network's operations take the GPU less time than the CPU needs to launch them one by one; a graph is launched at
once: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs. It reads and writes where it did when it was
recorded, for as many rows as it had then: so rows are copied in, fewer are filled up with what was there before, and
what comes out is copied before another graph writes there.
"""

from __future__ import annotations

from itertools import takewhile
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

_Form = tuple[tuple[int, ...], torch.dtype]


class Recorder:
    """What all recordings on one GPU share: the memory that graphs compute in, of which one is replayed at a time.

    `max_rows` are the most that a stage is recorded for.
    """

    def __init__(self, max_rows: int) -> None:
        self.sizes = sizes_up_to(max_rows)
        self.pool = torch.cuda.graph_pool_handle()
        self._inputs: WeakValueDictionary[_Form, Tensor] = WeakValueDictionary()

    def input_like(self, rows: Tensor) -> Tensor:
        """Return where rows of this form, as many at once, are put for every stage that takes them."""
        form = tuple(rows.shape), rows.dtype
        found = self._inputs.get(form)
        if found is None:
            found = self._inputs[form] = rows.clone()
        return found


class Graphed(nn.Module):
    """A stage that replays what was recorded of it, where that holds as many rows; else it runs as it is.

    Record and call it in one thread.
    """

    def __init__(self, stage: nn.Module, recorder: Recorder) -> None:
        super().__init__()
        self.stage = stage
        self._recorder = recorder
        self._recordings: dict[_Form, list[_Recording]] = {}

    @property
    def is_recorded(self) -> bool:
        """Say whether anything was recorded."""
        return bool(self._recordings)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the stage gives for rows [n, …]."""
        recordings = self._recordings.get(_form(x), ())
        fitting = next((each for each in recordings if each.num_rows >= len(x)), None)
        output: Tensor = self.stage(x) if fitting is None else fitting.replay(x)
        return output

    def record(self, x: Tensor) -> None:
        """Record the stage for rows like x [1, …], unless that is done."""
        if _form(x) not in self._recordings:
            rows = [torch.cat([x] * size) for size in self._recorder.sizes]
            self._recordings[_form(x)] = [_Recording(self.stage, each, self._recorder) for each in rows]


def sizes_up_to(max_rows: int) -> tuple[int, ...]:
    """Return the numbers of rows to record for: each twice the one before, so that no more than half are filled up."""
    return (*takewhile(lambda size: size < max_rows, (2**power for power in range(max_rows))), max_rows)


class _Recording:
    """One graph of a stage, for up to `num_rows` rows."""

    def __init__(self, stage: nn.Module, rows: Tensor, recorder: Recorder) -> None:
        self.num_rows = len(rows)
        self._input = recorder.input_like(rows)
        self._graph = torch.cuda.CUDAGraph()
        self._run_once(stage)
        # Other threads may allocate memory meanwhile: that is no error of this one's recording.
        with torch.cuda.graph(self._graph, pool=recorder.pool, capture_error_mode="thread_local"):
            self._output: Tensor = stage(self._input)

    def replay(self, x: Tensor) -> Tensor:
        """Return what the stage gives for these rows."""
        self._input[: len(x)].copy_(x)
        self._graph.replay()
        return self._output[: len(x)].clone()

    def _run_once(self, stage: nn.Module) -> None:
        """Let libraries choose and set up what they run, which cannot be recorded, on a stream as for recording."""
        rows = self._input
        computing, aside = torch.cuda.current_stream(rows.device), torch.cuda.Stream(rows.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(computing)
        with torch.cuda.stream(aside):
            stage(rows)
        computing.wait_stream(aside)


def _form(rows: Tensor) -> _Form:
    return tuple(rows.shape[1:]), rows.dtype
