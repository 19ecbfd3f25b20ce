"""The options of `maas finetune` that make a recipe: the few that people reach for, and `--set` for all others."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from maas.training.v1 import training_pb2

from maas_client.failures import CommandFailed
from maas_client.typed.numbers import INT32_MAX, field_value, finite
from maas_client.typed.shorthand import pairs

_RECIPE, _TRAINING = (
    "Recipe (left out, the service chooses by the number of images)",
    "Training (of every other recipe)",
)

_KEPT = {"name", "reason"}

Recipe = Annotated[
    str,
    typer.Option(help="linear_probe, last_stages, full, gradual, classic or scratch.", rich_help_panel=_RECIPE),
]
NumStages = Annotated[
    int | None,
    typer.Option(min=0, max=INT32_MAX, help="last_stages: backbone stages to train.", rich_help_panel=_RECIPE),
]
ClassWeights = Annotated[
    str, typer.Option(help="balanced: labels count alike, however few images they have.", rich_help_panel=_RECIPE)
]
Augmentation = Annotated[str, typer.Option(help="none, mirror, crop_and_mirror or strong.", rich_help_panel=_RECIPE)]
Epochs = Annotated[
    int | None, typer.Option(min=0, max=INT32_MAX, help="Passes over the training images.", rich_help_panel=_TRAINING)
]
BatchSize = Annotated[int | None, typer.Option(min=0, max=INT32_MAX, help="Images a batch.", rich_help_panel=_TRAINING)]
LearningRate = Annotated[
    float | None, typer.Option(callback=finite, help="Learning rate of the head.", rich_help_panel=_TRAINING)
]
FindLearningRate = Annotated[
    bool, typer.Option("--find-learning-rate", help="Find it by a short sweep instead.", rich_help_panel=_TRAINING)
]
BackboneFactor = Annotated[
    float | None,
    typer.Option(callback=finite, help="Backbone's learning rate as a share of it.", rich_help_panel=_TRAINING),
]
WeightDecay = Annotated[float | None, typer.Option(callback=finite, help="Weight decay.", rich_help_panel=_TRAINING)]
Optimizer = Annotated[str, typer.Option(help="sgd or adamw.", rich_help_panel=_TRAINING)]
Schedule = Annotated[str, typer.Option(help="constant, cosine or one_cycle.", rich_help_panel=_TRAINING)]
LabelSmoothing = Annotated[
    float | None, typer.Option(callback=finite, help="Label smoothing, such as 0.1.", rich_help_panel=_TRAINING)
]
Patience = Annotated[
    int | None,
    typer.Option(
        min=0, max=INT32_MAX, help="Stop after so many epochs that were no better.", rich_help_panel=_TRAINING
    ),
]
Precision = Annotated[str, typer.Option(help="float32 or bfloat16.", rich_help_panel=_TRAINING)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Any other field of a recipe, such as mixup_alpha=0.2, cutmix_alpha=1, average_decay=0.99, "
        "max_gradient_norm=1, accumulated_batches=4, warmup_fraction=0.1 or freeze_batch_norm=false.",
        rich_help_panel=_TRAINING,
    ),
]


def recipe_of(name: str, settings: list[str], **options: Any) -> training_pb2.Recipe:  # noqa: ANN401  each as its field wants it
    """Make a recipe of the options that were given; raise CommandFailed where a setting is no field of one."""
    given = {key: value for key, value in options.items() if value not in (None, "") and value is not False}
    fields = {name: each for name, each in training_pb2.Recipe.DESCRIPTOR.fields_by_name.items() if name not in _KEPT}
    for key, value in pairs(settings, "FIELD=VALUE, such as mixup_alpha=0.2").items():
        if key not in fields:
            raise CommandFailed(f"a recipe has no field {key!r}: it has {', '.join(sorted(fields))}")
        if key in given:
            raise CommandFailed(f"{key} is given twice, by its own option and by --set: leave one of them out")
        given[key] = field_value(key, fields[key].cpp_type, value)
    return training_pb2.Recipe(name=name, **given)
