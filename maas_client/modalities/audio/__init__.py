"""Recordings: the files that are examples, samples in memory, and what a dataset of them looks like."""

from maas_client.modalities.audio.datasets import facts
from maas_client.modalities.audio.files import SUFFIXES, recordings_below
from maas_client.modalities.audio.objects import example_of

__all__ = ["SUFFIXES", "example_of", "facts", "recordings_below"]
