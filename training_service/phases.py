"""The phases of a training job and of an evaluation, as progress names them."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """What a job or an evaluation does at the moment."""

    DECODING = "decoding"
    COMPUTING_FEATURES = "computing_features"
    FITTING_HEAD = "fitting_head"
    TRAINING = "training"
    EVALUATING = "evaluating"
