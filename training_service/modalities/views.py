"""Ways to look at the rows of a dataset that stay the same in every epoch, for frozen stages to run over once."""

from __future__ import annotations

from dataclasses import dataclass

from training_service.recipes.recipe import Augmentation, Recipe


@dataclass(frozen=True)
class View:
    """One way to look at all rows: as they are served, mirrored, or varied by a seed."""

    augmentation: Augmentation = Augmentation.NONE
    seed: int = 0
    number: int = 0

    @property
    def name(self) -> str:
        """Return the view's key."""
        return f"{self.augmentation}-{self.seed}-{self.number}"


PLAIN = View()


def further_views(recipe: Recipe, seed: int) -> list[View]:
    """Return the views that frozen stages are run over besides the plain one."""
    if recipe.augmentation is Augmentation.MIRROR:
        return [View(Augmentation.MIRROR)]
    return [View(recipe.augmentation, seed, number) for number in range(recipe.view_count)]
