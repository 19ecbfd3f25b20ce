"""Runs a mixed batch down the tree of stages on one device: what versions share runs once for all rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import accumulate, groupby, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inference_service.errors import OutOfDeviceMemory
from inference_service.lanes import Part
from inference_service.resident import ResidentVersion, Stage
from model_store.architectures import pooled
from model_store.errors import InvalidManifest
from model_store.inputs import Pixels, normalise

Values = NDArray[np.float32]


class Output(Enum):
    """What a request asks for, a row of float32 for each image: `SCORES` [labels], summing to 1; `EMBEDDING` [d]."""

    SCORES = auto()
    EMBEDDING = auto()


Answer = Mapping[Output, Values]


@dataclass(frozen=True, eq=False)
class Work:
    """Rows for one version: uint8 [n, h, w, 3], already resized and cropped by its input spec.

    `SCORES` may be asked of a version with a head only.
    """

    version: ResidentVersion
    pixels: Pixels
    outputs: frozenset[Output]


class Executor:
    """Runs batches on one device; call it in one thread. `num_stage_runs` counts the stages that ran."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.num_stage_runs = 0

    def run(self, parts: Sequence[Part[Work]]) -> list[Answer]:
        """Return each part's outputs, in order; rows of the same input form and the same stages run together.

        Raises OutOfDeviceMemory where the batch does not fit.
        """
        members = [_Member(part.work, part.work.pixels[part.start : part.stop]) for part in parts]
        by_input: defaultdict[object, list[_Member]] = defaultdict(list)
        for member in members:
            by_input[member.input_form].append(member)
        try:
            with torch.inference_mode():
                for group in by_input.values():
                    self._run_inputs(group)
        except torch.OutOfMemoryError as error:
            num_rows = sum(part.num_rows for part in parts)
            raise OutOfDeviceMemory(f"the device has no memory for a batch of {num_rows} rows: send fewer") from error
        return [member.answer for member in members]

    def warm_up(self, version: ResidentVersion) -> None:
        """Run one row through a version; raise InvalidManifest where it does not run or gives no finite numbers."""
        pixels = np.zeros((1, version.input_spec.crop_size, version.input_spec.crop_size, 3), dtype=np.uint8)
        outputs = {Output.EMBEDDING} if version.head is None else {Output.EMBEDDING, Output.SCORES}
        try:
            (answer,) = self.run([Part(Work(version, pixels, frozenset(outputs)), 0, 1)])
        except RuntimeError as error:
            raise InvalidManifest(f"one image does not run through {version.name}: {error}") from error
        if not all(np.isfinite(values).all() for values in answer.values()):
            raise InvalidManifest(f"{version.name} answers with numbers that are not finite: its training diverged")

    def _run_inputs(self, members: list[_Member]) -> None:
        # Equal beginnings of paths side by side: the rows of every stage then lie together, and a branch is a view.
        members.sort(key=lambda member: [id(stage) for stage in member.path])
        pixels = torch.from_numpy(np.concatenate([member.pixels for member in members]))
        self._descend(normalise(pixels.to(self._device), members[0].work.version.input_spec), members, 0)

    def _descend(self, x: Tensor, members: Sequence[_Member], depth: int) -> None:
        """Answer what ends after `depth` stages, and run each next stage over its rows; members are in x's order."""
        _answer(x, members, depth)
        for stage, rows, group in _branches(members, depth):
            self.num_stage_runs += 1
            self._descend(stage.module(x[rows]), group, depth + 1)


class _Member:
    """A part's rows on their way down the tree, and the answer that is being filled."""

    def __init__(self, work: Work, pixels: Pixels) -> None:
        self.work = work
        self.pixels = pixels
        self.path = work.version.stages if Output.SCORES in work.outputs else work.version.backbone
        self.input_form = (work.version.input_spec, pixels.shape[1:])
        self.answer: dict[Output, Values] = {}

    def output_after(self, depth: int) -> Output | None:
        """Return what is answered from the tensor that leaves the stage before `depth`."""
        if depth == len(self.work.version.backbone) and Output.EMBEDDING in self.work.outputs:
            return Output.EMBEDDING
        return Output.SCORES if depth > len(self.work.version.backbone) else None


def _answer(x: Tensor, members: Sequence[_Member], depth: int) -> None:
    values: dict[Output, Values] = {}
    for member, rows in zip(members, _row_ranges(members), strict=True):
        output = member.output_after(depth)
        if output is not None:
            if output not in values:
                values[output] = _on_host(pooled(x) if output is Output.EMBEDDING else x.softmax(dim=-1))
            member.answer[output] = values[output][rows]


def _branches(members: Sequence[_Member], depth: int) -> Iterator[tuple[Stage, slice, list[_Member]]]:
    """Yield each stage that comes next, the rows that it runs over, and whose they are."""
    ranges = zip(members, _row_ranges(members), strict=True)
    going_on = (each for each in ranges if depth < len(each[0].path))
    for stage, pairs in groupby(going_on, key=lambda pair: pair[0].path[depth]):
        group, rows = zip(*pairs, strict=True)
        yield stage, slice(rows[0].start, rows[-1].stop), list(group)


def _row_ranges(members: Sequence[_Member]) -> Iterator[slice]:
    stops = list(accumulate(len(member.pixels) for member in members))
    return (slice(start, stop) for start, stop in pairwise([0, *stops]))


def _on_host(values: Tensor) -> Values:
    return values.float().cpu().numpy()
