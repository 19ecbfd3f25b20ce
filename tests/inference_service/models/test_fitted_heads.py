"""Fitted heads in serving: no precision changes their numbers, and tensors that cannot run are not loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from inference_service.execution.executor import Executor
from inference_service.models.loader import Loader
from inference_service.models.resident import ResidentVersion
from model_store.architectures import Head, with_fitted_head
from model_store.bases.tabular import load_rows
from model_store.blobs.local import LocalBlobs
from model_store.errors import InvalidManifest
from model_store.manifests import ManifestStage
from model_store.modalities import Batch
from model_store.names import VersionName
from model_store.tasks import Classification
from model_store.tensors.stages import write_stages

CPU = torch.device("cpu")
ROWS = torch.tensor([[1.0 + 2**-19, 3.0], [1.0, 3.0]])
TENSORS = {
    "seen": torch.tensor([0, 1]),
    "mean": torch.tensor([[1.0, 3.0], [1.0 + 2**-19, 3.0]], dtype=torch.float64),
    "variance": torch.full((2, 2), 1e-14, dtype=torch.float64),
    "log_prior": torch.zeros(2, dtype=torch.float64),
}
"""Two labels whose centres no precision below float32 tells apart."""


def loaded(blobs: LocalBlobs, tensors: dict[str, torch.Tensor], precision: str) -> ResidentVersion:
    """Load naive Bayes behind rows of two numbers, in a precision of backbones."""
    base = load_rows(2)
    head = Head("gaussian_nb", 2, "softmax", {"seen": 2})
    stages = {"row": {}, "head": tensors}
    stored = [ManifestStage(name, blob.digest) for name, blob in write_stages(blobs, stages).items()]
    made = replace(base.manifest(stored), task=Classification(("low", "high")), head=head.to_json())
    loader = Loader(blobs, CPU, Executor(CPU).warm_up, None, precision)
    return loader.load(VersionName("numbers", 1), blobs.put([made.to_json()]).digest)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_no_precision_changes_its_numbers(blobs: LocalBlobs, precision: str) -> None:
    """The rows and the tensors of the head stay as they are, in float64."""
    version = loaded(blobs, TENSORS, precision)
    chain = with_fitted_head(load_rows(2).chain, Head("gaussian_nb", 2, "softmax", {"seen": 2}))
    chain.load_stage("head", TENSORS)
    features = version.features(Batch.of(ROWS))
    assert version.head is not None
    assert {each.dtype for each in version.head.module.state_dict().values()} == {torch.float64, torch.int64}
    found = version.head(features).x
    torch.testing.assert_close(found, chain(Batch.of(ROWS)), rtol=0, atol=0)
    assert found.argmax(dim=1).tolist() == [1, 0]


def test_a_head_that_cannot_run_is_not_loaded(blobs: LocalBlobs) -> None:
    """The tensor is named."""
    with pytest.raises(InvalidManifest, match="stage 'head': tensor 'variance' must be positive"):
        loaded(blobs, {**TENSORS, "variance": torch.zeros(2, 2, dtype=torch.float64)}, "float32")
