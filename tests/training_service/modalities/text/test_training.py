"""Jobs on texts: from a table to a version that serves, by every recipe that makes sense."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.bases.base import LoadedBase
from model_store.bases.text.random import load_random_gru
from model_store.manifests import ManifestStage
from model_store.modalities.text.spec import TextInputSpec
from model_store.names import parse_version
from model_store.registry.models import ModelStore
from model_store.tensors.stages import write_stages
from model_store.transactions.publication import Publication
from tests.model_store.text_models import TOPICS, WORDS, text_base
from tests.training_service.reports.pages import report
from tests.training_service.running import TIMEOUT, RunningService, running_service
from training_service.modalities.text.words import learned_spec

RATE = {"optimizer": {"learning_rate": 3e-3}, "backbone_learning_rate_factor": 1}
RECIPES = {
    "linear_probe": pb.Recipe(linear_probe={}),
    "last_stages": pb.Recipe(last_stages={"epoch_count": 4, **RATE}),
    "full": pb.Recipe(full={"epoch_count": 4, **RATE}),
    "gradual": pb.Recipe(gradual={"epoch_count": 3, **RATE}),
    "scratch": pb.Recipe(scratch={"epoch_count": 6, "optimizer": {"adamw": {}, "learning_rate": 3e-3}}),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a tiny encoder, and texts of two topics."""
    with running_service(tmp_path_factory.mktemp("home"), lease_seconds=60) as running:
        publish_bases(running.store)
        running.upload(table(150), "topics")
        yield running


def publish_bases(store: ModelStore) -> None:
    """Publish the tiny BERT with its tokenizer, and a recurrent network that has none yet."""
    publish(store, "encoder", text_base())
    publish(store, "gru", load_random_gru([], seed=0))


def publish(store: ModelStore, model: str, base: LoadedBase) -> None:
    """Publish a base with its files."""
    stored = write_stages(store.blobs, {name: base.chain.stage_tensors(name) for name in base.chain.stage_names})
    for data in base.files:
        store.blobs.put([data])
    manifest = base.manifest([ManifestStage(name, blob.digest) for name, blob in stored.items()])
    store.publish(Publication(model, manifest))


def table(num_rows: int) -> bytes:
    """Return a CSV file of texts of one to eight words, most of them of the topic that is their label."""
    chosen = random.Random(0)
    words = {"sea": WORDS[:5], "farm": WORDS[5:10]}
    rows = ["text,label"]
    for number in range(num_rows):
        label = list(TOPICS)[number % 2]
        count = chosen.randint(1, 8)
        topic = label if number % 11 else {"sea": "farm", "farm": "sea"}[label]
        text = [chosen.choice(words[topic]) for _ in range(count)]
        rows.append(f"{' '.join(text)} {'rain' * (number % 3)} {number},{label}")
    return "\n".join(rows).encode()


SLOW = ("last_stages", "gradual", "scratch", "full")


@pytest.mark.parametrize(
    "recipe", [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in RECIPES]
)
def test_a_recipe_learns_from_texts(service: RunningService, recipe: str) -> None:
    """The version names the base's tokenizer, cuts texts where the training texts end, and is better than chance."""
    job = service.create(
        model=f"models/{recipe.replace('_', '-')}", base="models/encoder", dataset="datasets/topics",
        recipe=RECIPES[recipe],
    )  # fmt: skip
    job = service.await_end(job.name)
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    assert job.metrics.values["accuracy"] > 0.7
    version = service.store.get_version(parse_version(job.version, "version"))
    spec = TextInputSpec.from_json(service.store.manifest(version).input_spec)
    base = text_base().input_spec
    assert isinstance(base, TextInputSpec)
    assert (version.modality, spec.tokenizer, spec.max_tokens) == ("text", base.tokenizer, 16)
    assert spec.uncut() == base
    assert learned_spec(spec, [], service.store.blobs) == base, "the next fine-tune must see texts up to 32 tokens"
    assert [file.digest for file in version.files] == [base.tokenizer]
    request = pb.EvaluateModelVersionRequest(name=job.version, dataset="datasets/topics")
    evaluation = list(service.training.EvaluateModelVersion(request, timeout=TIMEOUT))[-1].evaluation
    assert evaluation.metrics.values["accuracy"] == pytest.approx(job.metrics.values["accuracy"], abs=1e-4)


@pytest.mark.slow
def test_a_recurrent_network_learns_words_and_meaning(service: RunningService) -> None:
    """Its tokenizer is made of the training texts, kept by the version, and the next fine-tune takes it over."""
    scratch = pb.Recipe(scratch={"epoch_count": 8, "optimizer": {"adamw": {}, "learning_rate": 5e-3}})
    job = service.create(model="models/words", base="models/gru", dataset="datasets/topics", recipe=scratch)
    job = service.await_end(job.name)
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    assert job.metrics.values["accuracy"] > 0.7
    again = service.create(
        model="models/words", base="models/words", dataset="datasets/topics", recipe=RECIPES["linear_probe"]
    )
    again = service.await_end(again.name)
    first, second = (service.store.get_version(parse_version(each.version, "version")) for each in (job, again))
    assert first.files == second.files
    assert TextInputSpec.from_json(service.store.manifest(first).input_spec).tokenizer == first.files[0].digest


@pytest.mark.slow
def test_a_report_shows_texts(service: RunningService) -> None:
    """The rows that a version is most wrong about are shown by their words, and the data by its lengths."""
    job = service.create(
        model="models/reported", base="models/encoder", dataset="datasets/topics", recipe=RECIPES["linear_probe"]
    )
    page = report(service, service.await_end(job.name).name)
    assert "Worst mistakes" in page.texts["h2"]
    texts = [" ".join(line.rpartition(",")[0].split()) for line in table(150).decode().splitlines()[1:]]
    assert any(text in page.texts["body"][0] for text in texts)


def test_mixing_rows_is_refused_where_they_are_tokens(service: RunningService) -> None:
    """The mean of two words is no word."""
    recipe = pb.Recipe(full={"epoch_count": 1, "augmentation": {"mixup_alpha": 0.2}})
    job = service.create(model="models/mixed", base="models/encoder", dataset="datasets/topics", recipe=recipe)
    job = service.await_end(job.name)
    assert job.state == pb.TRAINING_JOB_STATE_FAILED
    assert "leave mixup and cutmix out" in job.error.message


def test_a_dataset_of_texts_is_described_and_shown(service: RunningService) -> None:
    """Lengths of all, and the beginning of a few."""
    dataset = service.training.GetDataset(pb.GetDatasetRequest(name="datasets/topics"))
    assert (dataset.modality, dataset.text.words.min > 0) == ("text", True)
    assert [(column.name, column.role) for column in dataset.schema.columns] == [
        ("text", pb.COLUMN_ROLE_FEATURE), ("label", pb.COLUMN_ROLE_TARGET),
    ]  # fmt: skip
    rows = service.training.PreviewDataset(pb.PreviewDatasetRequest(name="datasets/topics", example_count=3)).rows
    assert all(set(row.text.split()) & set(WORDS) for row in rows)
