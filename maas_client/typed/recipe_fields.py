"""The hyperparameters of recipes: keywords of `Client.finetune`, and options of `maas finetune` by the same names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, get_type_hints

from maas.training.v1 import training_pb2

HEADS = tuple(field.name for field in training_pb2.HeadSpec.DESCRIPTOR.oneofs_by_name["kind"].fields)
"""The kinds of heads that `fit_head` fits."""
RECIPE = "Recipe (left out, the service chooses by the number of examples)"
HEAD = "Head (of fit_head; what is left out is chosen on validation examples)"
_TRAINING = "Training (with --recipe, for all but linear_probe and fit_head)"


@dataclass(frozen=True)
class Told:
    """How the command line tells of a field; `option` is a shorter name beside the field's own."""

    help: str
    panel: str = _TRAINING
    option: str = ""


class RecipeFields(TypedDict, total=False):
    """Every hyperparameter of any recipe, by its name in the API; None, or an empty word, is the service's choice."""

    class_weights: Annotated[str, Told("balanced: labels count alike, however few examples they have.", RECIPE)]
    augmentation: Annotated[str, Told("none, mirror, crop_and_mirror or strong.", RECIPE)]
    fit: Annotated[
        str,
        Told("How an image fills the square: crop, pad or squash; default: the best in cross-validation.", RECIPE),
    ]
    select: Annotated[
        str, Told("Tables: select features by variance, mutual_information or anova_f; default: all that vary.", RECIPE)
    ]
    select_count: Annotated[int | None, Told("How many features to keep.", RECIPE)]
    select_threshold: Annotated[float | None, Told("variance: what that of a feature must be above.", RECIPE)]
    stage_count: Annotated[int | None, Told("last_stages: backbone stages to train.", RECIPE, "--num-stages")]
    view_count: Annotated[
        int | None,
        Told("linear_probe, fit_head, last_stages: varied views of each example, with one that crops.", RECIPE),
    ]
    head: Annotated[str, Told(f"Kind of head to fit on frozen features: {', '.join(HEADS)}.", HEAD)]
    strength: Annotated[float | None, Told("Inverse of the penalty on weights.", HEAD)]
    smoothing: Annotated[float | None, Told("Smoothing of naive Bayes.", HEAD)]
    presence_threshold: Annotated[float | None, Told("bernoulli_nb: what a feature that is present is above.", HEAD)]
    gamma: Annotated[float | None, Told("rbf_svm: the factor of squared distances.", HEAD)]
    neighbour_count: Annotated[int | None, Told("nearest_neighbours: how many.", HEAD)]
    neighbour_weights: Annotated[str, Told("nearest_neighbours: uniform or distance.", HEAD)]
    hidden_width: Annotated[int | None, Told("mlp: the width of its hidden layer.", HEAD)]
    tree_count: Annotated[int | None, Told("gradient_boosting: trees of each output.", HEAD)]
    tree_learning_rate: Annotated[float | None, Told("gradient_boosting: the share that each tree adds.", HEAD)]
    leaf_count: Annotated[int | None, Told("gradient_boosting: leaves of a tree, at most.", HEAD)]
    forest_tree_count: Annotated[int | None, Told("random_forest: how many trees.", HEAD)]
    leaf_row_count: Annotated[int | None, Told("random_forest: training examples in a leaf, at least.", HEAD)]
    epochs_per_stage: Annotated[int | None, Told("gradual: epochs before each further stage trains.", RECIPE)]
    epoch_count: Annotated[int | None, Told("Passes over the training examples.", option="--epochs")]
    batch_size: Annotated[int | None, Told("Examples a batch.")]
    batches_per_step: Annotated[int | None, Told("Batches whose gradients make one step.")]
    learning_rate: Annotated[float | None, Told("Learning rate of the head.")]
    find_learning_rate: Annotated[bool | None, Told("Find it by a short sweep instead.")]
    backbone_learning_rate_factor: Annotated[
        float | None, Told("Learning rate of the last backbone stage as a share of it.", option="--backbone-factor")
    ]
    stage_learning_rate_factor: Annotated[
        float | None, Told("Learning rate of each further stage as a share of that of the stage above it.")
    ]
    schedule: Annotated[str, Told("constant, cosine or one_cycle.")]
    warmup_fraction: Annotated[float | None, Told("Share of the steps in which the learning rate rises.")]
    patience: Annotated[int | None, Told("Stop after so many epochs that were no better.")]
    optimizer: Annotated[str, Told("sgd or adamw.")]
    momentum: Annotated[float | None, Told("Momentum; chooses sgd.")]
    nesterov: Annotated[bool | None, Told("Nesterov's momentum; chooses sgd.")]
    beta1: Annotated[float | None, Told("The first beta; chooses adamw.")]
    weight_decay: Annotated[float | None, Told("Weight decay.")]
    max_gradient_norm: Annotated[float | None, Told("Upper limit of the gradients' norm; 0: none.")]
    average_decay: Annotated[float | None, Told("Decay of a moving average of the weights; 0: none.")]
    label_smoothing: Annotated[float | None, Told("Label smoothing, such as 0.1.")]
    mixup_alpha: Annotated[float | None, Told("Strength of MixUp, such as 0.2; 0: none.")]
    cutmix_alpha: Annotated[float | None, Told("Strength of CutMix, such as 1; 0: none.")]
    freeze_batch_norm: Annotated[bool | None, Told("Keep the base's statistics of BatchNorm.")]
    precision: Annotated[str, Told("float32 or bfloat16.")]


def recipe_field_types() -> dict[str, Any]:
    """Return the annotation of each field."""
    return get_type_hints(RecipeFields, include_extras=True)
