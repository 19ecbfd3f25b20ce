"""Turns a request for a fine-tune into a job's spec: all that can be known before it runs is checked here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from model_store.errors import InvalidInput
from model_store.modalities import read_input_spec
from model_store.names import (
    AliasName,
    ModelName,
    VersionName,
    parse_alias_of,
    parse_dataset,
    parse_model,
    parse_target,
)
from model_store.records.jobs import DEFAULT_MAX_FAILURES, JobSpec, JobUrgency
from model_store.records.promotion import PromotionSpec
from model_store.records.resources import Dataset
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from model_store.texts import quoted
from training_service.api.violations import Violations
from training_service.datasets.targets import TARGETS
from training_service.modalities import MODALITIES, RECIPES
from training_service.modalities.fitting import check_fits
from training_service.modalities.own_bases import check_own_base, publish_own_base
from training_service.promotion.gate import check_promotion, with_metric
from training_service.recipes.choices import ChosenRecipe, choose, choose_any, choose_head, resolve
from training_service.recipes.classes import suited
from training_service.recipes.heads import check_head, for_task
from training_service.recipes.modality_fields import check_fit, varied, with_defaults
from training_service.recipes.recipe import DEFAULTS, Recipe, RecipeName
from training_service.recipes.selection import check_selection
from training_service.recipes.stages import trained_stages
from training_service.seeds import check_seed
from training_service.tasks import TRAINING_TASKS
from training_service.training.version_io import trainable_stages

_PLACE = "training_job"
_RECIPE = f"{_PLACE}.recipe"
_MAX_PRIORITY = 1000
_MAX_FAILURES = 100
NO_BASE = VersionName("", 0)
"""The base of a spec that was only checked, where the dataset is to decide."""


@dataclass(frozen=True)
class JobRequest:
    """A job as its caller wrote it: names are resource names, also the alias in `promote`."""

    model: str
    base: str
    dataset: str
    recipe: ChosenRecipe
    seed: int
    alias: str | None
    priority: int = 0
    deadline: datetime | None = None
    max_failures: int = DEFAULT_MAX_FAILURES
    promote: PromotionSpec | None = None


def job_spec(
    request: JobRequest,
    store: ModelStore,
    datasets: DatasetStore,
    *,
    can_shadow: bool = False,
    needs_dataset: bool = True,
    modality: str = "",
    principal: str = "",
) -> JobSpec:
    """Return the spec of a job, its base resolved to a version and its recipe filled in.

    `can_shadow` says whether an inference service can run the version as a shadow. Without `needs_dataset` the dataset
    may be empty: without a named recipe, the spec then has a recipe that accepts the caller's values. A job without a
    base gets that of its dataset's modality, published for `principal`; a spec without `needs_dataset` then has none,
    and `modality` is that of the dataset to come, where the caller knows it.

    Raises InvalidInput naming every wrong field, and NotFound if base or dataset do not exist.
    """
    model_id = dataset_id = ""
    base: ModelName | AliasName | VersionName = NO_BASE
    recipe = DEFAULTS[RecipeName.LINEAR_PROBE]
    violations = Violations()
    with violations.collected():
        model_id = parse_model(request.model, f"{_PLACE}.model")
    if request.base or (needs_dataset and not request.dataset):
        with violations.collected():
            base = parse_target(request.base, f"{_PLACE}.base")
    if request.dataset or needs_dataset:
        with violations.collected():
            dataset_id = parse_dataset(request.dataset, f"{_PLACE}.dataset")
    if request.recipe.name is not None:
        with violations.collected():
            recipe = resolve(request.recipe.name, request.recipe, _RECIPE)
            check_head(recipe, request.recipe, _RECIPE)
    alias, promote = request.alias, request.promote
    if alias is not None:
        with violations.collected():
            alias = parse_alias_of(alias, model_id, f"{_PLACE}.alias")
    with violations.collected():
        check_seed(request.seed, f"{_PLACE}.seed")
    with violations.collected():
        _check_urgency(request)
    if promote is not None:
        with violations.collected():
            promote = replace(promote, alias=parse_alias_of(promote.alias, model_id, f"{_PLACE}.promote.alias"))
        with violations.collected():
            check_promotion(promote, f"{_PLACE}.promote", can_shadow=can_shadow)
            if alias is not None:
                raise InvalidInput.of(f"{_PLACE}.alias", "must be unset with promote: the gate decides what moves")
    violations.raise_any()
    dataset = datasets.living(dataset_id) if dataset_id else None
    owner = principal if needs_dataset else None
    if modality and not request.base and dataset is None:
        _check_no_base(request, modality)
    version = store.resolve(base) if request.base else _own_base(request, store, dataset, owner)
    if request.recipe.name is None:
        recipe = _chosen(request, store, version, dataset)
    _check_base(store, version, recipe, dataset, request.recipe)
    if dataset is not None:
        task = TRAINING_TASKS[dataset.summary["task"]]
        recipe = for_task(recipe, request.recipe, _RECIPE, task.kind)
        recipe = suited(recipe, request.recipe, _RECIPE, has_classes=task.has_classes)
        own = MODALITIES[dataset.summary["modality"]]
        recipe = with_defaults(recipe, request.recipe, RECIPES.get(own.KIND, {}))
        recipe = varied(recipe, request.recipe, _RECIPE, own.AUGMENTATIONS, own.KIND)
        promote = with_metric(promote, task, f"{_PLACE}.promote") if promote is not None else None
    urgency = JobUrgency(request.priority, request.deadline, request.max_failures)
    return JobSpec(model_id, version, dataset_id, recipe.to_json(), request.seed, alias, urgency, promote)


def _own_base(request: JobRequest, store: ModelStore, dataset: Dataset | None, owner: str | None) -> VersionName:
    """Return the base of the dataset's modality, published for its owner; none where nothing is to be published."""
    if dataset is None or owner is None:
        return NO_BASE
    return publish_own_base(store, dataset, f"{_PLACE}.base", request.recipe.name, principal=owner)


