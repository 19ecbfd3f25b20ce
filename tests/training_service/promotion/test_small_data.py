"""On a small dataset versions are compared on all rows, each answered by runs of both recipes without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from maas.model_store.v1 import model_store_pb2
from maas.training.v1 import training_pb2 as pb

from model_store.names import parse_version
from model_store.records.resources import ModelVersion
from tests.training_service.making import publish_mlp
from tests.training_service.reports.pages import report
from tests.training_service.running import TIMEOUT, RunningService, running_service
from training_service.evaluation.held_out import paired, read_held_out
from training_service.training.cross_validation.folds import PLANS

NUM_ROWS = 150
PRODUCTION = "models/rows/aliases/production"
NEIGHBOURS, LINE = (
    pb.Recipe(fit_head={"head": head}) for head in ({"nearest_neighbours": {}}, {"logistic_regression": {}})
)


def table(num_rows: int, first_row: int = 0) -> bytes:
    """Return rows of two numbers, whose label is whether both have one sign: nothing for a line to tell."""
    numbers = np.random.default_rng(0).standard_normal((first_row + num_rows, 2)).round(4)[first_row:]
    return "\n".join(["a,b,kind", *(f"{a},{b},{'same' if a * b > 0 else 'other'}" for a, b in numbers)]).encode()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the service's store."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[RunningService]:
    """A service with a small dataset, and a base of two numbers."""
    with running_service(home, cross_validation_seconds=3600) as running:
        publish_mlp(running.store, "numbers", (2, 8))
        running.upload(table(NUM_ROWS), "rows")
        running.upload(table(30, NUM_ROWS), "appended", parent="datasets/rows")
        yield running


def train(service: RunningService, dataset: str = "rows", **asked: object) -> pb.TrainingJob:
    """Train on a dataset and return the ended job."""
    asked = {"model": "models/rows", "dataset": f"datasets/{dataset}", "recipe": NEIGHBOURS, **asked}
    job = service.await_end(service.create(**asked).name)
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    return job


def version_of(service: RunningService, job: pb.TrainingJob) -> ModelVersion:
    """Return the version of a job."""
    return service.store.get_version(parse_version(job.version, "version"))


@pytest.fixture(scope="module")
def served(service: RunningService) -> pb.TrainingJob:
    """The first version behind the alias, whose head can tell the two signs."""
    return train(service, base="", promote=pb.Promote(alias=PRODUCTION, threshold=0.75))


def test_a_threshold_is_for_left_out_rows(served: pb.TrainingJob) -> None:
    """Of them there are more than test rows."""
    promotion, found = served.promotion, served.metrics.cross_validation
    assert (promotion.row_count, promotion.cross_validated, promotion.figure) == (NUM_ROWS, True, found.value)
    assert (found.fold_count, found.repeat_count) == (PLANS[0].num_folds, PLANS[0].num_repeats)
    assert f"on {NUM_ROWS} rows left out in cross-validation" in promotion.reason


def test_versions_are_compared_on_all_rows(service: RunningService, served: pb.TrainingJob) -> None:
    """A line, which cannot tell them, is refused, and the report says on which rows, and how sure that is."""
    job = train(service, base="", recipe=LINE, promote=pb.Promote(alias=PRODUCTION))
    promotion = job.promotion
    assert (promotion.state, promotion.row_count) == (pb.PROMOTION_STATE_REFUSED, NUM_ROWS)
    assert promotion.incumbent_figure == served.promotion.figure
    assert promotion.p_value < 0.01
    text = " ".join(report(service, job.name).texts["body"][0].split())
    assert f"The version did not pass the gate of {PRODUCTION}: its accuracy is" in text
    assert "lower, larger than noise; it must be no worse beyond noise" in text
    assert f"{NUM_ROWS} rows left out in cross-validation" in text
    assert f"{promotion.p_value:.2g}" in text


def test_rows_in_common_are_found_in_a_dataset_that_was_appended_to(
    service: RunningService, served: pb.TrainingJob
) -> None:
    """The new rows are left out of the comparison: the other version has no answers for them."""
    job = train(service, "appended", base="", promote=pb.Promote(alias=PRODUCTION, min_delta=-0.2))
    assert (job.promotion.state, job.promotion.row_count) == (pb.PROMOTION_STATE_PROMOTED, NUM_ROWS)
    kept = [read_held_out(service.store, version_of(service, each)) for each in (job, served)]
    assert [len(each) for each in kept if each is not None] == [NUM_ROWS + 30, NUM_ROWS]
    pairs = paired(*kept)
    assert pairs is not None
    assert len(pairs) == NUM_ROWS
    assert all(np.array_equal(own.targets, other.targets) for own, other in zip(pairs.own, pairs.other, strict=True))
    request = model_store_pb2.CompareModelVersionsRequest(first=served.version, second=job.version)
    found = service.registry.CompareModelVersions(request, timeout=TIMEOUT)
    assert (found.rows.row_count, found.rows.cross_validated, found.metrics_of_common_rows) == (NUM_ROWS, True, True)
    assert (found.rows.metric, found.rows.first, found.rows.second, found.metrics_obstacle) == (
        "accuracy",
        job.promotion.incumbent_figure,
        job.promotion.figure,
        "",
    )
    assert {each.name: each.second for each in found.metrics}["accuracy"] == job.promotion.figure


@pytest.mark.usefixtures("served")
def test_the_command_says_whether_a_difference_is_noise(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of versions of one dataset beside the metrics of its test split."""
    from maas_client.__main__ import app  # noqa: PLC0415  the client's start, which no other test here needs

    monkeypatch.setenv("MAAS_TRAINING_ADDRESS", (home / "address").read_text())
    app(["compare", "rows/1", "rows/2"], standalone_mode=False)
    told = " ".join(capsys.readouterr().out.split())
    assert f"row by row, on {NUM_ROWS} rows left out in cross-validation: accuracy" in told
    assert "is larger than noise (p = " in told


def test_rows_that_a_base_learned_from_are_not_left_out(service: RunningService, served: pb.TrainingJob) -> None:
    """What is left of them are test rows: too few, and the job keeps its answers for these."""
    job = train(service, base=served.version, recipe=pb.Recipe(linear_probe={}))
    assert not job.metrics.HasField("cross_validation")
    kept = read_held_out(service.store, version_of(service, job))
    assert kept is not None
    assert (len(kept), kept.is_cross_validated) == (job.metrics.row_count, False)
