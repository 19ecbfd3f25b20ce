"""Penguins through the training service: a schema, a job without a base, metrics, and the same again."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.names import parse_version
from model_store.tensors.stages import read_stage
from tests.training_service.reports.pages import report
from tests.training_service.running import RunningService, running_service

PENGUINS = Path(str(distribution("palmerpenguins").locate_file("palmerpenguins/data/penguins.csv"))).read_bytes()
SPECIES = pb.Schema(columns=[pb.Column(name="species", role=pb.COLUMN_ROLE_TARGET)])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with the penguins, and no model."""
    with running_service(tmp_path_factory.mktemp("home"), lease_seconds=60) as running:
        running.upload(PENGUINS, "penguins", schema=SPECIES)
        yield running


def test_the_schema_is_shown(service: RunningService) -> None:
    """Columns by type, with their missing cells."""
    dataset = service.training.GetDataset(pb.GetDatasetRequest(name="datasets/penguins"))
    assert dataset.modality == "table"
    columns = {each.name: each for each in dataset.table.columns}
    assert columns["island"].type == columns["sex"].type == pb.COLUMN_TYPE_CATEGORY
    assert (columns["sex"].missing_count, columns["body_mass_g"].missing_count) == (11, 2)
    assert list(columns["island"].frequent_categories) == ["Biscoe", "Dream", "Torgersen"]
    assert columns["body_mass_g"].numbers.mean == pytest.approx(4201.75, abs=0.01)
    assert [each.label for each in dataset.labels] == ["Adelie", "Chinstrap", "Gentoo"]


@pytest.mark.slow
def test_a_job_needs_no_base(service: RunningService) -> None:
    """The service publishes one for the schema, which later jobs share; the preprocessing is fitted to the rows."""
    jobs = [
        service.await_end(
            service.create(model=f"models/{name}", base="", recipe=None, dataset="datasets/penguins").name
        )
        for name in ("first", "second")
    ]
    for job in jobs:
        assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
        assert job.metrics.values["accuracy"] > 0.97
        assert job.recipe.WhichOneof("recipe") == "fit_head"
    assert jobs[0].base == jobs[1].base
    made = [service.store.manifest(service.store.get_version(parse_version(job.version, "v"))) for job in jobs]
    base = service.store.manifest(service.store.get_version(parse_version(jobs[0].base, "base")))
    assert made[0].stages == made[1].stages
    digests = {each.name: each.digest for each in base.stages}
    assert [each.name for each in made[0].stages if digests.get(each.name) == each.digest] == ["onehot"]


@pytest.mark.slow
def test_a_network_is_trained_where_a_recipe_says_so(service: RunningService) -> None:
    """Its base has embeddings of categories and layers."""
    recipe = pb.Recipe(full=pb.Recipe.Full(epoch_count=8))
    job = service.await_end(
        service.create(model="models/network", base="", dataset="datasets/penguins", recipe=recipe).name
    )
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    assert job.base.startswith("models/table-mlp-")
    assert job.metrics.values["accuracy"] > 0.9


@pytest.mark.slow
def test_features_are_selected_on_training_rows(service: RunningService) -> None:
    """The stage keeps as many as were asked for, with the score of each; the report names them."""
    head = pb.HeadSpec(logistic_regression={}, strength=1.0)
    select = pb.SelectionSpec(mutual_information={}, select_count=4)
    asked = pb.Recipe(fit_head=pb.Recipe.FitHead(head=head, select=select))
    refused_count = pb.Recipe(fit_head=pb.Recipe.FitHead(select=pb.SelectionSpec(anova_f={}, select_count=99)))
    with pytest.raises(grpc.RpcError, match="must be at most 18, the number of features of the base") as caught:
        service.create(model="models/selected", base="", dataset="datasets/penguins", recipe=refused_count)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    job = service.await_end(
        service.create(model="models/selected", base="", dataset="datasets/penguins", recipe=asked).name
    )
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    assert job.recipe.fit_head.select == select
    assert job.metrics.values["accuracy"] > 0.9
    version = service.store.manifest(service.store.get_version(parse_version(job.version, "v")))
    (digest,) = (each.digest for each in version.stages if each.name == "select")
    stage = read_stage(service.store.blobs, digest)
    features = service.training.GetDataset(pb.GetDatasetRequest(name="datasets/penguins"))
    assert int(stage["num_rows"]) == features.split_counts.train
    assert int(stage["kept"].sum()) == 4
    page = report(service, job.name)
    texts = [" ".join(text.split()) for text in page.texts["p"]]
    assert any("4 of 18 features are kept: those that the recipe selects" in text for text in texts)
    assert {"flipper_length_mm", "island = Biscoe"} <= {text.strip() for text in page.texts["th"]}
