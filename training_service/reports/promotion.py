"""The section of a report that says what the gate made of a version: which figures it compared, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from model_store.names import AliasName, VersionName
from model_store.records.promotion import Promotion, PromotionSpec, PromotionState
from training_service.promotion.gate import asked_text
from training_service.reports.facts import JobFacts

_MOODS = {PromotionState.REFUSED: "bad", PromotionState.PROMOTED: "good", PromotionState.SERVING: "good"}


@dataclass(frozen=True)
class PromotionSection:
    """What was asked for; once the job has a version, the gate's figures by version too, and the outcome."""

    heading: ClassVar[str] = "Promotion"
    template: ClassVar[str] = "reports/promotion.html"
    alias: AliasName
    asked: str
    mood: str = ""
    figures: Sequence[tuple[str, str]] = ()


def promotion(facts: JobFacts) -> PromotionSection | None:
    """Return the figures of the version and of the one that was behind the alias; None where no gate was asked for."""
    spec, outcome, version = facts.job.spec.promote, facts.job.promotion, facts.job.version
    if spec is None:
        return None
    alias = AliasName(facts.job.spec.model_id, spec.alias)
    if outcome is None or version is None:
        return PromotionSection(alias, required_text(spec))
    mood = _MOODS.get(outcome.state, "open")
    return PromotionSection(alias, required_text(spec), mood, list(_figures(outcome, version)))


def required_text(spec: PromotionSpec) -> str:
    """Write what a version must reach, as what follows "it must have"."""
    compared = f"{spec.metric} {asked_text(spec)}, compared with the version behind the alias"
    return compared if spec.threshold is None else f"{compared}, and no worse than {spec.threshold:g}"


def _figures(outcome: Promotion, version: VersionName) -> Iterator[tuple[str, str]]:
    verdict = outcome.verdict
    yield f"{version}, the new one", _figure(verdict.figure)
    if verdict.incumbent is None:
        yield "No version was behind the alias", ""
    else:
        yield f"{VersionName(version.model_id, verdict.incumbent)}, behind the alias", _figure(verdict.incumbent_figure)


def _figure(value: float | None) -> str:
    return f"{value:.4f}" if value is not None else "not measured"
