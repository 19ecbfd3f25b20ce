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
from model_store.records.jobs import DEFAULT_MAX_FAILURES, NO_BASE, JobSpec, JobUrgency
from model_store.records.promotion import PromotionSpec
from model_store.records.resources import Dataset
from model_store.registry.datasets import DatasetStore
from model_store.registry.models import ModelStore
from model_store.texts import quoted
from training_service.api.violations import Violations
from training_service.choosing.recipe_choice import (
    check_base,
    check_trains_head_alone,
    chosen_recipe,
    named_recipe,
    of_dataset,
)
from training_service.modalities import MODALITIES
from training_service.modalities.own_bases import (
    TEXT_BASE,
    check_own_base,
    check_text_base,
    publish_base_with_text,
    publish_own_base,
)
from training_service.promotion.gate import check_promotion, with_metric
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.recipe import DEFAULTS, RecipeName
from training_service.search.checks import check_search, check_space
from training_service.search.space import Search
from training_service.seeds import check_seed
from training_service.tasks import TRAINING_TASKS

_PLACE = "training_job"
_RECIPE, _SEARCH = f"{_PLACE}.recipe", f"{_PLACE}.search"
_MAX_PRIORITY = 1000
_MAX_FAILURES = 100
AUTO_BASE = "auto"
"""The base of a job that lets the service choose one."""
Target = ModelName | AliasName | VersionName


@dataclass(frozen=True)
class JobRequest:
    """A job as its caller wrote it: names are resource names, also the alias in `promote`.

    With `text_base` the service makes the base for a table, which reads its column `text_column` by that base.
    """

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
    text_base: str = ""
    text_column: str = ""
    search: Search | None = None


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
    and `modality` is that of the dataset to come, where the caller knows it. A job with the base `auto` has none yet.

    Raises InvalidInput naming every wrong field, and NotFound if base or dataset do not exist.
    """
    model_id = dataset_id = ""
    base: Target = NO_BASE
    recipe = DEFAULTS[RecipeName.LINEAR_PROBE]
    violations = Violations()
    with violations.collected():
        model_id = parse_model(request.model, f"{_PLACE}.model")
    chooses_base = request.base == AUTO_BASE
    with violations.collected():
        base = _parsed_base(request, needs_dataset=needs_dataset)
    if request.dataset or needs_dataset:
        with violations.collected():
            dataset_id = parse_dataset(request.dataset, f"{_PLACE}.dataset")
    with violations.collected():
        recipe = named_recipe(request.recipe, _RECIPE) or recipe
    with violations.collected():
        _check_search(request)
    alias, promote = request.alias, request.promote
    if alias is not None:
        with violations.collected():
            alias = parse_alias_of(alias, model_id, f"{_PLACE}.alias")
    with violations.collected():
        check_seed(request.seed, f"{_PLACE}.seed")
    with violations.collected():
        _check_urgency(request)
    if promote is not None:
        promote = _checked_promotion(promote, request, model_id, violations, can_shadow=can_shadow)
    violations.raise_any()
    dataset = datasets.living(dataset_id) if dataset_id else None
    owner = principal if needs_dataset else None
    version = _resolved_base(request, base, store, dataset, modality, owner)
    manifest = store.manifest(store.get_version(version)) if version != NO_BASE else None
    if request.recipe.name is None:
        recipe = chosen_recipe(request.recipe, _RECIPE, manifest, dataset)
    if manifest is not None:
        check_base(manifest, str(version), recipe, request.recipe, dataset, _PLACE)
    if dataset is not None:
        task = TRAINING_TASKS[dataset.summary["task"]]
        recipe = of_dataset(recipe, request.recipe, _RECIPE, dataset)
        promote = with_metric(promote, task, f"{_PLACE}.promote") if promote is not None else None
    if request.search is not None:
        recipe = check_space(request.search, _SEARCH, manifest, dataset)
    search = request.search.to_json() if request.search is not None else None
    urgency = JobUrgency(request.priority, request.deadline, request.max_failures)
    asked = request.recipe.to_json() if chooses_base else None
    return JobSpec(
        model_id, version, dataset_id, recipe.to_json(), request.seed, alias, urgency, promote, asked, search
    )


def _check_search(request: JobRequest) -> None:
    if request.search is None:
        return
    check_search(request.search, _SEARCH)
    if request.recipe.name is not None or request.recipe.values:
        raise InvalidInput.of(_RECIPE, "must be unset with search: its recipes stand in the search")


def _checked_promotion(
    promote: PromotionSpec, request: JobRequest, model_id: str, violations: Violations, *, can_shadow: bool
) -> PromotionSpec:
    """Return the promotion with the alias' own name."""
    with violations.collected():
        promote = replace(promote, alias=parse_alias_of(promote.alias, model_id, f"{_PLACE}.promote.alias"))
    with violations.collected():
        check_promotion(promote, f"{_PLACE}.promote", can_shadow=can_shadow)
        if request.alias is not None:
            raise InvalidInput.of(f"{_PLACE}.alias", "must be unset with promote: the gate decides what moves")
    return promote


