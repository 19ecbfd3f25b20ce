"""Recipes are data: what a caller leaves out is filled in, and what does not fit is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.errors import InvalidInput
from training_service.api.recipe_convert import read_recipe, recipe_message
from training_service.recipes.choices import choose, choose_any, recipe_for, resolve
from training_service.recipes.recipe import DEFAULTS, Recipe, RecipeName
from training_service.recipes.stages import stage_rate, trained_stages

STAGES = ("stem", "layer1", "layer2")


def recipe_of(name: str, **chosen: Any) -> Recipe:
    """Return the recipe of a message that has these fields."""
    return resolve(RecipeName(name), read_recipe(pb.Recipe(**{name: chosen})), "recipe")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", RecipeName)
def test_a_recipe_survives_json(name: RecipeName) -> None:
    """What a job stores is what its worker reads."""
    assert Recipe.from_json(DEFAULTS[name].to_json()) == DEFAULTS[name]


def test_classic_is_the_tutorial_loop() -> None:
    """All layers, cross entropy, SGD with rate 0.001 and momentum 0.9, batches of 32."""
    recipe = recipe_of("classic")
    chosen = (recipe.optimizer, recipe.learning_rate, recipe.momentum, recipe.batch_size, recipe.weight_decay)
    assert chosen == ("sgd", 0.001, 0.9, 32, 0.0)
    assert trained_stages(recipe, STAGES) == STAGES


def test_choices_replace_defaults() -> None:
    """Only what the caller named differs from the recipe's own."""
    recipe = recipe_of("full", epoch_count=3, optimizer={"weight_decay": 0.0})
    assert (recipe.epoch_count, recipe.weight_decay, recipe.batch_size) == (
        3,
        0.0,
        DEFAULTS[RecipeName.FULL].batch_size,
    )


def test_the_backbone_learns_at_a_thirtieth() -> None:
    """The default that keeps what the backbone knows."""
    assert recipe_of("full").backbone_learning_rate_factor == pytest.approx(1 / 30)


@pytest.mark.parametrize("name", RecipeName)
def test_a_message_has_every_choice_of_its_recipe(name: RecipeName) -> None:
    """What an answer says of a recipe is the whole recipe, and can be asked for again."""
    message = recipe_message(DEFAULTS[name])
    assert message.WhichOneof("recipe") == name
    assert resolve(name, read_recipe(message), "recipe") == DEFAULTS[name]


@pytest.mark.parametrize(
    ("select", "field", "text"),
    [
        ({"select_count": 3}, "select_count", "needs select: one of variance, mutual_information, anova_f"),
        ({"anova_f": {}}, "select_count", "must be set: how many features to keep by anova_f"),
        ({"anova_f": {}, "select_count": 0}, "select_count", "must be 1 to 1,000,000, not 0"),
        ({"variance": {"select_threshold": -1.0}}, "variance.select_threshold", "must be 0 to 1e30, not -1.0"),
    ],
)
def test_a_selection_of_features_is_whole(select: dict[str, Any], field: str, text: str) -> None:
    """A score with a count; a variance may do without."""
    with pytest.raises(InvalidInput) as caught:
        recipe_of("fit_head", select=select)
    assert [(each.field, each.description) for each in caught.value.violations] == [
        (f"recipe.fit_head.select.{field}", text)
    ]
    assert recipe_of("linear_probe", select={"variance": {}}).select == "variance"


@pytest.mark.parametrize(
    ("chosen", "field"),
    [
        ({"stage_count": 0}, "stage_count"),
        ({"epoch_count": 0}, "epoch_count"),
        ({"epoch_count": 10_001}, "epoch_count"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 4_097}, "batch_size"),
        ({"optimizer": {"learning_rate": 0.0}}, "optimizer.learning_rate"),
        ({"optimizer": {"learning_rate": -1.0}}, "optimizer.learning_rate"),
        ({"optimizer": {"learning_rate": float("nan")}}, "optimizer.learning_rate"),
        ({"optimizer": {"learning_rate": float("inf")}}, "optimizer.learning_rate"),
        ({"backbone_learning_rate_factor": 1.1}, "backbone_learning_rate_factor"),
        ({"optimizer": {"weight_decay": -0.1}}, "optimizer.weight_decay"),
        ({"optimizer": {"sgd": {"momentum": 1.0}}}, "optimizer.sgd.momentum"),
        ({"optimizer": {"adamw": {"beta1": 1.0}}}, "optimizer.adamw.beta1"),
        ({"schedule": {"kind": 99}}, "schedule.kind"),
        ({"augmentation": {"kind": 99}}, "augmentation.kind"),
        ({"class_weights": 99}, "class_weights"),
        ({"precision": 99}, "precision"),
        ({"schedule": {"warmup_fraction": 1.0}}, "schedule.warmup_fraction"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"label_smoothing": float("nan")}, "label_smoothing"),
        ({"augmentation": {"mixup_alpha": -1.0}}, "augmentation.mixup_alpha"),
        ({"augmentation": {"cutmix_alpha": 101.0}}, "augmentation.cutmix_alpha"),
        ({"optimizer": {"max_gradient_norm": -1.0}}, "optimizer.max_gradient_norm"),
        ({"optimizer": {"batches_per_step": 0}}, "optimizer.batches_per_step"),
        ({"optimizer": {"average_decay": 1.0}}, "optimizer.average_decay"),
        ({"schedule": {"patience": -1}}, "schedule.patience"),
        ({"stage_learning_rate_factor": 0.0}, "stage_learning_rate_factor"),
    ],
)
def test_values_out_of_range_are_refused(chosen: dict[str, Any], field: str) -> None:
    """Each hyperparameter has a range, and the message says it, with the field of the request."""
    with pytest.raises(InvalidInput, match="must be") as caught:
        recipe_of("last_stages", **chosen)
    assert [each.field for each in caught.value.violations] == [f"recipe.last_stages.{field}"]


