"""Recipes are data: what a caller leaves out is filled in, and what does not fit is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model_store.errors import InvalidInput
from training_service.recipes.choices import FIELDS, choose, recipe_for, resolve
from training_service.recipes.recipe import DEFAULTS, Recipe, RecipeName, stage_rate, trained_stages

STAGES = ("stem", "layer1", "layer2")


@pytest.mark.parametrize("name", RecipeName)
def test_a_recipe_survives_json(name: RecipeName) -> None:
    """What a job stores is what its worker reads."""
    assert Recipe.from_json(DEFAULTS[name].to_json()) == DEFAULTS[name]


def test_classic_is_the_tutorial_loop() -> None:
    """All layers, cross entropy, SGD with rate 0.001 and momentum 0.9, batches of 32."""
    recipe = resolve("classic", {}, "recipe")
    chosen = (recipe.optimizer, recipe.learning_rate, recipe.momentum, recipe.batch_size, recipe.weight_decay)
    assert chosen == ("sgd", 0.001, 0.9, 32, 0.0)
    assert trained_stages(recipe, STAGES) == STAGES


def test_choices_replace_defaults() -> None:
    """Only what the caller named differs from the recipe's own."""
    recipe = resolve("full", {"num_epochs": 3, "weight_decay": 0.0}, "recipe")
    assert (recipe.num_epochs, recipe.weight_decay, recipe.batch_size) == (3, 0.0, DEFAULTS[RecipeName.FULL].batch_size)


def test_the_backbone_learns_at_a_thirtieth() -> None:
    """The default that keeps what the backbone knows."""
    assert resolve("full", {}, "recipe").backbone_learning_rate_factor == pytest.approx(1 / 30)


@pytest.mark.parametrize("name", RecipeName)
def test_fields_of_other_recipes_are_refused(name: RecipeName) -> None:
    """A hyperparameter that would do nothing is an error, not ignored."""
    values = dict.fromkeys(FIELDS[RecipeName.LAST_STAGES] | FIELDS[RecipeName.GRADUAL], 1)
    with_all = {key: value for key, value in values.items() if key not in FIELDS[name]}
    if not with_all:
        return
    with pytest.raises(InvalidInput, match=f"does not apply to {name}") as caught:
        resolve(name, with_all, "recipe")
    assert {each.field for each in caught.value.violations} == {f"recipe.{key}" for key in with_all}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_stages", 0),
        ("num_epochs", 0),
        ("num_epochs", 10_001),
        ("batch_size", 0),
        ("batch_size", 4_097),
        ("learning_rate", 0.0),
        ("learning_rate", -1.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("backbone_learning_rate_factor", 1.1),
        ("weight_decay", -0.1),
        ("optimizer", "adam"),
        ("schedule", "linear"),
        ("augmentation", "weak"),
        ("class_weights", "yes"),
        ("precision", "float16"),
        ("momentum", 1.0),
        ("warmup_fraction", 1.0),
        ("label_smoothing", 1.0),
        ("label_smoothing", float("nan")),
        ("mixup_alpha", -1.0),
        ("cutmix_alpha", 101.0),
        ("max_gradient_norm", -1.0),
        ("accumulated_batches", 0),
        ("average_decay", 1.0),
        ("patience", -1),
        ("stage_learning_rate_factor", 0.0),
    ],
)
def test_values_out_of_range_are_refused(key: str, value: float | str) -> None:
    """Each hyperparameter has a range, and the message says it."""
    with pytest.raises(InvalidInput, match="must be") as caught:
        resolve("last_stages", {key: value}, "recipe")
    assert [each.field for each in caught.value.violations] == [f"recipe.{key}"]


def test_an_unknown_recipe_is_refused() -> None:
    """The message lists those there are."""
    with pytest.raises(InvalidInput, match="linear_probe, last_stages, full, gradual, classic, scratch"):
        resolve("magic", {}, "recipe")


def test_the_last_stages_are_counted_from_the_head() -> None:
    """Two stages are the last two with parameters; more than there are is an error."""
    assert trained_stages(resolve("last_stages", {"num_stages": 2}, "recipe"), STAGES) == ("layer1", "layer2")
    assert trained_stages(resolve("linear_probe", {}, "recipe"), STAGES) == ()
    with pytest.raises(InvalidInput, match="at most 3"):
        trained_stages(resolve("last_stages", {"num_stages": 4}, "recipe"), STAGES)


def test_a_gradual_recipe_comes_down_by_its_epochs() -> None:
    """The head alone in the first, then a stage each; what it does not come down to stays the base's."""
    for num_epochs, expected in [(1, ()), (2, ("layer2",)), (3, ("layer1", "layer2")), (9, STAGES)]:
        assert trained_stages(resolve("gradual", {"num_epochs": num_epochs}, "recipe"), STAGES) == expected
    slower = resolve("gradual", {"num_epochs": 5, "epochs_per_stage": 2}, "recipe")
    assert trained_stages(slower, STAGES) == ("layer1", "layer2")


def test_rates_fall_from_the_head_down() -> None:
    """ULMFiT's share between one stage and the next; alike where a recipe does not say."""
    gradual, full = resolve("gradual", {}, "recipe"), resolve("full", {}, "recipe")
    assert [stage_rate(gradual, each) for each in range(4)] == pytest.approx([1, 0.1, 0.1 / 2.6, 0.1 / 2.6**2])
    assert [stage_rate(full, each) for each in range(4)] == pytest.approx([1, 1 / 30, 1 / 30, 1 / 30])


@pytest.mark.parametrize(
    ("label_counts", "name"),
    [
        ([3, 3], "linear_probe"),
        ([49, 49, 49], "linear_probe"),
        ([50, 50], "last_stages"),
        ([10, 90], "last_stages"),
        ([499, 499], "last_stages"),
        ([500, 500], "full"),
        ([5000, 10], "full"),
    ],
)
def test_the_recipe_follows_the_number_of_rows_a_label(label_counts: list[int], name: str) -> None:
    """And says so: the reason has the number that decided."""
    recipe = recipe_for(label_counts)
    assert recipe.name == name
    assert recipe.reason.startswith(f"{sum(label_counts) / len(label_counts):.0f} training rows a label, ")
    assert replace(recipe, reason="") == DEFAULTS[recipe.name]


def test_what_is_chosen_beside_an_automatic_recipe_must_fit_it() -> None:
    """The message tells which recipe it came to, and why."""
    assert choose({"num_epochs": 3}, "recipe", [500, 500]).num_epochs == 3
    with pytest.raises(InvalidInput, match=r"does not apply to linear_probe \(chosen by the data: 3 training rows"):
        choose({"num_epochs": 3}, "recipe", [3, 3])


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("last_stages", {"num_views": 4}),
        ("last_stages", {"num_views": 4, "augmentation": "none"}),
        ("linear_probe", {"augmentation": "strong"}),
    ],
)
def test_views_go_with_crops(name: str, chosen: dict[str, float | str]) -> None:
    """A hyperparameter that would do nothing is refused, and so is a probe that would have to crop in every step."""
    with pytest.raises(InvalidInput, match="num_views"):
        resolve(name, chosen, "recipe")
    assert resolve(name, {"num_views": 4, "augmentation": "crop_and_mirror"}, "recipe").num_views == 4


@pytest.mark.parametrize("chosen", [{"optimizer": "adamw"}, {"momentum": 0.0}])
def test_nesterov_needs_momentum_of_sgd(chosen: dict[str, float | str]) -> None:
    """PyTorch would refuse it only when the job runs."""
    with pytest.raises(InvalidInput, match="needs optimizer sgd"):
        resolve("scratch", chosen, "recipe")
