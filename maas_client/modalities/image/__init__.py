"""Images: the files that are examples, what a dataset of them looks like, and sheets of thumbnails."""

from maas_client.modalities.image.datasets import facts
from maas_client.modalities.image.files import images_below
from maas_client.modalities.image.objects import example_of

__all__ = ["example_of", "facts", "images_below"]
