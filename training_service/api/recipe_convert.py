"""Between a recipe of maas.training.v1 and one of the service: the names of the hyperparameters are the same."""

from __future__ import annotations

from maas.training.v1 import training_pb2 as pb

from grpc_runtime.leaf_fields import leaf_fields
from training_service.recipes.choices import ChosenRecipe
from training_service.recipes.recipe import Recipe, RecipeName

_AUTO = "auto"


def read_recipe(message: pb.Recipe) -> ChosenRecipe:
    """Return the caller's choice, unchecked."""
    name = message.WhichOneof("recipe") or _AUTO
    settings = getattr(message, name)
    leaves = leaf_fields(type(settings))
    read = {key: leaf.read(settings) for key, leaf in leaves.items()}
    return ChosenRecipe(
        RecipeName(name) if name != _AUTO else None,
        {key: value for key, value in read.items() if value is not None},
        {key: ".".join((name, *leaf.path)) for key, leaf in leaves.items()},
    )


def recipe_message(recipe: Recipe) -> pb.Recipe:
    """Return a recipe with every hyperparameter that a caller may choose, and so may send again."""
    message = pb.Recipe(reason=recipe.reason)
    settings, values = getattr(message, recipe.name), recipe.settings()
    settings.SetInParent()
    for key, leaf in leaf_fields(type(settings)).items():
        if key in values and values[key] != "":  # left to the service
            leaf.write(settings, values[key])
    return message
