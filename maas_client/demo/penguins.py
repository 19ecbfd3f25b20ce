"""Rows of a table: penguins by their measurements, with missing cells, which a Python package ships."""

from __future__ import annotations

from pathlib import Path

from maas.training.v1.training_pb2 import HeadSpec, Recipe

from maas_client.demo.subject import FineTune, Subject, packaged_file

_PACKAGE, _FILE = "palmerpenguins", "palmerpenguins/data/penguins.csv"


def find_penguins(_: Path) -> Path:
    """Return the CSV file of the package, whose column `species` is to be predicted."""
    return packaged_file(_PACKAGE, _FILE, "a table whose last column is to be predicted")


PENGUINS = Subject(
    modality="table",
    name="penguins",
    examples="rows",
    prepare=find_penguins,
    columns={"species": "target"},
    first=FineTune("naive Bayes", Recipe(fit_head=Recipe.FitHead(head=HeadSpec(gaussian_nb={})))),
    second=FineTune("the head that is best in cross-validation", Recipe()),
)
