"""The names of the features that the preprocessing of a table makes of its columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from model_store.architectures import embedding_size
from model_store.architectures.table_stages import DATE_PARTS
from model_store.architectures.tables import TableArguments
from model_store.modalities import InputSpec
from model_store.modalities.table.columns import TableColumn
from model_store.modalities.table.spec import TableInputSpec


def feature_names(spec: InputSpec, arguments: Mapping[str, Any]) -> list[str]:
    """Return the name of each feature of the architectures `table` and `table_text`, in order."""
    table = cast("TableInputSpec", spec)
    read = TableArguments.of_columns(arguments)
    numbers = [each.name for each in table.number_columns]
    missing = [f"{numbers[place]} is missing" for place in read.indicators]
    dates = [f"{numbers[place]}: {part}" for place in read.dates for part in DATE_PARTS]
    categories = [name for each in table.category_columns for name in _categories(each)]
    return [*numbers, *missing, *dates, *categories, *_of_text(table, arguments)]


def _of_text(table: TableInputSpec, arguments: Mapping[str, Any]) -> list[str]:
    if table.text_column is None:
        return []
    encoder = arguments["text"]
    size = embedding_size(encoder["name"], encoder["arguments"])
    return [f"{table.text_column.name}: dimension {number}" for number in range(1, size + 1)]


def _categories(column: TableColumn) -> Iterator[str]:
    yield f"{column.name} is missing"
    if column.buckets:
        yield from (f"{column.name}: bucket {number}" for number in range(1, column.buckets + 1))
    else:
        yield from (f"{column.name} = {category}" for category in column.categories)
        yield f"{column.name}: any other"
