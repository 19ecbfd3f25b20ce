"""What a dataset of rows of a table looks like, as text."""

from __future__ import annotations

from collections.abc import Iterator

from maas.training.v1 import training_pb2

_SHOWN = 3


def facts(summary: training_pb2.TableSummary) -> Iterator[tuple[str, str]]:
    """Yield the number of features, then each column: its type, its spread or its categories, and its missing cells."""
    yield "features", f"{summary.feature_count:,} columns"
    for column in summary.columns:
        yield column.name, ", ".join(_parts(column))


def _parts(column: training_pb2.TableColumn) -> Iterator[str]:
    yield training_pb2.ColumnType.Name(column.type).removeprefix("COLUMN_TYPE_").lower()
    if column.HasField("numbers"):
        yield f"{column.numbers.min:g} to {column.numbers.max:g}"
    if column.category_count:
        more = ", …" if column.category_count > _SHOWN else ""
        yield f"{column.category_count:,} different ({', '.join(column.frequent_categories[:_SHOWN])}{more})"
    if column.bucket_count:
        yield f"hashed into {column.bucket_count:,}"
    if column.missing_count:
        yield f"{column.missing_count:,} missing"
