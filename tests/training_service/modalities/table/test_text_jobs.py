"""Jobs on tables with a column of text, which an encoder of the store reads beside the other columns."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.bases.text.random import load_random_gru
from model_store.manifests import Manifest
from model_store.modalities.table.spec import TableInputSpec
from model_store.names import parse_version
from tests.model_store.text_models import text_base
from tests.training_service.making import publish_base
from tests.training_service.modalities.table.tickets import REGRESSION, SCHEMA, publish, tickets
from tests.training_service.reports.pages import report
from tests.training_service.running import TIMEOUT, RunningService, refused, running_service

INVALID = grpc.StatusCode.INVALID_ARGUMENT
TEXT_BASE = "models/encoder"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a tiny encoder, and tickets."""
    with running_service(tmp_path_factory.mktemp("home"), lease_seconds=60) as running:
        publish(running.store, "encoder", text_base())
        publish(running.store, "gru", load_random_gru([], seed=0))
        publish_base(running.store)
        running.upload(tickets(300), "tickets", schema=SCHEMA)
        yield running


@pytest.fixture(scope="module")
def job(service: RunningService) -> pb.TrainingJob:
    """A job with the text, which has succeeded."""
    made = create(service, "with-text", text_base=TEXT_BASE)
    ended = service.await_end(made.name)
    assert ended.state == pb.TRAINING_JOB_STATE_SUCCEEDED, ended.error
    return ended


def create(service: RunningService, model: str, recipe: pb.Recipe = REGRESSION, **asked: str) -> pb.TrainingJob:
    """Queue a job on the tickets without a base."""
    return service.create(
        **{"model": f"models/{model}", "base": "", "dataset": "datasets/tickets", "recipe": recipe, **asked}
    )


def manifest(service: RunningService, version: str) -> Manifest:
    """Return the manifest of a version."""
    return service.store.manifest(service.store.get_version(parse_version(version, "version")))


def test_the_text_is_shown_and_kept(service: RunningService) -> None:
    """As a feature of type text, with its missing cells; a preview shows its cells."""
    dataset = service.training.GetDataset(pb.GetDatasetRequest(name="datasets/tickets"))
    assert dataset.modality == "table"
    assert dataset.table.feature_count == 2
    columns = {each.name: each for each in dataset.table.columns}
    assert (columns["body"].type, columns["body"].missing_count) == (pb.COLUMN_TYPE_TEXT, 15)
    assert ("body", pb.COLUMN_TYPE_TEXT, pb.COLUMN_ROLE_FEATURE) in [
        (each.name, each.type, each.role) for each in dataset.schema.columns
    ]
    assert any("are used only with a text base (or say type category): 'body'" in each for each in dataset.remarks)
    rows = service.training.PreviewDataset(pb.PreviewDatasetRequest(name="datasets/tickets", example_count=8)).rows
    assert any("body" in row.cells.texts for row in rows)


def test_the_version_begins_with_the_encoders_stages(service: RunningService, job: pb.TrainingJob) -> None:
    """With its digests and its tokenizer; the base names it, and later jobs share it."""
    made, base = manifest(service, job.version), manifest(service, job.base)
    encoder = manifest(service, "models/encoder/versions/1")
    assert job.base.startswith("models/table-text-")
    assert made.architecture == base.architecture == "table_text"
    names = [each.name for each in made.stages]
    assert names == [*(each.name for each in encoder.stages), "impute", "scale", "join", "select", "head"]
    assert made.stages[: len(encoder.stages)] == base.stages[: len(encoder.stages)] == encoder.stages
    assert made.files == encoder.files
    lineage = service.store.get_version(parse_version(job.base, "base")).lineage
    assert str(lineage.base) == "models/encoder/versions/1"
    again = create(service, "again", text_base="models/encoder/versions/1", text_column="body")
    assert again.base == job.base
    spec = made.input_spec
    assert spec["text"]["max_tokens"] == 16, "texts are cut to what those of training need"
    assert spec["text"]["most_tokens"] == 32
    assert TableInputSpec.from_json(spec).text_column == TableInputSpec.from_json(base.input_spec).text_column


@pytest.mark.slow
def test_the_text_tells_what_the_other_columns_do_not(service: RunningService, job: pb.TrainingJob) -> None:
    """Half of what makes the target is in each; an evaluation gives the figures of the job."""
    plain = service.await_end(create(service, "without-text").name)
    assert plain.state == pb.TRAINING_JOB_STATE_SUCCEEDED, plain.error
    assert plain.base.startswith("models/table-")
    assert not plain.base.startswith("models/table-text-")
    assert job.metrics.values["accuracy"] > plain.metrics.values["accuracy"] + 0.2
    request = pb.EvaluateModelVersionRequest(name=job.version, dataset="datasets/tickets")
    evaluation = list(service.training.EvaluateModelVersion(request, timeout=TIMEOUT))[-1].evaluation
    assert evaluation.metrics.values["accuracy"] == pytest.approx(job.metrics.values["accuracy"], abs=1e-4)


def test_recipes_that_train_stages_are_refused(service: RunningService, job: pb.TrainingJob) -> None:
    """Over a text base, and from a version that has one."""
    for name, recipe in {"full": pb.Recipe(full={}), "scratch": pb.Recipe(scratch={})}.items():
        for asked in ({"base": job.version}, {"base": job.base}, {"text_base": TEXT_BASE}):
            with refused(INVALID, "take linear_probe or fit_head", fields=[f"training_job.recipe.{name}"]):
                create(service, "refused", recipe, **asked)


