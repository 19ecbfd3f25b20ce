"""The section of a report that says which features were selected, and by which scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training_service.markup.sections import Table
from training_service.recipes.recipe import FeatureSelection, Recipe
from training_service.reports.facts import JobFacts

_SCORES = {
    None: "ANOVA F",
    FeatureSelection.VARIANCE: "Variance",
    FeatureSelection.MUTUAL_INFORMATION: "Mutual information",
    FeatureSelection.ANOVA_F: "ANOVA F",
}


@dataclass(frozen=True)
class FeaturesSection:
    """The score of every feature, the largest first."""

    heading: ClassVar[str] = "Features"
    template: ClassVar[str] = "reports/features.html"
    num_kept: int
    num_features: int
    is_chosen: bool
    table: Table


def features(facts: JobFacts) -> FeaturesSection | None:
    """Return the scores; None where the version selects no features."""
    if not facts.features:
        return None
    select = Recipe.from_json(facts.job.spec.recipe).select
    ordered = sorted(facts.features, key=lambda each: (-each.score, not each.is_kept))
    rows = [[each.name, f"{each.score:.4g}", "yes" if each.is_kept else "no"] for each in ordered]
    table = Table("Scores of features on training rows", ("Feature", _SCORES[select], "Kept"), rows, "features")
    num_kept = sum(each.is_kept for each in ordered)
    return FeaturesSection(num_kept, len(ordered), select is not None, table)
