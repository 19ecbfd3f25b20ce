"""The recipe of a job: what its caller wrote, completed for a base and a dataset, else the service's choice."""

from __future__ import annotations

from dataclasses import replace

from model_store.architectures import borrowed_stages
from model_store.errors import InvalidInput
from model_store.manifests import Manifest
from model_store.modalities import read_input_spec
from model_store.records.resources import Dataset
from model_store.texts import quoted
from training_service.datasets.targets import TARGETS
from training_service.modalities import MODALITIES, RECIPES
from training_service.modalities.fitting import check_fits
from training_service.modalities.own_bases import HEADS_ALONE
from training_service.recipes.choices import ChosenRecipe, choose, choose_any, choose_head, resolve
from training_service.recipes.classes import suited
from training_service.recipes.heads import check_head, for_task
from training_service.recipes.modality_fields import check_fit, varied, with_defaults
from training_service.recipes.recipe import Recipe, RecipeName
from training_service.recipes.selection import check_selection
from training_service.recipes.stages import trained_stages
from training_service.tasks import TRAINING_TASKS
from training_service.training.version_io import trainable_stages


def named_recipe(chosen: ChosenRecipe, place: str) -> Recipe | None:
    """Return the recipe that the caller named, filled in; None where it is the service's choice. Raise InvalidInput."""
    if chosen.name is None:
        return None
    recipe = resolve(chosen.name, chosen, place)
    check_head(recipe, chosen, place)
    return recipe


def chosen_recipe(chosen: ChosenRecipe, place: str, base: Manifest | None, dataset: Dataset | None) -> Recipe:
    """Return the recipe that the service chooses, by the dataset and by what the base has to train; raise InvalidInput.

    Without a dataset it is one that accepts the caller's values; without a base, one for a base with stages to train.
    """
    if dataset is None:
        return choose_any(chosen, place)
    if base is not None and not trainable_stages(base):
        return choose_head(chosen, place)
    task = dataset.summary["task"]
    rows = TARGETS[task].rows_per_output(dataset.summary["targets"])
    return choose(chosen, place, rows, has_classes=TRAINING_TASKS[task].has_classes)


def of_dataset(recipe: Recipe, chosen: ChosenRecipe, place: str, dataset: Dataset) -> Recipe:
    """Return a recipe with the defaults of a dataset's task and modality; raise InvalidInput where it does not fit."""
    task = TRAINING_TASKS[dataset.summary["task"]]
    recipe = for_task(recipe, chosen, place, task.kind)
    recipe = suited(recipe, chosen, place, has_classes=task.has_classes)
    own = MODALITIES[dataset.summary["modality"]]
    recipe = with_defaults(recipe, chosen, RECIPES.get(own.KIND, {}))
    return varied(recipe, chosen, place, own.AUGMENTATIONS, own.KIND)


def check_base(
    manifest: Manifest, name: str, recipe: Recipe, chosen: ChosenRecipe, dataset: Dataset | None, place: str
) -> None:
    """Raise InvalidInput, with fields of the job at `place`, where a base does not fit a recipe, or the dataset."""
    spec = read_input_spec(manifest.input_spec)
    if dataset is not None:
        check_fits(spec, name, dataset, f"{place}.base")
    check_on_base(manifest, name, recipe, chosen, f"{place}.recipe")


def check_on_base(manifest: Manifest, name: str, recipe: Recipe, chosen: ChosenRecipe, place: str) -> None:
    """Raise InvalidInput, with fields of the recipe at `place`, where a base lacks what it needs."""
    spec = read_input_spec(manifest.input_spec)
    check_fit(chosen, place, MODALITIES[spec.kind].VARIANTS, spec.kind)
    if borrowed_stages(manifest.architecture, manifest.arguments):
        check_trains_head_alone(recipe.name, name, place)
    check_selection(chosen, place, [stage.name for stage in manifest.stages], manifest.embedding_size)
    field = chosen.paths.get("stage_count", "last_stages.stage_count")
    trained_stages(recipe, trainable_stages(manifest), f"{place}.{field}")


def check_trains_head_alone(recipe: RecipeName | None, base: str, place: str) -> None:
    """Raise InvalidInput, with the recipe at `place`, where one trains stages of a base that stay as they are."""
    if recipe not in HEADS_ALONE:
        rule = f"trains stages that stay as they are, those of {quoted(base)}: take linear_probe or fit_head"
        raise InvalidInput.of(f"{place}.{recipe}", rule)


def with_head_of(chosen: ChosenRecipe, recipe: Recipe) -> ChosenRecipe:
    """Return a caller's recipe with the kind and head of another one, where the caller named neither."""
    if chosen.name is not None or "head" in chosen.values:
        return chosen
    return replace(chosen, name=recipe.name, values={"head": str(recipe.head), **chosen.values})
