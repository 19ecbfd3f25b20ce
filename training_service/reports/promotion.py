"""The section of a report that says what the gate made of a version: which figures it compared, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from model_store.names import AliasName, VersionName
from model_store.records.promotion import Promotion, PromotionSpec, PromotionState, Verdict
from training_service.evaluation.difference import Difference
from training_service.promotion.gate import asked_text
from training_service.reports.facts import JobFacts
from training_service.tasks import TRAINING_TASKS
from training_service.tasks.training_task import Metric

_FORMS = {name: form for task in TRAINING_TASKS.values() for name, form in task.metrics.items()}
_MOODS = {PromotionState.REFUSED: "bad", PromotionState.PROMOTED: "good", PromotionState.SERVING: "good"}


@dataclass(frozen=True)
class PromotionSection:
    """What was asked for; once the job has a version, the gate's figures by version, the rows, and the decision."""

    heading: ClassVar[str] = "Promotion"
    template: ClassVar[str] = "reports/promotion.html"
    alias: AliasName
    asked: str
    mood: str = ""
    decision: str = ""
    rows: str = ""
    figures: Sequence[tuple[str, str]] = ()
    comparison: Sequence[tuple[str, str]] = ()


def promotion(facts: JobFacts) -> PromotionSection | None:
    """Return the figures of the version and of the one that was behind the alias; None where no gate was asked for."""
    spec, outcome, version = facts.job.spec.promote, facts.job.promotion, facts.job.version
    if spec is None:
        return None
    alias = AliasName(facts.job.spec.model_id, spec.alias)
    if outcome is None or version is None:
        return PromotionSection(alias, required_text(spec))
    verdict, form = outcome.verdict, _FORMS[spec.metric]
    rows = "rows left out in cross-validation" if verdict.is_cross_validated else "test rows"
    found = _difference(verdict, form)
    return PromotionSection(
        alias,
        required_text(spec),
        _MOODS.get(outcome.state, "open"),
        _decision(spec, outcome, alias, found, form),
        rows,
        list(_figures(outcome, version)),
        list(_comparison(verdict, version, found, rows)),
    )


def _difference(verdict: Verdict, form: Metric) -> Difference | None:
    """Return the difference that the gate found; None where nothing was compared."""
    if verdict.figure is None or verdict.incumbent_figure is None or verdict.interval is None:
        return None
    return Difference(
        verdict.figure,
        verdict.incumbent_figure,
        verdict.interval,
        verdict.num_rows,
        form.is_better_lower,
        verdict.p_value,
    )


def _decision(spec: PromotionSpec, outcome: Promotion, alias: AliasName, found: Difference | None, form: Metric) -> str:
    """Say in one sentence whether the version passed the gate, and why."""
    passed = f"The version {'passed' if outcome.verdict.passes else 'did not pass'} the gate of {alias}"
    if found is None:
        return f"{passed}; it could not be compared." if outcome.verdict.incumbent is not None else f"{passed}."
    title = form.title if form.title.isupper() else form.title[0].lower() + form.title[1:]
    change = found.figure - found.other
    noise = "larger" if found.is_better or found.is_worse else "smaller"
    how = (
        f"{form.text(abs(change))} {'higher' if change > 0 else 'lower'}, {noise} than noise" if change else "the same"
    )
    return f"{passed}: its {title} is {how}; it must be {asked_text(spec)}."


def _comparison(
    verdict: Verdict, version: VersionName, found: Difference | None, rows: str
) -> Iterator[tuple[str, str]]:
    """Yield what the version was compared with, on which rows, and how far they are apart, by name."""
    if verdict.incumbent is not None:
        yield "Compared with", str(VersionName(version.model_id, verdict.incumbent))
        yield "Rows in common", f"{verdict.num_rows:,} {rows}"
    if found is not None:
        yield "Difference", f"{found.figure - found.other:+.4f}"
        yield "95 % interval", f"{found.interval.low:+.4f} to {found.interval.high:+.4f}"
        if found.p_value is not None:
            yield "p value", f"{found.p_value:.2g}"


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
