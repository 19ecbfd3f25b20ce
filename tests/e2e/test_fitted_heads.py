"""Heads that scikit-learn fits, through the whole service: CSV file with splits, jobs, versions, answers over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from maas.inference.v1 import inference_pb2
from sklearn.datasets import load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.naive_bayes import GaussianNB

from maas_client.client import Client
from tests.e2e.conftest import start_serving

ROWS, LABELS = load_wine(return_X_y=True)
ROWS = ROWS.astype(np.float32)
SPLITS = np.array(["train", "train", "validation", "test"])[np.arange(len(ROWS)) % 4]
TEST = SPLITS == "test"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of both services, with the base `rows` of wine's columns, and the dataset `wine`."""
    with start_serving(tmp_path_factory.mktemp("home")) as client:
        client.import_base("rows", widths=[ROWS.shape[1]])
        client.upload_dataset("wine", table(tmp_path_factory.mktemp("data") / "wine.csv"))
        yield client


def table(path: Path) -> Path:
    """Write the rows of wine, with a column that names the split of each."""
    columns = [*(f"c{number}" for number in range(ROWS.shape[1])), "split", "kind"]
    lines = [
        ",".join([*map(repr, map(float, row)), split, f"kind {label}"])
        for row, split, label in zip(ROWS, SPLITS, LABELS, strict=True)
    ]
    path.write_text("\n".join([",".join(columns), *lines]))
    return path


def fitted(client: Client, model: str, base: str = "rows", **fields: float | str) -> str:
    """Fine-tune on wine until the version is ready, and return its name."""
    queued = client.finetune(model, base=base, dataset="wine", **fields)  # type: ignore[arg-type]  # each of its kind
    job = client.wait(queued.name)
    client.wait_ready(job.version)
    return job.version


def scores_of(answer: inference_pb2.PredictResponse) -> npt.NDArray[np.float64]:
    """Return the scores of all rows, by the order of the labels."""
    return np.array(
        [[s.score for s in sorted(each.classification.scores, key=lambda s: s.label)] for each in answer.predictions]
    )


TREES = HistGradientBoostingClassifier(max_iter=20, early_stopping=False, random_state=0)


@pytest.mark.parametrize(
    ("head", "field", "value", "model"),
    [("gaussian_nb", "smoothing", 1e-9, GaussianNB()), ("gradient_boosting", "tree_count", 20, TREES)],
    ids=["gaussian_nb", "gradient_boosting"],
)
def test_an_answer_over_grpc_is_scikit_learns(serving: Client, head: str, field: str, value: float, model: Any) -> None:
    """The version's accuracy to the digit, and its scores, divided by the temperature."""
    model_id = head.replace("_", "-")
    name = fitted(serving, model_id, head=head, **{field: value})
    version = serving.version(name)
    seen = ~TEST
    model.fit(ROWS[seen].astype(np.float64), LABELS[seen])
    assert version.metrics.values["accuracy"] == model.score(ROWS[TEST].astype(np.float64), LABELS[TEST])
    found = scores_of(serving.predict(model_id, list(ROWS[TEST]), top_k=3))
    logs = (
        np.log(model.predict_proba(ROWS[TEST].astype(np.float64)) + 1e-300) / version.metrics.classification.temperature
    )
    expected = np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    embedded = serving.embed(model_id, list(ROWS[:2]))
    np.testing.assert_array_equal([list(each.values) for each in embedded.embeddings], ROWS[:2])


def test_versions_with_fitted_heads_are_like_others(serving: Client, tmp_path: Path) -> None:
    """They are exported and imported, and fine-tuned by gradients and by other heads; all share the stage of rows."""
    name = fitted(serving, "logistic", head="logistic_regression")
    path = tmp_path / "logistic.maas"
    serving.export(name, path)
    copy = serving.import_archive(path, model="copy")
    assert copy.stages == serving.version(name).stages
    serving.wait_ready(copy.name)
    answers = [scores_of(serving.predict(each, list(ROWS[TEST]))) for each in (name, copy.name)]
    np.testing.assert_array_equal(*answers)
    full = serving.version(fitted(serving, "full", base="logistic", recipe="full", epoch_count=1))
    assert full.stages[0] == copy.stages[0]
    assert full.stages[1] != copy.stages[1]


def test_drift_is_told_of_rows_that_are_not_like_those_of_training(serving: Client) -> None:
    """Held-out rows are; rows of twice the numbers are not."""
    name = fitted(serving, "drifting", head="gaussian_nb")

    def drift_of(rows: npt.NDArray[np.float32]) -> inference_pb2.Drift:
        chosen = np.random.default_rng(0).choice(len(rows), 200)
        serving.predict("drifting", list(rows[chosen]))
        (found,) = (each for each in serving.served_model("drifting").versions if each.name == name)
        return found.drift

    alike = drift_of(ROWS[TEST])
    assert (alike.row_count, alike.drifted) == (200, False)
    assert [each.name for each in alike.comparisons] == ["distance", "label", "confidence"]
    assert drift_of(2 * ROWS[TEST]).drifted
