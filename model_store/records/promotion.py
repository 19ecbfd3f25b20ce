"""Promotion: the move of an alias to a job's version that the gate passed, and the state of the move. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from model_store.records.metrics import Interval


class PromotionState(StrEnum):
    """The states of a promotion."""

    REFUSED = "refused"
    SHADOWING = "shadowing"
    LOADING = "loading"
    SERVING = "serving"
    PROMOTED = "promoted"


class Requirement(StrEnum):
    """What a version must be, compared with the version behind the alias, beyond the noise of the rows they share."""

    NOT_WORSE = "not_worse"
    BETTER = "better"


DEFAULT_MIN_ROWS = 20
"""One row of so few moves the accuracy by 5 points."""
DEFAULT_SHADOW_MIN_ROWS = 100
OPEN = frozenset({PromotionState.SHADOWING, PromotionState.LOADING})
"""The states of an unfinished promotion."""


@dataclass(frozen=True)
class PromotionSpec:
    """The conditions on a job's version, on the test split, before an alias moves to it.

    Its `metric` (empty: the task's own) must reach `threshold`, if any. Against the alias's version it must be what
    `require` says, on at least `min_rows` rows that neither version learned from. NOT_WORSE: the measured loss, if any,
    is smaller than noise and at most half a point (of a quantity, half a percent); with a `min_delta` the measured
    difference is at least that, below 0 a loss. BETTER: the difference exceeds `min_delta` by more than noise. Then it
    runs as a shadow for `shadow_seconds` and at least `shadow_min_rows` rows, and must not fail.
    """

    alias: str
    metric: str = ""
    threshold: float | None = None
    min_delta: float = 0.0
    shadow_seconds: float = 0.0
    min_rows: int = DEFAULT_MIN_ROWS
    shadow_min_rows: int = DEFAULT_SHADOW_MIN_ROWS
    require: Requirement = Requirement.NOT_WORSE

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `to_json` writes; jobs from before a condition existed have its default."""
        return cls(**{**values, "require": Requirement(values.get("require", Requirement.NOT_WORSE))})


@dataclass(frozen=True)
class Verdict:
    """The verdict of the gate on a version: whether it passes, and why.

    `figure` is its metric, None without a value; `incumbent` the version that was behind the alias, and
    `incumbent_figure` the metric of the incumbent on the same `num_rows` rows. `num_left_out` counts the test rows that
    one of them learned from. With `is_cross_validated` the rows are those of a small dataset, answered by other runs of
    both recipes without them. `interval` is where the difference of the two metrics lies, and `p_value` how probable
    one of this size is between equally good versions; None where nothing was compared, or no such test is known.
    """

    passes: bool
    reason: str
    figure: float | None
    incumbent: int | None = None
    incumbent_figure: float | None = None
    num_rows: int = 0
    num_left_out: int = 0
    interval: Interval | None = None
    p_value: float | None = None
    is_cross_validated: bool = False

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read plain JSON values; a verdict from before a figure existed lacks it."""
        interval = values.get("interval")
        return cls(**{**values, "interval": Interval(**interval) if interval is not None else None})


@dataclass(frozen=True)
class Promotion:
    """The state of a job's promotion and its reason; while it is open, `until` is the time of the next step."""

    state: PromotionState
    verdict: Verdict
    reason: str
    updated_at: datetime
    until: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Say whether it goes on."""
        return self.state in OPEN

    def then(self, state: PromotionState, reason: str, until: datetime | None = None) -> Promotion:
        """Return the promotion in its next state."""
        return replace(self, state=state, reason=reason, updated_at=datetime.now(UTC), until=until)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        until = self.until.isoformat() if self.until is not None else None
        return {**asdict(self), "state": str(self.state), "updated_at": self.updated_at.isoformat(), "until": until}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form that `to_json` writes."""
        until = datetime.fromisoformat(values["until"]) if values["until"] is not None else None
        return cls(
            state=PromotionState(values["state"]),
            verdict=Verdict.from_json(values["verdict"]),
            reason=values["reason"],
            updated_at=datetime.fromisoformat(values["updated_at"]),
            until=until,
        )
