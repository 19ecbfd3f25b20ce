"""Texts: files of them, and what a dataset of them looks like."""

from maas_client.modalities.text.columns import columns_of, example_of_row
from maas_client.modalities.text.datasets import facts
from maas_client.modalities.text.files import texts_at

__all__ = ["columns_of", "example_of_row", "facts", "texts_at"]
