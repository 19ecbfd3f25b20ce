"""The rules of the recipe `fit_head`: for which tasks each head can be fitted, and its own hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from model_store.errors import InvalidInput, Violation
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.head_names import HEAD_FIELDS, HeadName
from training_service.recipes.recipe import ClassWeights, Recipe, RecipeName

_CLASSES = frozenset({"classification", "multi_label"})
_ALL = _CLASSES | {"regression"}


@dataclass(frozen=True)
class HeadRules:
    """The tasks that a head makes sense for, and which hyperparameters of heads it reads."""

    tasks: frozenset[str]
    fields: frozenset[str]
    has_class_weights: bool = False


HEAD_RULES: Mapping[HeadName, HeadRules] = {
    HeadName.LOGISTIC_REGRESSION: HeadRules(_CLASSES, frozenset({"strength"}), has_class_weights=True),
    HeadName.RIDGE: HeadRules(frozenset({"regression"}), frozenset({"strength"})),
    HeadName.GAUSSIAN_NB: HeadRules(_CLASSES, frozenset({"smoothing"})),
    HeadName.MULTINOMIAL_NB: HeadRules(_CLASSES, frozenset({"smoothing"})),
    HeadName.BERNOULLI_NB: HeadRules(_CLASSES, frozenset({"smoothing", "presence_threshold"})),
    HeadName.LINEAR_SVM: HeadRules(_ALL, frozenset({"strength"}), has_class_weights=True),
    HeadName.RBF_SVM: HeadRules(_ALL, frozenset({"strength", "gamma"}), has_class_weights=True),
    HeadName.NEAREST_CENTROID: HeadRules(_CLASSES, frozenset()),
    HeadName.NEAREST_NEIGHBOURS: HeadRules(_ALL, frozenset({"neighbour_count", "neighbour_weights"})),
    HeadName.MLP: HeadRules(_ALL, frozenset({"strength", "hidden_width"})),
    HeadName.GRADIENT_BOOSTING: HeadRules(
        _ALL, frozenset({"tree_count", "tree_learning_rate", "leaf_count"}), has_class_weights=True
    ),
    HeadName.RANDOM_FOREST: HeadRules(_ALL, frozenset({"forest_tree_count", "leaf_row_count"}), has_class_weights=True),
    HeadName.AVERAGE: HeadRules(_ALL, frozenset(), has_class_weights=True),
}


def check_head(recipe: Recipe, chosen: ChosenRecipe, place: str) -> None:
    """Raise InvalidInput, with fields of the recipe at `place`, for a hyperparameter that the head does not have."""
    if recipe.name is not RecipeName.FIT_HEAD:
        return
    rules = HEAD_RULES[recipe.head]
    refused = [key for key in chosen.values if key in HEAD_FIELDS - rules.fields]
    if chosen.values.get("class_weights") == ClassWeights.BALANCED and not rules.has_class_weights:
        refused.append("class_weights")
    if refused:
        reason = f"does not apply to the head {recipe.head}: leave it out"
        raise InvalidInput(*(Violation(f"{place}.{chosen.paths[key]}", reason) for key in refused))


def for_task(recipe: Recipe, chosen: ChosenRecipe, place: str, task: str) -> Recipe:
    """Return the recipe for a task: where the caller named no head, the default is the task's own.

    Raise InvalidInput, with the fields of the recipe at `place`, for a head that is not fitted for this task.
    """
    if recipe.name is not RecipeName.FIT_HEAD or task in HEAD_RULES[recipe.head].tasks:
        return recipe
    fitting = [each for each, rules in HEAD_RULES.items() if task in rules.tasks]
    if "head" in chosen.values:
        rule = f"must be one of {', '.join(fitting)} for the task {task}, not {recipe.head}"
        raise InvalidInput.of(f"{place}.{chosen.paths['head']}", rule)
    return replace(recipe, head=fitting[0])