def _check_no_base(request: JobRequest, modality: str) -> None:
    """Raise InvalidInput where a job on examples of a modality must name its base."""
    if modality not in MODALITIES:
        raise InvalidInput.of("modality", f"must be one of {', '.join(MODALITIES)}, not {quoted(modality)}")
    check_own_base(modality, request.recipe.name, f"{_PLACE}.base")


def _chosen(request: JobRequest, store: ModelStore, base: VersionName, dataset: Dataset | None) -> Recipe:
    """Return the recipe that the service chooses, by the dataset and by what the base has to train."""
    if dataset is None:
        return choose_any(request.recipe, _RECIPE)
    if base != NO_BASE and not trainable_stages(store.manifest(store.get_version(base))):
        return choose_head(request.recipe, _RECIPE)
    has_classes = TRAINING_TASKS[dataset.summary["task"]].has_classes
    return choose(request.recipe, _RECIPE, _rows_per_output(dataset), has_classes=has_classes)


def _rows_per_output(dataset: Dataset) -> float:
    return TARGETS[dataset.summary["task"]].rows_per_output(dataset.summary["targets"])


def _check_urgency(request: JobRequest) -> None:
    if not -_MAX_PRIORITY <= request.priority <= _MAX_PRIORITY:
        raise InvalidInput.of(
            f"{_PLACE}.priority", f"must be {-_MAX_PRIORITY} to {_MAX_PRIORITY}, not {request.priority}"
        )
    if not 1 <= request.max_failures <= _MAX_FAILURES:
        raise InvalidInput.of(f"{_PLACE}.max_failures", f"must be 1 to {_MAX_FAILURES}, not {request.max_failures}")
    if request.deadline is not None and request.deadline <= datetime.now(UTC):
        raise InvalidInput.of(f"{_PLACE}.deadline", f"is over already: it was {request.deadline.isoformat()}")


def _check_base(
    store: ModelStore, base: VersionName, recipe: Recipe, dataset: Dataset | None, chosen: ChosenRecipe
) -> None:
    if base == NO_BASE:
        return
    manifest = store.manifest(store.get_version(base))
    spec = read_input_spec(manifest.input_spec)
    if dataset is not None:
        check_fits(spec, str(base), dataset, f"{_PLACE}.base")
    check_fit(chosen, _RECIPE, MODALITIES[spec.kind].VARIANTS, spec.kind)
    check_selection(chosen, _RECIPE, [stage.name for stage in manifest.stages], manifest.embedding_size)
    trained_stages(recipe, trainable_stages(manifest), f"{_RECIPE}.last_stages.stage_count")
