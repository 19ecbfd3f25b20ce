"""Any version is measured on any rows as it is served: over the wire, with progress, and a few at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import torch
from maas.training.v1 import training_pb2 as pb

from maas_client.typed.splits import split_number
from model_store.architectures import Head
from model_store.errors import InvalidInput
from model_store.modalities import Rows
from model_store.modalities.image.spec import PIXELS
from model_store.names import parse_version
from model_store.records.resources import ModelVersion
from model_store.tasks import Classification, Regression
from tests.training_service.making import photos, publish_base, publish_mlp, tar_of
from tests.training_service.running import TIMEOUT, RunningService, refused, running_service
from tests.training_service.training.test_training import answer
from training_service.datasets.splits import Split
from training_service.evaluation.evaluate_version import evaluate_version
from training_service.modalities.prepared_rows import PreparedDataset
from training_service.tasks.classification.metrics import measure

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def probe(training_service: RunningService) -> ModelVersion:
    """A linear probe of the photos: blue, green and red."""
    job = training_service.await_end(training_service.create().name)
    return training_service.store.get_version(parse_version(job.version, "version"))


def evaluate(service: RunningService, version: object, **asked: object) -> list[pb.EvaluateModelVersionResponse]:
    """Evaluate a version on the photos, or on what is asked for instead."""
    request = pb.EvaluateModelVersionRequest(**({"name": str(version), "dataset": "datasets/photos"} | asked))  # type: ignore[arg-type]
    return list(service.training.EvaluateModelVersion(request, timeout=TIMEOUT))


def test_an_evaluation_finds_what_the_job_measured(training_service: RunningService, probe: ModelVersion) -> None:
    """The same rows decoded alike, the stages as they are stored, and the temperature of the manifest."""
    *told, last = evaluate(training_service, probe.name)
    found = last.evaluation
    job = training_service.job(probe.lineage.job_name)
    assert probe.metrics is not None
    manifest = training_service.store.manifest(probe)
    detail = found.metrics.classification
    assert manifest.task.temperature == detail.temperature == job.metrics.classification.temperature
    assert detail.confusion_matrix == job.metrics.classification.confusion_matrix
    assert dict(found.metrics.values) == pytest.approx(dict(job.metrics.values), abs=1e-5)
    assert {"accuracy", "macro_f1", "log_loss", "expected_calibration_error"} <= set(found.metrics.values)
    assert (found.version, found.dataset, list(found.unknown_labels)) == (str(probe.name), "datasets/photos", [])
    assert (found.metrics.split, found.metrics.row_count) == ("test", 9)
    assert all(each.WhichOneof("part") == "progress" for each in told)
    shares = [each.progress.fraction_done for each in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {each.progress.phase for each in told} == {pb.PHASE_DECODING, pb.PHASE_EVALUATING}


@pytest.mark.usefixtures("probe")
@pytest.mark.parametrize(("split", "num_rows"), [("train", 21), ("validation", 6), ("all", 36)])
def test_any_split_can_be_measured(training_service: RunningService, split: str, num_rows: int) -> None:
    """By the model's alias or newest version too."""
    metrics = evaluate(training_service, "models/flowers", split=split_number(split))[-1].evaluation.metrics
    assert (metrics.split, metrics.row_count) == (split, num_rows)


def test_labels_are_matched_by_name(training_service: RunningService, probe: ModelVersion) -> None:
    """In whatever order; one that the version lacks is refused, or its rows are counted as wrong."""
    training_service.upload(tar_of(photos(4, ("green", "red"))), "fewer")
    *_, last = evaluate(training_service, probe.name, dataset="datasets/fewer", split=pb.SPLIT_ALL)
    assert last.evaluation.metrics.values["accuracy"] == 1.0
    assert [each.support for each in last.evaluation.metrics.classification.labels] == [0, 4, 4]
    renamed = {path.replace("red", "zinnober"): data for path, data in photos(4, ("green", "red")).items()}
    training_service.upload(tar_of(renamed), "renamed")
    asked = {"dataset": "datasets/renamed", "split": pb.SPLIT_ALL}
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "'zinnober'", fields=["dataset"]):
        evaluate(training_service, probe.name, **asked)
    *_, last = evaluate(training_service, probe.name, **asked, allow_unknown_labels=True)
    found = last.evaluation
    assert (found.metrics.values["accuracy"], list(found.unknown_labels)) == (0.5, ["zinnober"])
    assert [each.label for each in found.metrics.classification.labels] == ["blue", "green", "red", "zinnober"]
    assert "log_loss" not in found.metrics.values
    strange = {path.replace("red", "a").replace("green", "b"): data for path, data in renamed.items()}
    training_service.upload(tar_of({path.replace("zinnober", "a"): data for path, data in strange.items()}), "strange")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "lacks"):
        evaluate(training_service, probe.name, dataset="datasets/strange", allow_unknown_labels=True)


def test_what_cannot_be_evaluated_is_refused(training_service: RunningService, probe: ModelVersion) -> None:
    """Names that mean nothing, a split that is none, a backbone, and a model of numbers."""
    with refused(grpc.StatusCode.NOT_FOUND):
        evaluate(training_service, "models/flowers/versions/99")
    with refused(grpc.StatusCode.NOT_FOUND):
        evaluate(training_service, probe.name, dataset="datasets/none")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, fields=["split"]):
        evaluate(training_service, probe.name, split=99)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "without labels"):
        evaluate(training_service, "models/base")
    publish_mlp(training_service.store, "numbers")
    text = "takes examples of the modality values, and datasets/photos has those of image"
    with refused(grpc.StatusCode.INVALID_ARGUMENT, text, fields=["dataset"]):
        evaluate(training_service, "models/numbers")


