"""The section of a report that says what the gate made of a version: which figures it compared, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator

from model_store.names import AliasName, VersionName
from model_store.records.promotion import Promotion, PromotionSpec, PromotionState
from training_service.markup.elements import Child, Markup, element, joined, table
from training_service.markup.elements import facts as fact_list
from training_service.reports.facts import JobFacts
from training_service.reports.words import moment_text

_KINDS = {PromotionState.REFUSED: "bad", PromotionState.PROMOTED: "good", PromotionState.SERVING: "good"}


def promotion_section(facts: JobFacts) -> Markup:
    """Show the figures of the version and of the one that was behind the alias, and the outcome with its reason."""
    spec, promotion, version = facts.job.spec.promote, facts.job.promotion, facts.job.version
    if spec is None:
        return Markup()
    alias = AliasName(facts.job.spec.model_id, spec.alias)
    if promotion is None or version is None:
        text = f"{alias} moves once the job has registered a version, if that has {asked_text(spec)}."
        return element("p", text, class_="note")
    outcome = element("span", str(promotion.state), class_=f"state {_KINDS.get(promotion.state, 'open')}")
    figures = table(("Version", spec.metric), _figures(promotion, version), "On the same test rows", "numbers figures")
    verdict = promotion.verdict
    known = fact_list(
        [
            ("Alias", str(alias)),
            ("Asked for", asked_text(spec)),
            ("Compared on", f"{verdict.num_rows:,} test rows, at least {spec.min_rows:,} asked for"),
            ("Left out", f"{verdict.num_left_out:,} test rows that a version learned from"),
            ("Shadow for", f"{spec.shadow_seconds:g} s" if spec.shadow_seconds else ""),
            ("Since", moment_text(promotion.updated_at)),
        ]
    )
    return joined([element("p", outcome, " ", promotion.reason, class_="outcome"), figures, known])


def asked_text(spec: PromotionSpec) -> str:
    """Write what a version must reach, as what follows "it must have"."""
    compared = f"{spec.metric} no worse than the version behind the alias"
    if spec.min_delta:
        compared = f"{spec.metric} better by {spec.min_delta:g} than the version behind the alias"
    return compared if spec.threshold is None else f"{compared}, and no worse than {spec.threshold:g}"


def _figures(promotion: Promotion, version: VersionName) -> Iterator[tuple[Child, Child]]:
    verdict = promotion.verdict
    yield f"{version}, the new one", _figure(verdict.figure)
    if verdict.incumbent is None:
        yield "No version was behind the alias", ""
    else:
        yield f"{VersionName(version.model_id, verdict.incumbent)}, behind the alias", _figure(verdict.incumbent_figure)


def _figure(value: float | None) -> str:
    return f"{value:.4f}" if value is not None else "not measured"
