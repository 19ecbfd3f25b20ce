"""Rows of a table: what a dataset of them looks like, and cells by column as an example."""

from maas_client.modalities.table.columns import columns_of, example_of_row
from maas_client.modalities.table.datasets import facts
from maas_client.modalities.table.objects import example_of
from maas_client.modalities.table.rows import rows_in

__all__ = ["columns_of", "example_of", "example_of_row", "facts", "rows_in"]
