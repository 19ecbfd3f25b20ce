"""The only import of torchvision: it works with a CPU-only torch, and without PyTorch's compiler."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

# A CUDA build of torchvision cannot load its native operators with a CPU-only torch, and `import torchvision` then
# fails while it registers fake kernels for these two. The registration needs their signatures only; nothing here calls
# them. Classification uses no native operator.
_SIGNATURES = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
_COMPILER = "torch._dynamo.utils"


def _is_compile_supported(device_type: torch.types.Device) -> bool:
    """Ask PyTorch's compiler at the first use."""
    return bool(importlib.import_module(_COMPILER).is_compile_supported(device_type))


@contextmanager
def _compiler_later() -> Iterator[None]:
    """Keep torchvision from importing PyTorch's compiler, which takes a second and 140,000 objects for good.

    One operator of object detection imports it for one function, that it calls when it is called itself: its module is
    given a function that looks there then. https://github.com/pytorch/vision/blob/main/torchvision/ops/roi_align.py
    """
    if _COMPILER in sys.modules:
        yield
        return
    stand_in = ModuleType(_COMPILER)
    stand_in.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    sys.modules[_COMPILER] = stand_in
    try:
        yield
    finally:
        del sys.modules[_COMPILER]


def _import_torchvision() -> ModuleType:
    for _ in range(len(_SIGNATURES)):
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            missing = _MISSING.search(str(error))
            if missing is None or missing[1] not in _SIGNATURES:
                raise
            torch.library.define(f"torchvision::{missing[1]}", _SIGNATURES[missing[1]])
    return importlib.import_module("torchvision")


with _compiler_later():
    torchvision = _import_torchvision()
