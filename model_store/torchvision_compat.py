"""Lets a CUDA-built torchvision import beside a CPU-only torch; the one place that imports torchvision."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import torch

# A CUDA build of torchvision cannot load its native operators beside a CPU-only torch, and then `import torchvision`
# fails where it registers fake kernels for these two. A signature is all that the registration asks for; nothing here
# calls them. Image classification uses no native operator.
_SIGNATURES = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")


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


torchvision = _import_torchvision()