def test_a_head_of_another_kind_is_evaluated_too(training_service: RunningService) -> None:
    """A published model with its own convolutional head, and labels that the dataset has not."""
    head = Head("conv", 4)
    version = publish_base(training_service.store, "conv", head)
    assert training_service.store.manifest(version).names == ("label 0", "label 1", "label 2", "label 3")
    files = {path.replace("red", "label 2").replace("blue", "label 0"): data for path, data in photos(5).items()}
    training_service.upload(tar_of(files), "numbered")
    *_, last = evaluate(training_service, version.name, dataset="datasets/numbered", split=pb.SPLIT_ALL)
    assert [each.support for each in last.evaluation.metrics.classification.labels] == [5, 0, 5, 0]


def test_the_plain_function_measures_what_the_version_answers(
    training_service: RunningService, probe: ModelVersion
) -> None:
    """Logits in the order of the positions, and the metrics of exactly these."""
    store, manifest = training_service.store, training_service.store.manifest(probe)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (100, 64, 64, 3)).astype(np.uint8)
    labels = random.integers(0, 2, 100)
    data = PreparedDataset(Rows({PIXELS: pixels}, len(pixels)), labels, {split: np.arange(0) for split in Split})
    positions, told = random.permutation(100)[:70], []
    found = evaluate_version(
        store.blobs,
        manifest,
        data,
        Classification(("red", "blue")),
        positions,
        split="some",
        device=CPU,
        check_going_on=lambda: None,
        on_rows=told.append,
    )
    np.testing.assert_allclose(found.answers.outputs, answer(store, manifest, pixels[positions]).numpy(), atol=1e-4)
    assert found.answers.targets.tolist() == [[2, 0][label] for label in labels[positions]]
    assert found.metrics == measure(found.answers, "some")
    assert told == [64, 70]


class _Gone(Exception):
    """Nobody waits any more."""


def test_an_evaluation_ends_when_it_is_told_to(training_service: RunningService, probe: ModelVersion) -> None:
    """Between two batches."""
    manifest, told = training_service.store.manifest(probe), []
    pixels = np.zeros((500, 64, 64, 3), np.uint8)
    data = PreparedDataset(Rows({PIXELS: pixels}, len(pixels)), np.zeros(500, np.int64), {})

    def check_going_on() -> None:
        if told:
            raise _Gone

    with pytest.raises(_Gone):
        evaluate_version(
            training_service.store.blobs,
            manifest,
            data,
            Classification(("red",)),
            np.arange(500),
            split="all",
            device=CPU,
            check_going_on=check_going_on,
            on_rows=told.append,
        )
    assert told == [64]


def test_a_dataset_of_another_task_is_refused(training_service: RunningService, probe: ModelVersion) -> None:
    """The text names both tasks."""
    rows = Rows({PIXELS: np.zeros((5, 64, 64, 3), np.uint8)}, 5)
    data = PreparedDataset(rows, np.zeros((5, 1), np.float32), {})
    with pytest.raises(InvalidInput, match="regression, and the version's task is classification"):
        evaluate_version(
            training_service.store.blobs,
            training_service.store.manifest(probe),
            data,
            Regression(("price",)),
            np.arange(5),
            split="all",
            device=CPU,
            check_going_on=lambda: None,
        )


@pytest.fixture
def small_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that evaluates one version at a time, with a classifier and many photos."""
    home = tmp_path_factory.mktemp("home")
    with running_service(home, num_concurrent_jobs=0, num_concurrent_evaluations=1, drain_seconds=0.1) as running:
        publish_base(running.store, "conv", Head("conv", 2))
        files = {path.replace("red", "label 1").replace("blue", "label 0"): data for path, data in photos(150).items()}
        running.upload(tar_of(files))
        yield running


def test_what_comes_beyond_the_bound_is_refused_and_a_place_is_free_again(small_service: RunningService) -> None:
    """A caller that goes frees its place: its work ends in the middle."""
    request = pb.EvaluateModelVersionRequest(name="models/conv", dataset="datasets/photos", split=pb.SPLIT_ALL)
    running = small_service.training.EvaluateModelVersion(request, timeout=TIMEOUT)
    assert next(running).progress.fraction_done < 1
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "1 evaluations"):
        list(small_service.training.EvaluateModelVersion(request, timeout=TIMEOUT))
    running.cancel()

    def is_free() -> bool:
        try:
            return next(small_service.training.EvaluateModelVersion(request, timeout=TIMEOUT)).HasField("progress")
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017  it is asked again
            return False

    give_up = threading.Event()
    for _ in range(1000):
        if is_free():
            return
        give_up.wait(0.02)
    raise AssertionError("the place was never free again")


def test_a_service_that_stops_leaves_no_evaluation_behind(small_service: RunningService) -> None:
    """It waits for one as long as for any other call, and the caller is told."""
    request = pb.EvaluateModelVersionRequest(name="models/conv", dataset="datasets/photos", split=pb.SPLIT_ALL)
    running = small_service.training.EvaluateModelVersion(request, timeout=TIMEOUT)
    assert next(running).progress.fraction_done < 1
    small_service.stop()
    with pytest.raises(grpc.RpcError) as ended:
        list(running)
    assert ended.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
