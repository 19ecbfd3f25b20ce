"""In which precision a version may be served: what the device runs fast, and how well that agrees with float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from model_store.architectures.activation import activated
from model_store.modalities.spec import Numbers
from model_store.tasks import Activation
from model_store.tasks.comparing import compared

_MIN_AGREEMENT = 0.98  # of 64 rows, one may get another label
_MAX_SHIFT = 0.05


class Precision(StrEnum):
    """What a backbone computes in. A head computes in float32, a fitted one in float64: scores come from it.

    Int8 is a precision of compiled stages alone: its products are of 8 bits, the tensors between stages of float32.
    """

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"

    @property
    def dtype(self) -> torch.dtype:
        """Type of the tensors that a stage takes and gives."""
        return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self, torch.float32)


class Backend(StrEnum):
    """What runs the stages of a backbone. A head always runs in PyTorch."""

    TORCH = "torch"
    OPENVINO = "openvino"


@dataclass(frozen=True)
class Agreement:
    """How a version's answers in a precision compare with float32's on the rows that are stored with it.

    `decision_agreement` is the share of rows, 0 to 1, with the same decision (the best label, or the set of labels);
    `max_score_shift` the largest difference of any score, or of a target's value in its standard deviations.
    """

    precision: Precision
    num_rows: int
    decision_agreement: float
    max_score_shift: float
    backend: Backend = Backend.TORCH

    @property
    def passes(self) -> bool:
        """Say whether `auto` may serve the version so."""
        return self.decision_agreement >= _MIN_AGREEMENT and self.max_score_shift <= _MAX_SHIFT


def agreement(
    precision: Precision,
    wanted_logits: Numbers,
    logits: Tensor,
    activation: Activation = "softmax",
    temperature: float = 1.0,
) -> Agreement:
    """Compare logits [n, outputs] with the stored ones, as the scores that are answered with them.

    Numbers that are not finite agree with nothing.
    """
    found, wanted = (
        activated(each.float().cpu(), activation, temperature).numpy()
        for each in (logits, torch.from_numpy(wanted_logits))
    )
    same, shift = compared(activation, found, wanted)
    return Agreement(precision, len(wanted), float(same.mean()), shift)


def candidates(wanted: str, device: torch.device, *, can_quantise: bool = False) -> Sequence[Precision]:
    """Return the precisions to try, the best first: the one that is wanted, or for `auto` what the device runs fast.

    `auto` ends with float32, which needs no trial. Int8 is among them where stages can be quantised.
    """
    if wanted != "auto":
        return (Precision(wanted),)
    fast = _fast_on_cuda(device) if device.type == "cuda" else _fast_on_cpu(can_quantise=can_quantise)
    return (*fast, Precision.FLOAT32)


def _fast_on_cuda(device: torch.device) -> tuple[Precision, ...]:
    """Return the precisions that run faster than float32 on this GPU, by its generation."""
    has_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
    return (Precision.BFLOAT16, Precision.FLOAT16) if has_bfloat16 else (Precision.FLOAT16,)


def _fast_on_cpu(*, can_quantise: bool) -> tuple[Precision, ...]:
    """Return the precisions that run faster than float32 here, by what the processor says of itself."""
    abilities = torch.cpu.get_capabilities()
    # AVX-512 alone widens every bfloat16 to float32 first: slower than float32 itself.
    has_bfloat16 = abilities.get("amx_bf16") or abilities.get("avx512_bf16")
    has_int8 = can_quantise and (abilities.get("amx_int8") or abilities.get("avx512_vnni"))
    return (*([Precision.INT8] if has_int8 else []), *([Precision.BFLOAT16] if has_bfloat16 else []))
