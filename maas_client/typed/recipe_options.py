"""The options of `maas finetune` that make a recipe: the few that people reach for, and `--set` for all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from maas.training.v1 import training_pb2

from grpc_runtime.leaf_fields import LeafField, leaf_fields
from maas_client.failures import CommandFailed
from maas_client.typed.numbers import INT32_MAX, field_value, finite
from maas_client.typed.recipes import AUTO, RECIPES, named_recipe
from maas_client.typed.shorthand import pairs

_RECIPE, _TRAINING = (
    "Recipe (left out, the service chooses by the number of examples)",
    "Training (with --recipe, for all but linear_probe)",
)

Recipe = Annotated[
    str,
    typer.Option(help="linear_probe, last_stages, full, gradual, classic or scratch.", rich_help_panel=_RECIPE),
]
NumStages = Annotated[
    int | None,
    typer.Option(min=0, max=INT32_MAX, help="last_stages: backbone stages to train.", rich_help_panel=_RECIPE),
]
ClassWeights = Annotated[
    str, typer.Option(help="balanced: labels count alike, however few examples they have.", rich_help_panel=_RECIPE)
]
Augmentation = Annotated[str, typer.Option(help="none, mirror, crop_and_mirror or strong.", rich_help_panel=_RECIPE)]
Epochs = Annotated[
    int | None, typer.Option(min=0, max=INT32_MAX, help="Passes over the training examples.", rich_help_panel=_TRAINING)
]
BatchSize = Annotated[
    int | None, typer.Option(min=0, max=INT32_MAX, help="Examples a batch.", rich_help_panel=_TRAINING)
]
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
        help="Any other field of the recipe, such as mixup_alpha=0.2, cutmix_alpha=1, average_decay=0.99, "
        "max_gradient_norm=1, batches_per_step=4, warmup_fraction=0.1 or freeze_batch_norm=false; momentum and "
        "nesterov choose sgd, beta1 chooses adamw.",
        rich_help_panel=_TRAINING,
    ),
]


def recipe_of(name: str, settings: list[str], **options: Any) -> training_pb2.Recipe:  # noqa: ANN401  each as its field wants it
    """Make a recipe of the options that were given; raise CommandFailed where one is no field of this recipe.

    Without a name the service chooses the recipe, and only the fields that each of its choices has can be set.
    """
    recipe = named_recipe(name or AUTO)
    message = getattr(recipe, name or AUTO)
    leaves = leaf_fields(type(message))
    given = {key: value for key, value in options.items() if value not in (None, "") and value is not False}
    typed = pairs(settings, "FIELD=VALUE, such as mixup_alpha=0.2")
    if twice := sorted(given.keys() & typed.keys()):
        raise CommandFailed(f"{twice[0]} is given twice, by its own option and by --set: leave one of them out")
    for key in given | typed:
        if key not in leaves:
            raise CommandFailed(_no_field(key, name, leaves))
    given |= {key: _value(leaves[key], value) for key, value in typed.items()}
    given = _with_kinds(given, leaves)
    for key, value in given.items():
        if leaves[key].words and value not in leaves[key].words:
            raise CommandFailed(f"{key} must be one of {', '.join(leaves[key].words)}, not {value!r}")
        leaves[key].write(message, value)
    return recipe if name or given else training_pb2.Recipe()


def _value(leaf: LeafField, text: str) -> str | float | bool:
    """Read a text as the field wants it."""
    return text if leaf.words or leaf.field is None else field_value(leaf.name, leaf.field.cpp_type, text)


def _with_kinds(given: Mapping[str, Any], leaves: Mapping[str, LeafField]) -> dict[str, Any]:
    """Add the choices that fields imply, as SGD's momentum implies `sgd`; raise CommandFailed where they differ."""
    kinds: dict[str, Any] = {}
    for key in given:
        if (within := leaves[key].within) is not None:
            kind, word = within
            if (chosen := given.get(kind, kinds.get(kind, word))) != word:
                raise CommandFailed(f"{key} is a field of {kind} {word}, not of {chosen}")
            kinds[kind] = word
    return kinds | dict(given)


def _no_field(key: str, name: str, leaves: Mapping[str, LeafField]) -> str:
    has = [each for each, message in RECIPES.items() if key in leaf_fields(message)]
    if has and not name:
        return f"{key} is a field of {', '.join(has)}: name one of them with --recipe"
    return f"{f'the recipe {name}' if name else 'a recipe'} has no field {key!r}: it has {', '.join(sorted(leaves))}"
