"""A service tells whether what a version is asked still is like what it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from maas.inference.v1 import inference_pb2 as pb

from model_store.calibration import write_calibration
from model_store.drift import Reference
from model_store.modalities import Batch, Rows, X
from model_store.modalities.values.spec import ValuesInputSpec
from model_store.names import VersionName
from model_store.transactions.publication import Publication
from tests.inference_service.making import WIDTHS, Registry, mlp, mlp_manifest
from tests.inference_service.running import TIMEOUT, RunningService, running_service, until

NAME = VersionName("numbers", 1)
WINDOW = 50


def numbers(count: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return rows for the model."""
    return np.random.default_rng(seed).normal(size=(count, WIDTHS[0])).astype(np.float32)


def batch(seed: int) -> Batch:
    """Return rows as the model's chain takes them."""
    return Batch({X: torch.from_numpy(numbers(200, seed))}, 200)


@pytest.fixture
def registry(registry: Registry) -> Registry:
    """A registry with a version that knows what its rows were like."""
    base = mlp()
    chain = base.chain
    with torch.inference_mode():
        trained, held_out = (chain.embed(batch(seed)).numpy() for seed in (1, 2))
        scores = chain(batch(2)).softmax(1).numpy()
    reference = Reference.of(trained, held_out, scores, "softmax")
    some = Rows({X: numbers(5, 2)}, 5)
    written = write_calibration(registry.store.blobs, chain, some, ValuesInputSpec(WIDTHS[0]), reference)
    made = Publication(NAME.model_id, mlp_manifest(registry.store.blobs, base), calibration=written)
    registry.store.publish(made)
    return registry


def ask(service: RunningService, rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> pb.PredictResponse:
    """Predict rows of numbers in one request."""
    examples = [pb.Example(values=pb.Values(numbers=row)) for row in rows.tolist()]
    return service.stub.Predict(pb.PredictRequest(name=str(NAME), examples=examples), timeout=TIMEOUT)


def served(service: RunningService) -> pb.ServedVersion:
    """Return the state of the version."""
    return service.state(NAME.model_id).versions[0]


@pytest.mark.usefixtures("registry")
def test_drift_is_told_once_the_window_is_full(tmp_path: Path) -> None:
    """Of rows as in training there is none; of others there is; answers stay as they are."""
    with running_service(tmp_path, drift_window=WINDOW) as service:
        service.await_state(NAME, pb.VERSION_STATE_READY)
        answered = ask(service, numbers(WINDOW - 10, 3))
        assert len(answered.predictions) == WINDOW - 10
        assert (served(service).drift.row_count, list(served(service).drift.comparisons)) == (WINDOW - 10, [])
        until(lambda: bool(ask(service, numbers(30, 4))) and len(served(service).drift.comparisons) == 3)
        drift = served(service).drift
        assert (drift.row_count, drift.drifted) == (WINDOW, False)
        assert [each.name for each in drift.comparisons] == ["distance", "label", "confidence"]
        until(lambda: bool(ask(service, numbers(WINDOW + 20, 5) + 5)) and served(service).drift.drifted)
        found = {each.name: each.psi > each.bound for each in served(service).drift.comparisons}
        assert found["distance"]


@pytest.mark.usefixtures("registry")
def test_the_operator_turns_it_off(tmp_path: Path) -> None:
    """Then nothing is compared, and nothing told."""
    with running_service(tmp_path, drift_window=0) as service:
        service.await_state(NAME, pb.VERSION_STATE_READY)
        ask(service, numbers(WINDOW, 3))
        assert not served(service).HasField("drift")
