"""A table of tickets with a text beside a price and a plan, and the tiny encoder to read it by."""

from __future__ import annotations

import random

from maas.training.v1 import training_pb2 as pb

from model_store.bases.base import LoadedBase
from model_store.manifests import ManifestStage
from model_store.records.resources import ModelVersion
from model_store.registry.models import ModelStore
from model_store.tensors.stages import write_stages
from model_store.transactions.publication import Publication
from tests.model_store.text_models import WORDS

SCHEMA = pb.Schema(columns=[pb.Column(name="team", role=pb.COLUMN_ROLE_TARGET)])
REGRESSION = pb.Recipe(fit_head=pb.Recipe.FitHead(head=pb.HeadSpec(logistic_regression={}, strength=1.0)))
TOPICS = (WORDS[:5], WORDS[5:10])


def tickets(num_rows: int, *, more: str = "") -> bytes:
    """Return a CSV file: the team follows from the topic of the body and the sign of the price, each for half.

    Some cells are missing; `more` is the name of another column of text.
    """
    chosen = random.Random(0)
    lines = [f"price,body,plan,{more},team" if more else "price,body,plan,team"]
    for number in range(num_rows):
        topic, positive = chosen.randrange(2), chosen.randrange(2)
        words = " ".join(chosen.choice(TOPICS[topic]) for _ in range(chosen.randint(2, 9)))
        body = f"{words} {number}" if number % 20 else ""
        price = f"{chosen.uniform(0.5, 2) * (1 if positive else -1):.3f}" if number % 17 else "NA"
        cells = [price, body, chosen.choice(("basic", "pro"))]
        cells += [f"note {number} of a ship"] if more else []
        lines.append(",".join([*cells, f"team{2 * topic + positive}"]))
    return "\n".join(lines).encode()


def publish(store: ModelStore, model: str, base: LoadedBase) -> ModelVersion:
    """Publish a base with its files."""
    stored = write_stages(store.blobs, {name: base.chain.stage_tensors(name) for name in base.chain.stage_names})
    for data in base.files:
        store.blobs.put([data])
    manifest = base.manifest([ManifestStage(name, blob.digest) for name, blob in stored.items()])
    return store.publish(Publication(model, manifest))
