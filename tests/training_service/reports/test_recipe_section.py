"""A report lists the hyperparameters that had an effect, and no others."""

from __future__ import annotations

from typing import Any

from training_service.recipes.recipe import DEFAULTS, RecipeName
from training_service.reports.origin import used_settings
from training_service.reports.words import setting_text


def shown(name: RecipeName, *, has_classes: bool = True, **values: Any) -> set[str]:
    """Return the names of the settings of a recipe with some values of its own, or found out by training."""
    asked = {**DEFAULTS[name].to_json(), **values}
    return {each.name for each in used_settings(asked, has_classes=has_classes)}


def test_a_probe_has_nothing_of_an_optimizer() -> None:
    """It takes no step: what is asked of it, and what it found out, is all."""
    found = shown(RecipeName.LINEAR_PROBE, fit="crop", strength=0.1, class_weights="balanced")
    assert found == {"augmentation", "fit", "strength", "class_weights"}


def test_another_optimizer_is_left_out() -> None:
    """The momentum is SGD's, the beta AdamW's."""
    assert {"beta1", "momentum"} & shown(RecipeName.FULL) == {"beta1"}
    assert {"beta1", "momentum"} & shown(RecipeName.SCRATCH) == {"momentum"}


def test_what_is_off_is_shown_where_the_default_is_on() -> None:
    """Somebody has turned it off; a factor of 1 is off as well, and a figure of 0 was found out."""
    assert not {"mixup_alpha", "patience", "batches_per_step", "stage_count", "view_count"} & shown(RecipeName.FULL)
    found = shown(RecipeName.GRADUAL, freeze_batch_norm=False, stage_learning_rate_factor=1.0, kept_epoch=0)
    assert {"freeze_batch_norm", "stage_learning_rate_factor", "kept_epoch"} <= found
    assert "stage_learning_rate_factor" not in shown(RecipeName.FULL)


def test_numbers_have_no_labels_to_smooth() -> None:
    """Nor to weigh."""
    assert "label_smoothing" in shown(RecipeName.SCRATCH)
    assert "label_smoothing" not in shown(RecipeName.SCRATCH, has_classes=False)


def test_heads_that_are_averaged_are_written_one_after_another() -> None:
    """Each with what was chosen for it; a list is never off."""
    parts = [{"head": "ridge", "strength": 0.1}, {"head": "mlp", "strength": 1.0, "hidden_width": 64}]
    asked = {**DEFAULTS[RecipeName.FIT_HEAD].to_json(), "parts": parts}
    settings = {each.name: each for each in used_settings(asked, has_classes=True)}
    assert not settings["parts"].is_off
    assert setting_text(settings["parts"].value) == "head ridge strength 0.1, head mlp strength 1 hidden_width 64"