def _parsed_base(request: JobRequest, *, needs_dataset: bool) -> Target:
    """Read the name of the base, or of the text base; raise InvalidInput where fields do not go together."""
    if request.text_base:
        if request.base:
            rule = f"goes without {_PLACE}.base: the service makes the base, which reads the text by this one"
            raise InvalidInput.of(TEXT_BASE, rule)
        check_trains_head_alone(request.recipe.name, request.text_base, _RECIPE)
        return parse_target(request.text_base, TEXT_BASE)
    if request.text_column:
        raise InvalidInput.of("text_column", f"says which column {TEXT_BASE} reads: name that, too")
    if request.base == AUTO_BASE:
        return NO_BASE
    if request.base or (needs_dataset and not request.dataset):
        return parse_target(request.base, f"{_PLACE}.base")
    return NO_BASE


def _resolved_base(
    request: JobRequest, base: Target, store: ModelStore, dataset: Dataset | None, modality: str, owner: str | None
) -> VersionName:
    """Return the version to start from: the one that is named, or what the service publishes for its owner.

    There is none where nothing is to be published, or where the job is to choose.
    """
    if request.text_base:
        return _base_with_text(store.resolve(base), request.text_column, store, dataset, modality, owner)
    if request.base:
        return store.resolve(base) if request.base != AUTO_BASE else NO_BASE
    if modality and dataset is None:
        _check_no_base(request, modality)
    if dataset is None or owner is None:
        return NO_BASE
    return publish_own_base(store, dataset, f"{_PLACE}.base", request.recipe.name, principal=owner)


def _base_with_text(
    base: VersionName, column: str, store: ModelStore, dataset: Dataset | None, modality: str, owner: str | None
) -> VersionName:
    """Return the base that reads a column of the dataset by a text base; none where nothing is to be published."""
    if dataset is not None:
        return publish_base_with_text(store, dataset, base, column, principal=owner) or NO_BASE
    check_text_base(base, read_input_spec(store.manifest(store.get_version(base)).input_spec), modality)
    return NO_BASE


def _check_no_base(request: JobRequest, modality: str) -> None:
    """Raise InvalidInput where a job on examples of a modality must name its base."""
    if modality not in MODALITIES:
        raise InvalidInput.of("modality", f"must be one of {', '.join(MODALITIES)}, not {quoted(modality)}")
    check_own_base(modality, request.recipe.name, f"{_PLACE}.base")


def _check_urgency(request: JobRequest) -> None:
    if not -_MAX_PRIORITY <= request.priority <= _MAX_PRIORITY:
        raise InvalidInput.of(
            f"{_PLACE}.priority", f"must be {-_MAX_PRIORITY} to {_MAX_PRIORITY}, not {request.priority}"
        )
    if not 1 <= request.max_failures <= _MAX_FAILURES:
        raise InvalidInput.of(f"{_PLACE}.max_failures", f"must be 1 to {_MAX_FAILURES}, not {request.max_failures}")
    if request.deadline is not None and request.deadline <= datetime.now(UTC):
        raise InvalidInput.of(f"{_PLACE}.deadline", f"is over already: it was {request.deadline.isoformat()}")