def test_the_last_stages_are_counted_from_the_head() -> None:
    """Two stages are the last two with parameters; more than there are is an error."""
    assert trained_stages(recipe_of("last_stages", stage_count=2), STAGES) == ("layer1", "layer2")
    assert trained_stages(recipe_of("linear_probe"), STAGES) == ()
    with pytest.raises(InvalidInput, match="at most 3"):
        trained_stages(recipe_of("last_stages", stage_count=4), STAGES)


def test_a_gradual_recipe_comes_down_by_its_epochs() -> None:
    """The head alone in the first, then a stage each; what it does not come down to stays the base's."""
    for epoch_count, expected in [(1, ()), (2, ("layer2",)), (3, ("layer1", "layer2")), (9, STAGES)]:
        assert trained_stages(recipe_of("gradual", epoch_count=epoch_count), STAGES) == expected
    slower = recipe_of("gradual", epoch_count=5, epochs_per_stage=2)
    assert trained_stages(slower, STAGES) == ("layer1", "layer2")


def test_rates_fall_from_the_head_down() -> None:
    """ULMFiT's share between one stage and the next; alike where a recipe does not say."""
    gradual, full = recipe_of("gradual"), recipe_of("full")
    assert [stage_rate(gradual, each) for each in range(4)] == pytest.approx([1, 0.1, 0.1 / 2.6, 0.1 / 2.6**2])
    assert [stage_rate(full, each) for each in range(4)] == pytest.approx([1, 1 / 30, 1 / 30, 1 / 30])


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (3, "linear_probe"),
        (49.5, "linear_probe"),
        (50, "last_stages"),
        (499.9, "last_stages"),
        (500, "full"),
        (2505, "full"),
    ],
)
def test_the_recipe_follows_the_number_of_rows_a_label(rows: float, name: str) -> None:
    """And says so: the reason has the number that decided."""
    recipe = recipe_for(rows)
    assert recipe.name == name
    assert recipe.reason.startswith(f"{rows:.0f} training rows a label, ")
    assert recipe_for(rows, has_classes=False).reason.startswith(f"{rows:.0f} training rows, ")
    assert replace(recipe, reason="") == DEFAULTS[recipe.name]


def test_an_automatic_recipe_takes_what_was_chosen() -> None:
    """Whichever it is; a probe that the data chose crops nothing, and says why it was chosen."""
    balanced = read_recipe(pb.Recipe(auto=pb.Recipe.Auto(class_weights=pb.CLASS_WEIGHTS_BALANCED)))
    for num_rows, name in ((3, "linear_probe"), (50, "last_stages"), (500, "full")):
        recipe = choose(balanced, "recipe", num_rows)
        assert (recipe.name, recipe.class_weights) == (name, "balanced")
    strong = read_recipe(pb.Recipe(auto=pb.Recipe.Auto(augmentation=pb.AUGMENTATION_STRONG)))
    assert choose(strong, "recipe", 500).augmentation == "strong"
    assert choose_any(strong, "recipe").augmentation == "strong"
    with pytest.raises(InvalidInput, match=r"chosen by the data: 3 training rows") as caught:
        choose(strong, "recipe", 3)
    assert [each.field for each in caught.value.violations] == ["recipe.auto.augmentation"]


CROPS = pb.AUGMENTATION_CROP_AND_MIRROR


@pytest.mark.parametrize(
    ("name", "chosen", "field"),
    [
        ("last_stages", {"view_count": 4}, "view_count"),
        ("last_stages", {"view_count": 4, "augmentation": {"kind": pb.AUGMENTATION_NONE}}, "view_count"),
        ("linear_probe", {"augmentation": pb.AUGMENTATION_STRONG}, "augmentation"),
    ],
)
def test_views_go_with_crops(name: str, chosen: dict[str, Any], field: str) -> None:
    """A hyperparameter that would do nothing is refused, and so is a probe that would have to crop in every step."""
    with pytest.raises(InvalidInput) as caught:
        recipe_of(name, **chosen)
    assert [each.field for each in caught.value.violations] == [f"recipe.{name}.{field}"]


def test_views_of_crops_are_taken() -> None:
    """By the two recipes that have frozen stages to compute them with once."""
    assert recipe_of("last_stages", view_count=4, augmentation={"kind": CROPS}).view_count == 4
    assert recipe_of("linear_probe", view_count=4, augmentation=CROPS).view_count == 4


def test_nesterov_needs_momentum() -> None:
    """PyTorch would refuse it only when the job runs; AdamW has none of both."""
    with pytest.raises(InvalidInput, match="needs a momentum above 0") as caught:
        recipe_of("scratch", optimizer={"sgd": {"momentum": 0.0}})
    assert [each.field for each in caught.value.violations] == ["recipe.scratch.optimizer.sgd.nesterov"]
    adamw = recipe_of("scratch", optimizer={"adamw": {"beta1": 0.8}})
    assert (adamw.optimizer, adamw.beta1, adamw.nesterov) == ("adamw", 0.8, False)
    assert "nesterov" not in adamw.settings()
