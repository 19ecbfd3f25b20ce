"""Chooses the base of a job that leaves it to the service, before anything is trained; a job chooses once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from model_store.errors import InvalidInput
from model_store.records.jobs import TrainingJob
from model_store.records.resources import Dataset
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import Claim, JobStore
from model_store.registry.models import ModelStore
from training_service.choosing.candidates import Candidate
from training_service.choosing.ranking import Limits, Measured
from training_service.choosing.recipe_choice import (
    check_base,
    chosen_recipe,
    named_recipe,
    of_dataset,
    with_head_of,
)
from training_service.choosing.recommender import Recommender
from training_service.modalities.own_bases import publish_own_base
from training_service.phases import Phase
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.recipe import Recipe, RecipeName
from training_service.settings import TrainingSettings
from training_service.training.progress import Progress

SHARE = 0.3
"""About which share of a job's time the choice takes."""
_JOB = "training_job"
_RECIPE = f"{_JOB}.recipe"


@dataclass(frozen=True)
class BaseChooser:
    """Chooses for jobs; `emit` and `tell` are told of progress and of the choice, `check_going_on` may raise."""

    settings: TrainingSettings
    store: ModelStore
    datasets: DatasetStore
    jobs: JobStore
    emit: Callable[[Progress], None]
    tell: Callable[[str], None]
    check_going_on: Callable[[], None]

    def chosen(self, claim: Claim, job: TrainingJob) -> TrainingJob:
        """Return the job with a base: the one it has, else the best that there is, which is recorded.

        Raises InvalidInput where there is none that suits the dataset and the caller's recipe, with the reason of each,
        and VersionNotFound or IllegalState where the chosen one was deleted meanwhile: then nothing is recorded.
        """
        if job.spec.asked_recipe is None or job.recommendation is not None:
            return job
        asked = ChosenRecipe.from_json(job.spec.asked_recipe)
        dataset = self.datasets.living(job.spec.dataset_id)
        recommender = Recommender(
            self.settings,
            self.store,
            self.datasets,
            self.jobs,
            on_progress=self._on_progress,
            check_going_on=self.check_going_on,
        )
        found = recommender.recommend(dataset.id, Limits(), refusal=lambda each: _refusal(each, asked, dataset))
        chosen = found.ranking.chosen
        recipe = _recipe(chosen.candidate, asked, dataset, chosen)
        base = chosen.candidate.name or publish_own_base(
            self.store, dataset, f"{_JOB}.base", RecipeName.FIT_HEAD, principal=job.principal
        )
        job = self.jobs.choose_base(claim, base, recipe.to_json(), found.to_json())
        self.tell(f"base: {base}, as the service recommends: {found.ranking.reason}")
        return job

    def _on_progress(self, _phase: Phase, share: float, _base: str) -> None:
        self.emit(Progress(Phase.CHOOSING_BASE, fraction_done=SHARE * share))


def with_choice(weights: Mapping[Phase, float], chose_since: float | None) -> Mapping[Phase, float]:
    """Return the phases of a job with that of the choice before them, unless an earlier attempt has chosen."""
    if chose_since is None:
        return weights
    return {Phase.CHOOSING_BASE: sum(weights.values()) * SHARE / (1 - SHARE), **weights}


def _refusal(candidate: Candidate, asked: ChosenRecipe, dataset: Dataset) -> str:
    """Return why the caller's recipe cannot train a candidate; empty where it can."""
    if not candidate.trainable and asked.name not in {None, RecipeName.FIT_HEAD}:
        return f"it has no stage to train, and {asked.name} fits no head of another kind: leave the recipe out"
    try:
        _recipe(candidate, asked, dataset)
    except InvalidInput as error:
        return "; ".join(f"{each.field}: {each.description}" for each in error.violations)
    return ""


def _recipe(candidate: Candidate, asked: ChosenRecipe, dataset: Dataset, measured: Measured | None = None) -> Recipe:
    """Return the recipe that the caller named, else the one that suits; raise InvalidInput where it does not fit.

    Where the head is all that can be fitted, its kind is the one that was measured, unless the caller named another.
    """
    reason = ""
    if measured is not None and not candidate.trainable and asked.name is None and "head" not in asked.values:
        asked, reason = with_head_of(asked, measured.recipe), "the head that was best by cross-validation"
    recipe = named_recipe(asked, _RECIPE) or chosen_recipe(asked, _RECIPE, candidate.manifest, dataset)
    check_base(candidate.manifest, str(candidate), recipe, asked, dataset, _JOB)
    recipe = of_dataset(recipe, asked, _RECIPE, dataset)
    return replace(recipe, reason=reason) if reason else recipe
