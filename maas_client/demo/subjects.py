"""The demos by the modality of their examples."""

from __future__ import annotations

from collections.abc import Mapping

from maas_client.demo.articles import ARTICLES
from maas_client.demo.penguins import PENGUINS
from maas_client.demo.photos import PHOTOS
from maas_client.demo.prompts import PROMPTS
from maas_client.demo.subject import Subject

SUBJECTS: Mapping[str, Subject] = {each.modality: each for each in (PHOTOS, ARTICLES, PENGUINS, PROMPTS)}
