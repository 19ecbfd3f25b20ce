"""Rows of several forms in one batch, which the buffer holds one after the other."""

from __future__ import annotations

import numpy as np

from inference_service.batching.queue_entry import Part
from inference_service.execution.executor import Executor
from inference_service.execution.work import Output, Work
from inference_service.models.loader import Loader
from model_store.blobs.local import LocalBlobs
from model_store.modalities import Rows, X
from model_store.names import VersionName
from tests.inference_service.making import mlp, mlp_manifest


def test_rows_of_one_form_do_not_overwrite_those_of_another(
    loader: Loader, blobs: LocalBlobs, executor: Executor
) -> None:
    """An input spec that takes rows as they are leaves them in the buffer until the stages run."""
    version = loader.load(VersionName("numbers", 1), blobs.put([mlp_manifest(blobs, mlp()).to_json()]).digest)
    numbers = np.random.default_rng(0).normal(size=(6, 6))
    made = [Rows({X: numbers[:4].astype(np.float32)}, 4), Rows({X: numbers[4:]}, 2)]  # the same number of bytes
    parts = [Part(Work(version, each, frozenset({Output.SCORES})), 0, len(each)) for each in made]
    together = executor.run(parts)
    for part, answer in zip(parts, together, strict=True):
        (alone,) = executor.run([part])
        np.testing.assert_allclose(answer[Output.SCORES], alone[Output.SCORES], atol=1e-6)
