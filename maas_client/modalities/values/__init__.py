"""Rows of numbers: the rows of a CSV file that are examples, and what a dataset of them looks like."""

from maas_client.modalities.values.columns import columns_of
from maas_client.modalities.values.datasets import facts
from maas_client.modalities.values.objects import example_of
from maas_client.modalities.values.rows import rows_in

__all__ = ["columns_of", "example_of", "facts", "rows_in"]
