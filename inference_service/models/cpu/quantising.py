"""Stages in int8: OpenVINO's models, quantised by NNCF with the rows of a version."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import Tensor

from inference_service.models.cpu.openvino import import_openvino


class CannotCompile(Exception):
    """Why OpenVINO cannot run a stage."""


def quantised(model: Any, rows: Tensor) -> Any:  # noqa: ANN401  the library carries no types
    """Return OpenVINO's model of a stage with weights and products in int8, scaled by these inputs, float32 [n, …].

    Raises CannotCompile for a model that NNCF refuses. An error of another kind ends the process that compiles: its
    caller logs it, and does without int8.
    """
    if not len(rows):
        raise CannotCompile("there are no rows to calibrate it by")
    samples = [each[None].contiguous().numpy() for each in rows]
    import_openvino()  # first: NNCF would import its telemetry
    nncf = import_module("nncf")
    try:
        return nncf.quantize(model.clone(), nncf.Dataset(samples), subset_size=len(samples))
    except (nncf.InternalError, nncf.UnsupportedModelError, nncf.ValidationError, RuntimeError) as error:
        raise CannotCompile(f"NNCF cannot quantise it: {error}") from error
