"""Compiles the stages of one backbone by OpenVINO, in a process of its own and behind all other work: `python -m …`.

Its input is an order, a line of JSON, then a safetensors file of the rows to calibrate int8 by, where there are any,
and each stage's safetensors file, first stage to last. Its output is JSON: for each stage why it cannot be compiled, by
precision. Converting a network holds the interpreter's lock for seconds: in the service's own process no request would
be answered meanwhile.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import torch
from safetensors.torch import load
from torch import Tensor, nn

from inference_service.models.cpu.openvino import NUMBERS, import_openvino, sealed
from inference_service.models.cpu.quantising import CannotCompile, quantised
from model_store.architectures import Head, build_stage, reads, run_stage, writes
from model_store.modalities import Batch, X, concatenated, split

_NICENESS = 10  # at 19 a busy service left it no time: a minute was not enough
_NUM_ROWS = 3  # not 1, which a trace may take for a constant
_ROWS_AT_ONCE = 8
# Of the largest number. In float32 stages of ResNet, MobileNet and EfficientNet differed by 1e-6.
_MAX_DIFFERENCE = 1e-3


def main() -> None:
    """Carry out the order on standard input."""
    os.nice(_NICENESS)
    torch.set_num_threads(1)
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    order = json.loads(sys.stdin.buffer.readline())
    with torch.no_grad():
        reasons = compile_stages(order, sys.stdin.buffer)
    print(json.dumps(reasons), file=answers)


def compile_stages(order: Mapping[str, Any], blobs: BinaryIO) -> dict[str, dict[str, str]]:
    """Write the files that an order names for its stages; return why the others of them cannot be compiled."""
    compiler, head, reasons = _Compiler(import_openvino()), Head.from_json(order["head"]), {}
    random = torch.randn(_NUM_ROWS, *order["row_shape"], generator=torch.Generator().manual_seed(0))
    calibration = load(blobs.read(num_bytes))[X] if (num_bytes := order["calibration_bytes"]) else random[:0]
    rows = Batch.of(torch.cat([random, calibration]))
    for position, (name, num_bytes, files) in enumerate(order["stages"]):
        stage = build_stage(order["architecture"], order["arguments"], head, name)
        stage.load_state_dict(load(blobs.read(num_bytes)), strict=True, assign=True)
        before, rows = rows, _run(stage.eval().requires_grad_(requires_grad=False), rows)
        if files:
            reasons[name] = compiler.write(stage, before, rows, files, is_first=position == 0)
    return reasons


def _run(stage: nn.Module, rows: Batch) -> Batch:
    """Run a stage over a few rows at a time: what it has between its operations is larger than its output."""
    return concatenated([run_stage(stage, each) for each in split(rows, math.ceil(rows.num_rows / _ROWS_AT_ONCE))])


class _Compiler:
    def __init__(self, openvino: ModuleType) -> None:
        self._openvino = openvino
        self._core = openvino.Core()
        self._decoder = import_module("openvino.frontend.pytorch.ts_decoder").TorchScriptPythonDecoder
        self._frontend = openvino.frontend.FrontEndManager().load_by_framework("pytorch")

    def write(
        self, stage: nn.Module, before: Batch, after: Batch, files: Mapping[str, str], *, is_first: bool
    ) -> dict[str, str]:
        """Write a file for each precision, where the stage gives `after` for `before` in float32.

        The first rows of `before` are random, the others those to calibrate by. Returns why a precision has no file.
        """
        try:
            model = self._converted(stage, before, after)
        except (CannotCompile, RuntimeError) as error:  # OpenVINO's own are RuntimeErrors
            return dict.fromkeys(files, str(error))
        is_channels_last = is_first and before.x.ndim == 4
        form, reasons = {"row_shape": after.x.shape[1:], "is_channels_last": is_channels_last}, {}
        for precision, file in files.items():
            try:
                of_precision = quantised(model, before.x[_NUM_ROWS:]) if precision == "int8" else model
                exported = self._compiled(of_precision, precision, is_channels_last=is_channels_last).export_model()
            except (CannotCompile, RuntimeError) as error:
                reasons[precision] = str(error)
            else:
                Path(file).write_bytes(sealed(form, exported.getvalue()))
        return reasons

    def _converted(self, stage: nn.Module, before: Batch, after: Batch) -> Any:  # noqa: ANN401  the library carries no types
        if (reads(stage), writes(stage)) != ((X,), (X,)):
            raise CannotCompile("it reads or writes other tensors than x")
        some = before.x[:_NUM_ROWS]
        traced = torch.jit.trace(stage, (some,), check_trace=False)  # type: ignore[no-untyped-call]  # PyTorch's own
        decoder = self._decoder(traced)
        model = self._frontend.convert(self._frontend.load(decoder))
        model.reshape([1, *some.shape[1:]])  # of each other number of rows, a copy's first run took 20 ms more
        self._check(model, some[:1], after.x[:1])
        return model

    def _check(self, model: Any, x: Tensor, wanted: Tensor) -> None:  # noqa: ANN401  the library carries no types
        compiled = self._core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = torch.from_numpy(compiled(x.numpy())[0])
        if found.shape != wanted.shape:
            raise CannotCompile(f"it gives {list(found.shape)} for {list(wanted.shape)}")
        difference = float((found - wanted).abs().max()) / max(1.0, float(wanted.abs().max()))
        if not difference <= _MAX_DIFFERENCE:
            raise CannotCompile(f"it differs from PyTorch by {difference:.1g} of its largest number")

    def _compiled(self, model: Any, precision: str, *, is_channels_last: bool) -> Any:  # noqa: ANN401
        """Compile for tensors of the precision at both ends: half the bytes to write and read between stages."""
        ov, number = self._openvino, NUMBERS[precision]
        steps = ov.preprocess.PrePostProcessor(model.clone())
        steps.input().tensor().set_element_type(getattr(ov.Type, number))
        steps.output().tensor().set_element_type(getattr(ov.Type, number))
        if is_channels_last:  # as rows come from the input spec
            steps.input().tensor().set_layout(ov.Layout("NHWC"))
            steps.input().model().set_layout(ov.Layout("NCHW"))
        return self._core.compile_model(steps.build(), "CPU", {"INFERENCE_PRECISION_HINT": number})


if __name__ == "__main__":
    main()
