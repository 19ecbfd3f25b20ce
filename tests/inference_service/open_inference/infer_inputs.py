"""Inputs and parameters of requests, and the outputs of the model of numbers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model_store.modalities import Batch
from model_store.modalities.image.spec import normalise
from tests.inference_service.inferring import (
    NUMBERS,
    Parameter,
    rows,
)
from tests.inference_service.making import SPEC

X = rows()

CROP = SPEC.crop_size


def with_odd(number: float) -> bytes:
    """Return two rows of numbers, the second with this one among them."""
    odd = X.copy()
    odd[1, 3] = number
    return odd.tobytes()


def logits_of(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the model of numbers by hand."""
    with torch.inference_mode():
        return NUMBERS.chain(Batch.of(torch.from_numpy(x))).numpy()


def normalised(made: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return rows as INPUT takes them."""
    return normalise(torch.from_numpy(made), SPEC).contiguous().numpy()


def parameters(**values: int | str | float | bool) -> dict[str, Parameter]:  # noqa: PYI041
    """Write parameters by the types that clients give them."""
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    return {name: Parameter(**{kinds[type(value)]: value}) for name, value in values.items()}