@pytest.mark.slow
def test_a_linear_probe_goes_on_from_the_version(service: RunningService, job: pb.TrainingJob) -> None:
    """Its base is named as any other is, and its backbone stays as it is."""
    probe = service.await_end(create(service, "probed", pb.Recipe(linear_probe={}), base=job.version).name)
    assert probe.state == pb.TRAINING_JOB_STATE_SUCCEEDED, probe.error
    assert probe.metrics.values["accuracy"] > 0.6
    backbone, before = manifest(service, probe.version).stages[:-1], manifest(service, job.version).stages[:-1]
    assert backbone == before


@pytest.mark.slow
def test_features_of_both_are_selected_and_reported(service: RunningService) -> None:
    """The encoder runs once, whatever is fitted behind it; the report names columns and dimensions."""
    select = pb.SelectionSpec(anova_f={}, select_count=6)
    recipe = pb.Recipe(fit_head=pb.Recipe.FitHead(head=REGRESSION.fit_head.head, select=select))
    ended = service.await_end(create(service, "selected", recipe, text_base=TEXT_BASE).name)
    assert ended.state == pb.TRAINING_JOB_STATE_SUCCEEDED, ended.error
    page = report(service, ended.name)
    headers = {text.strip() for text in page.texts["th"]}
    assert {"body: dimension 1", "body: dimension 16", "price is missing", "plan = basic", "body", "price"} <= headers
    texts = [" ".join(text.split()) for text in page.texts["p"]]
    assert any("6 of 22 features are kept" in text for text in texts)


@pytest.mark.slow
def test_a_base_with_the_text_is_recommended(service: RunningService, job: pb.TrainingJob) -> None:
    """Beside the one without: it is a base like any other, once it is published."""
    service.upload(tickets(100), "hundred", schema=SCHEMA)
    request = pb.RecommendBasesRequest(dataset="datasets/hundred")
    found = list(service.training.RecommendBases(request, timeout=TIMEOUT))[-1].recommendation
    assert found.chosen.base == job.base, found.reason
    assert {each.architecture for each in found.bases} == {"table", "table_text"}


@pytest.mark.parametrize(
    ("asked", "field", "message"),
    [
        ({"text_base": TEXT_BASE, "base": TEXT_BASE}, "text_base", "goes without training_job.base"),
        ({"text_column": "body"}, "text_column", "name that, too"),
        ({"text_base": TEXT_BASE, "text_column": "plan"}, "text_column", "its columns of text are 'body'"),
        ({"text_base": "models/base"}, "text_base", "takes examples of the modality image"),
        ({"text_base": "models/gru"}, "text_base", "has no tokenizer yet"),
        ({"text_base": "encoder"}, "text_base", "models/"),
        ({"text_base": TEXT_BASE, "dataset": "datasets/two"}, "text_column", "has 2: 'body', 'note'"),
        ({"text_base": TEXT_BASE, "dataset": "datasets/none"}, "text_base", "no column of text"),
        ({"text_base": TEXT_BASE, "dataset": "datasets/numbers"}, "text_base", "these are of values"),
    ],
)
def test_what_cannot_go_together_is_refused(
    service: RunningService, asked: dict[str, str], field: str, message: str
) -> None:
    """Before anything is queued or published, by the field."""
    dataset = asked.get("dataset", "").removeprefix("datasets/")
    if dataset:
        files = {
            "two": (tickets(60, more="note"), SCHEMA),
            "none": (b"a,b,y\n" + b"".join(b"%d,%c,%d\n" % (n, b"uv"[n % 2], n % 3) for n in range(60)), None),
            "numbers": (b"a,b,y\n" + b"".join(b"%d,%d,%d\n" % (n, n % 7, n % 3) for n in range(60)), None),
        }
        data, schema = files[dataset]
        service.upload(data, dataset, schema=schema)
    with refused(INVALID, message, fields=[field]):
        create(service, "refused", **asked)


def test_one_of_two_columns_is_named(service: RunningService) -> None:
    """The other one stays unused."""
    service.upload(tickets(100, more="note"), "both", schema=SCHEMA)
    made = create(service, "one-of-two", dataset="datasets/both", text_base=TEXT_BASE, text_column="note")
    spec = TableInputSpec.from_json(manifest(service, made.base).input_spec)
    assert [each.name for each in spec.columns] == ["price", "plan", "note"]
    service.training.CancelTrainingJob(pb.CancelTrainingJobRequest(name=made.name), timeout=TIMEOUT)


def test_more_rows_are_appended(service: RunningService) -> None:
    """Their texts are kept as the parent's are."""
    service.upload(tickets(60), "fewer", schema=SCHEMA)
    more = b"\n".join([tickets(1).splitlines()[0], *tickets(100).splitlines()[61:]])
    dataset = service.upload(more, "more", parent="datasets/fewer")
    assert dataset.example_count == 100
    columns = {each.name: each for each in dataset.table.columns}
    assert (columns["body"].type, columns["body"].missing_count) == (pb.COLUMN_TYPE_TEXT, 5)
