"""Jobs of every task on images and on rows of numbers: from an upload to a version, its evaluation and its report."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from model_store.names import parse_version
from tests.training_service.making import picture, publish_base, publish_mlp, tar_of
from tests.training_service.reports.pages import report
from tests.training_service.running import TIMEOUT, RunningService, running_service

Numbers = npt.NDArray[np.float64]

TARGET = pb.COLUMN_ROLE_TARGET
NUMBERS = np.random.default_rng(0).standard_normal((240, 4)).round(3)
SCALED = (NUMBERS * [1, 1, 10_000, 0] + [0, 0, 500, 7]).round(3)
"""A column of far larger numbers than the one that decides, and one of the same number in each row."""
SECTIONS = {
    "classification": ["Confusions", "Calibration", "Labels"],
    "multi_label": ["Calibration", "Labels"],
    "regression": ["Predicted and true", "Residuals", "Targets"],
}
"""Headings of a report that are a task's own."""
PROBE, FULL = pb.Recipe(linear_probe={}), pb.Recipe(full=pb.Recipe.Full(epoch_count=3))
AVERAGE, BOOSTING = (pb.Recipe(fit_head={"head": {head: {}}}) for head in ("average", "gradient_boosting"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a base of images, one of rows of four numbers, and a dataset of each modality and task."""
    with running_service(tmp_path_factory.mktemp("home"), lease_seconds=60, cross_validation_seconds=3600) as running:
        publish_base(running.store)
        publish_mlp(running.store, "numbers", (4, 64))
        running.upload(table("kind", ["up" if row[0] > 0 else "down" for row in NUMBERS]), "values-classification")
        flags = [f"{int(row[0] > 0)},{int(row[1] > 0)}" for row in NUMBERS]
        several = pb.Schema(columns=[pb.Column(name=name, role=TARGET) for name in ("first", "second")])
        running.upload(table("first,second", flags), "values-multi-label", schema=several)
        sums = [f"{100 + 10 * row[0] - 5 * row[1]:.3f}" for row in NUMBERS]
        running.upload(table("price", sums), "values-regression")
        images = {f"{number}.png": picture(("red", "blue")[number % 2], number) for number in range(30)}
        labels = "\n".join(["file,red,blue", *(f"{number}.png,{1 - number % 2},{number % 2}" for number in range(30))])
        running.upload(tar_of(images | {"labels.csv": labels.encode()}), "image-multi-label")
        targets = "\n".join(["file,redness", *(f"{number}.png,{(1 - number % 2) * 7.5}" for number in range(30))])
        running.upload(tar_of(images | {"targets.csv": targets.encode()}), "image-regression")
        yield running


def table(columns: str, targets: list[str], numbers: Numbers = NUMBERS) -> bytes:
    """Return a CSV file of the numbers with these targets."""
    rows = [f"{','.join(map(str, row))},{target}" for row, target in zip(numbers, targets, strict=True)]
    return "\n".join([f"a,b,c,d,{columns}", *rows]).encode()


@pytest.mark.parametrize(
    ("dataset", "base", "recipe", "metric", "least"),
    [
        ("values-classification", "numbers", PROBE, "accuracy", 0.85),
        pytest.param("values-classification", "numbers", FULL, "accuracy", 0.85, marks=pytest.mark.slow),
        pytest.param("values-multi-label", "numbers", PROBE, "macro_f1", 0.75, marks=pytest.mark.slow),
        ("values-multi-label", "numbers", FULL, "macro_f1", 0.75),
        ("values-regression", "numbers", PROBE, "r2", 0.6),
        pytest.param("values-regression", "numbers", FULL, "r2", 0.6, marks=pytest.mark.slow),
        ("image-multi-label", "base", PROBE, "macro_f1", 0.9),
        ("image-regression", "base", PROBE, "r2", 0.8),
        ("image-multi-label", "base", pb.Recipe(fit_head={"head": {"gaussian_nb": {}}}), "macro_f1", 0.9),
        pytest.param("values-regression", "numbers", BOOSTING, "r2", 0.6, marks=pytest.mark.slow),
        pytest.param("values-regression", "numbers", AVERAGE, "r2", 0.6, marks=pytest.mark.slow),
    ],
)
def test_a_job_makes_a_version_that_can_be_evaluated_and_reported(
    service: RunningService, dataset: str, base: str, recipe: pb.Recipe, metric: str, least: float
) -> None:
    """Its manifest names modality, task and outputs; an evaluation of the test split has the job's figures."""
    job = service.create(model=f"models/{dataset}", base=f"models/{base}", dataset=f"datasets/{dataset}", recipe=recipe)
    job = service.await_end(job.name)
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    assert job.metrics.values[metric] > least
    version = service.store.get_version(parse_version(job.version, "version"))
    manifest = service.store.manifest(version)
    found = service.training.GetDataset(pb.GetDatasetRequest(name=f"datasets/{dataset}"))
    assert manifest.task is not None
    assert f"TASK_{manifest.task.kind.upper()}" == model_store_pb2.Task.Name(found.task)
    assert list(manifest.task.names) == [each.label for each in found.labels] + [each.name for each in found.targets]
    assert (version.modality, manifest.input_spec["kind"]) == (found.modality, found.modality)
    request = pb.EvaluateModelVersionRequest(name=job.version, dataset=f"datasets/{dataset}")
    evaluation = list(service.training.EvaluateModelVersion(request, timeout=TIMEOUT))[-1].evaluation
    assert evaluation.metrics.values[metric] == pytest.approx(job.metrics.values[metric], abs=1e-4)
    page = report(service, job.name)
    validated, is_told = job.metrics.cross_validation, "in cross-validation on all" in page.texts["body"][0]
    is_validated = 50 <= found.example_count < 1000
    assert (job.metrics.HasField("cross_validation"), is_told) == (is_validated, is_validated)
    if is_validated:
        assert (validated.metric, validated.row_count) == (metric, found.example_count)
        assert least - 0.1 < validated.interval.low < validated.value < validated.interval.high
    assert ("Columns" in page.texts["h2"]) == (version.modality == "values")
    assert [heading for heading in page.texts["h2"] if heading not in {"Input", "Columns"}] == [
        "Verdict", "Quality", "Learning", *SECTIONS[manifest.task.kind], "Worst mistakes", "Data", "Recipe", "Lineage",
        "History", "How to reproduce",
    ]  # fmt: skip
    assert all(page.texts["section"])
    assert f"datasets/{dataset}" in page.texts["body"][0]
    assert "The version cannot be evaluated any more" not in page.texts["body"][0]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [PROBE, FULL], ids=["linear_probe", "full"])
def test_columns_of_any_scale_are_learned_from(service: RunningService, recipe: pb.Recipe) -> None:
    """They are standardised by the training rows: the manifest has the numbers, and the next version keeps them."""
    labels = ["up" if row[0] > 0 else "down" for row in SCALED]
    name = f"scaled-{recipe.WhichOneof('recipe').replace('_', '-')}"
    dataset = service.upload(table("kind", labels, SCALED), name)
    specs = []
    for base in ("numbers", name):
        job = service.create(model=f"models/{name}", base=f"models/{base}", dataset=dataset.name, recipe=recipe)
        job = service.await_end(job.name)
        assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
        assert job.metrics.values["accuracy"] > 0.85
        version = service.store.get_version(parse_version(job.version, "version"))
        specs.append(service.store.manifest(version).input_spec)
    request = pb.EvaluateModelVersionRequest(name=job.version, dataset=dataset.name)
    evaluation = list(service.training.EvaluateModelVersion(request, timeout=TIMEOUT))[-1].evaluation
    assert evaluation.metrics.values["accuracy"] == job.metrics.values["accuracy"]
    assert specs[0] == specs[1]
    assert np.all(np.abs(specs[0]["mean"] - SCALED.mean(axis=0)) < 0.2 * np.array(specs[0]["std"]))
    np.testing.assert_allclose(specs[0]["std"], [1, 1, 10_000, 1], rtol=0.2)
    assert specs[0]["mean"][3] == 7
