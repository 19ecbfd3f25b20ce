"""Ranks measured candidates, says which of them cannot be told apart, and takes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training_service.choosing.candidates import Candidate, backbone_key
from training_service.choosing.costs import Costs
from training_service.choosing.prior import Prior
from training_service.choosing.probing import Score
from training_service.recipes.recipe import Recipe, RecipeName
from training_service.tasks.training_task import Metric

_PERCENTILE = 5.0
_MEBIBYTE = 1024 * 1024
_NUMBERS = ("", "", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class Limits:
    """What a version may cost at most; None is no limit. The latency is that of one row."""

    latency_seconds: float | None = None
    size_bytes: int | None = None
    training_seconds: float | None = None

    def broken_by(self, costs: Costs, training: Mapping[RecipeName, float]) -> str:
        """Return which limits a candidate breaks, in words with its figures; empty where it keeps all."""
        broken = []
        if self.latency_seconds is not None and costs.row_seconds > self.latency_seconds:
            broken.append(f"latency: {costs.row_seconds * 1000:.3g} ms, limit {self.latency_seconds * 1000:.3g} ms")
        if self.size_bytes is not None and costs.size_bytes > self.size_bytes:
            broken.append(f"size: {costs.size_bytes / _MEBIBYTE:.3g} MiB, limit {self.size_bytes / _MEBIBYTE:.3g} MiB")
        if self.training_seconds is not None and min(training.values()) > self.training_seconds:
            least = min(training.values()) / 60
            broken.append(f"training: {least:.3g} minutes at least, limit {self.training_seconds / 60:.3g} minutes")
        return ", ".join(broken)


@dataclass(frozen=True, eq=False)
class Measured:
    """A candidate with its score, its costs, and the recipe that suits it.

    `training` are seconds by recipe. `diagnostics` are scores that need no head, for backbones with weights.
    """

    candidate: Candidate
    score: Score
    costs: Costs
    training: Mapping[RecipeName, float]
    recipe: Recipe
    diagnostics: Mapping[str, float]

    def __str__(self) -> str:
        """Return its name, with the head where that is what distinguishes it."""
        name = str(self.candidate)
        return name if self.candidate.trainable else f"{name} with {self.recipe.head}"


@dataclass(frozen=True)
class Ranking:
    """Candidates, best score first; the first `num_alike` cannot be told apart, and `chosen` is their cheapest."""

    ranked: Sequence[Measured]
    num_alike: int
    chosen: Measured
    reason: str


def rank(measured: Sequence[Measured], metric: Metric, num_rows: int, prior: Prior | None = None) -> Ranking:
    """Rank by score, those that cannot be told from the best one first.

    A candidate cannot be told from the best where the 90 % interval of the difference contains 0: of bootstrap samples
    of the same rows for both, as rows that are hard for one are mostly hard for the other. The cheapest has the lowest
    latency of a batch, then the smallest size. Of candidates that cannot be told apart, those are not taken that were
    worse than another of them on other datasets, more often than by chance, as far as `prior` knows.
    """
    best = max(measured, key=lambda each: each.score.metric)
    alike = [each for each in measured if each is best or _is_alike(best.score, each.score)]
    others = [each for each in measured if each not in alike]
    ranked = [*_by_score(alike), *_by_score(others)]
    outdone = _outdone(alike, prior or Prior())
    left = [each for each in alike if each not in outdone]
    chosen = min(left, key=lambda each: (each.costs.batch_seconds, each.costs.size_bytes))
    reason = _reason(ranked, len(alike), chosen, metric, num_rows)
    return Ranking(ranked, len(alike), chosen, "; ".join([reason, *outdone.values()]))


def _outdone(alike: Sequence[Measured], prior: Prior) -> dict[Measured, str]:
    """Return those that another of them outdid in earlier jobs, and say so; never all of them."""
    found = {}
    for each in alike:
        own = backbone_key(each.candidate.manifest)
        for other in alike:
            theirs = backbone_key(other.candidate.manifest)
            if other not in found and own != theirs and prior.is_better(theirs, own):
                better, worse = prior.record(theirs, own)
                found[each] = f"not {each}, as {other} did better on {better} of {better + worse} earlier datasets"
                break
    return found


def _is_alike(best: Score, other: Score) -> bool:
    differences = best.samples - other.samples
    return bool(np.percentile(differences[np.isfinite(differences)], _PERCENTILE) <= 0)


def _by_score(measured: Sequence[Measured]) -> list[Measured]:
    return sorted(measured, key=lambda each: -each.score.metric)


def _reason(ranked: Sequence[Measured], num_alike: int, chosen: Measured, metric: Metric, num_rows: int) -> str:
    best, low, high = ranked[0], *chosen.score.interval
    figures = (
        f"{metric.title.lower()} {metric.text(chosen.score.metric)} ({metric.text(low)} to {metric.text(high)}) of "
        f"{num_rows} left-out rows"
    )
    if len(ranked) == 1:
        return f"{chosen} is the only candidate: {figures}"
    if num_alike == 1:
        second = ranked[1]
        return (
            f"{best} is better than all others by more than noise: {figures}, before {second} with "
            f"{metric.text(second.score.metric)}"
        )
    first = _NUMBERS[num_alike] if num_alike < len(_NUMBERS) else str(num_alike)
    return (
        f"no difference between the first {first}, as far as {num_rows} rows can tell: {chosen} is the cheapest of "
        f"them, {chosen.costs.row_seconds * 1000:.3g} ms a row; {figures}"
    )
