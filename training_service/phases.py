"""The phases of a training job and of an evaluation, as progress names them."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """The current activity of a job or an evaluation."""

    CHOOSING_BASE = "choosing_base"
    CHOOSING_INPUT = "choosing_input"
    DECODING = "decoding"
    COMPUTING_FEATURES = "computing_features"
    FITTING_HEAD = "fitting_head"
    TRAINING = "training"
    EVALUATING = "evaluating"
    CROSS_VALIDATING = "cross_validating"
    SEARCHING = "searching"
