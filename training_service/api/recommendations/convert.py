"""Between the messages of RecommendBases and the service's own records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from maas.training.v1 import training_pb2 as pb

from model_store.errors import InvalidInput
from model_store.names import AliasName, ModelName, VersionName, dataset_name, parse_dataset, parse_target
from training_service.advice.advice import AdviceKind
from training_service.api.evaluation_convert import PHASES
from training_service.api.recipe_convert import recipe_message
from training_service.api.violations import Violations
from training_service.choosing.ranking import Limits
from training_service.choosing.recommendation import Recommendation
from training_service.phases import Phase
from training_service.recipes.recipe import Recipe

_MAX_BASES = 100
_ADVICE = {
    AdviceKind.WRONG_LABELS: pb.ADVICE_KIND_WRONG_LABELS,
    AdviceKind.CONTRADICTIONS: pb.ADVICE_KIND_CONTRADICTIONS,
    AdviceKind.OUTLIERS: pb.ADVICE_KIND_OUTLIERS,
    AdviceKind.SMALL_LABELS: pb.ADVICE_KIND_SMALL_LABELS,
    AdviceKind.MORE_ROWS: pb.ADVICE_KIND_MORE_ROWS,
    AdviceKind.LEAK: pb.ADVICE_KIND_LEAK,
}


@dataclass(frozen=True)
class RecommendationRequest:
    """What a caller wants compared: a dataset, limits, and the bases; without any, all that fit."""

    dataset_id: str
    limits: Limits
    bases: Sequence[ModelName | AliasName | VersionName]


def read_recommendation(request: pb.RecommendBasesRequest) -> RecommendationRequest:
    """Read a request; raise InvalidInput naming every wrong field."""
    wanted = RecommendationRequest("", Limits(), ())
    violations = Violations()
    with violations.collected():
        wanted = replace(wanted, dataset_id=parse_dataset(request.dataset, "dataset"))
    with violations.collected():
        if len(request.bases) > _MAX_BASES:
            raise InvalidInput.of("bases", f"must be at most {_MAX_BASES}, not {len(request.bases)}")
        bases = [parse_target(name, f"bases[{place}]") for place, name in enumerate(request.bases)]
        wanted = replace(wanted, bases=bases)
    with violations.collected():
        wanted = replace(wanted, limits=_limits(request))
    violations.raise_any()
    return wanted


def recommending_message(phase: Phase, fraction_done: float, base: str) -> pb.RecommendBasesResponse:
    """Write the progress of a comparison."""
    progress = pb.RecommendBasesResponse.Progress(phase=PHASES[phase], fraction_done=fraction_done, base=base)
    return pb.RecommendBasesResponse(progress=progress)


def recommended_message(found: Recommendation) -> pb.RecommendBasesResponse:
    """Write its result."""
    return pb.RecommendBasesResponse(recommendation=recommendation_message(found.to_json()))


def recommendation_message(found: Mapping[str, Any], *, in_full: bool = True) -> pb.Recommendation:
    """Write a recommendation as `Recommendation.to_json` returns it; else what is chosen, and why, alone."""
    message = pb.Recommendation(
        dataset=dataset_name(found["dataset"]),
        metric=found["metric"],
        row_count=found["num_rows"],
        chosen=_base_message(found["bases"][found["chosen"]]),
        reason=found["reason"],
    )
    if in_full:
        message.bases.extend(map(_base_message, found["bases"]))
        message.left_out_bases.extend(pb.LeftOutBase(**each) for each in found["left_out"])
        message.advice.extend(
            pb.Advice(
                kind=_ADVICE[AdviceKind(each["kind"])], text=each["text"], rows=each["rows"], row_count=each["num_rows"]
            )
            for each in found["advice"]
        )
    return message


def _base_message(base: Mapping[str, Any]) -> pb.RecommendedBase:
    low, high = base["interval"]
    return pb.RecommendedBase(
        base=base["base"],
        architecture=base["architecture"],
        score=base["score"],
        score_low=low,
        score_high=high,
        as_good_as_best=base["is_alike"],
        diagnostics=base["diagnostics"],
        row_latency=timedelta(seconds=base["row_seconds"]),
        batch_latency=timedelta(seconds=base["batch_seconds"]),
        size_bytes=base["size_bytes"],
        head_size_bytes=base["head_bytes"],
        training_times={name: _duration(seconds) for name, seconds in base["training_seconds"].items()},
        recipe=recipe_message(Recipe.from_json(base["recipe"])),
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def _limits(request: pb.RecommendBasesRequest) -> Limits:
    size = request.max_size_bytes if request.HasField("max_size_bytes") else None
    if size is not None and size < 1:
        raise InvalidInput.of("max_size_bytes", f"must be at least 1, not {size}")
    return Limits(_seconds(request, "max_latency"), size, _seconds(request, "max_training_time"))


def _seconds(request: pb.RecommendBasesRequest, field: str) -> float | None:
    """Return the seconds in a field; None where it is unset."""
    if not request.HasField(field):
        return None
    duration = getattr(request, field)
    seconds = float(duration.seconds + duration.nanos / 1e9)
    if seconds <= 0:
        raise InvalidInput.of(field, f"must be above 0 seconds, not {seconds:g}")
    return seconds
