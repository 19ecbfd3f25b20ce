"""Images: the files that are examples, what a dataset of them looks like, and sheets of thumbnails."""

from maas_client.modalities.image.datasets import facts
from maas_client.modalities.image.files import images_below

__all__ = ["facts", "images_below"]
