"""The gate of a promotion: what a new version must reach before an alias is pointed at it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from maas.training.v1 import training_pb2

from maas_client.errors import InvalidArgument
from maas_client.typed.shorthand import alias_name


class Requirement(StrEnum):
    """What a version must be beside the one behind the alias: no worse, or better beyond noise."""

    NOT_WORSE = "not_worse"
    BETTER = "better"


_REQUIREMENTS = {
    Requirement.NOT_WORSE: training_pb2.PROMOTION_REQUIREMENT_NOT_WORSE,
    Requirement.BETTER: training_pb2.PROMOTION_REQUIREMENT_BETTER,
}


@dataclass(frozen=True)
class Gate:
    """What a version must reach to be promoted.

    `metric` is one of the task's, its own where left out; it must reach `threshold`. Compared with that of the version
    behind the alias, on at least `min_rows` held-out examples (20 by default), it must not be worse, neither beyond
    noise nor by more than half a point within it; with `require` BETTER it must be better beyond noise. `min_delta`
    below 0 allows a loss; above 0 it asks for an improvement. The version then runs as a shadow for `shadow_for`, on at
    least `shadow_min_rows` examples of requests (100 by default).
    """

    metric: str = ""
    threshold: float | None = None
    min_delta: float = 0.0
    min_rows: int | None = None
    shadow_for: timedelta = timedelta()
    shadow_min_rows: int | None = None
    require: Requirement = Requirement.NOT_WORSE


def promotion(model: str, promote: str | training_pb2.Promote, gate: Gate | None = None) -> training_pb2.Promote | None:
    """Return what to ask the service for; raise InvalidArgument for a gate without an alias to promote to."""
    if isinstance(promote, training_pb2.Promote):
        return promote
    gate = gate or Gate()
    if promote:
        return training_pb2.Promote(
            alias=alias_name(model, promote),
            metric=gate.metric,
            threshold=gate.threshold,
            min_delta=gate.min_delta,
            min_rows=gate.min_rows,
            shadow_for=gate.shadow_for,
            shadow_min_rows=gate.shadow_min_rows,
            require=_REQUIREMENTS[gate.require],
        )
    if gate != Gate():
        raise InvalidArgument(
            "a metric, threshold, delta, requirement, number of rows or shadow needs an alias to promote to: "
            "--promote production"
        )
    return None
