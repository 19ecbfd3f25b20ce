"""Jobs on recordings: from an archive to a version that serves, by every recipe that makes sense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.architectures import Head, build_random
from model_store.bases.catalogue import LoadedBase
from model_store.calibration import read_calibration
from model_store.manifests import ManifestStage
from model_store.modalities.audio.spec import AudioInputSpec
from model_store.names import parse_version
from model_store.registry.models import ModelStore
from model_store.tensors.stages import write_stages
from model_store.transactions.publication import Publication
from tests.training_service.making import tar_of
from tests.training_service.modalities.audio.sounds import RATE, sounds
from tests.training_service.reports.pages import report
from tests.training_service.running import TIMEOUT, RunningService, running_service

SPEC = AudioInputSpec(rate=RATE, window=12_512, hop=6_256, max_windows=8)
RATES = {"optimizer": {"learning_rate": 3e-3}, "backbone_learning_rate_factor": 1}
RECIPES = {
    "linear_probe": pb.Recipe(linear_probe={}),
    "last_stages": pb.Recipe(last_stages={"epoch_count": 3, **RATES}),
    "full": pb.Recipe(full={"epoch_count": 2, **RATES}),
    "scratch": pb.Recipe(scratch={"epoch_count": 8, "optimizer": {"adamw": {}, "learning_rate": 1e-2}}),
}
SLOW = ("last_stages", "scratch", "full")
BASES = {"scratch": "recurrent"}
"""The base of a recipe that begins at random: a small network, which a few epochs are enough for."""
PRODUCTION = "models/linear-probe/aliases/production"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a network of random weights, and recordings of two kinds."""
    with running_service(tmp_path_factory.mktemp("home"), lease_seconds=60) as running:
        publish(running.store, "listener", "speech_embedding")
        publish(running.store, "recurrent", "audio_lstm")
        running.upload(tar_of(sounds(24)), "sounds")
        yield running


def publish(store: ModelStore, model_id: str, architecture: str) -> None:
    """Publish a backbone of random weights."""
    chain = build_random(architecture, {}, Head("none"), seed=0).eval()
    base = LoadedBase(architecture, {}, chain, Head("none"), SPEC, (), {"source": "random"})
    stored = write_stages(store.blobs, {name: chain.stage_tensors(name) for name in chain.stage_names})
    manifest = base.manifest([ManifestStage(name, blob.digest) for name, blob in stored.items()])
    store.publish(Publication(model_id, manifest))


@pytest.mark.parametrize(
    "recipe", [pytest.param(each, marks=pytest.mark.slow) if each in SLOW else each for each in RECIPES]
)
def test_a_recipe_learns_from_recordings(service: RunningService, recipe: str) -> None:
    """Of several lengths; the version keeps the base's windows, shares its frozen stages, and can be calibrated."""
    base = BASES.get(recipe, "listener")
    job = train(service, recipe, base=f"models/{base}")
    assert job.metrics.values["accuracy"] > 0.7
    version = service.store.get_version(parse_version(job.version, "version"))
    manifest = service.store.manifest(version)
    assert AudioInputSpec.from_json(manifest.input_spec) == SPEC
    parent = service.store.manifest(service.store.get_version(parse_version(f"models/{base}/versions/1", "version")))
    assert manifest.stages[0] == parent.stages[0]
    assert version.calibration is not None
    kept = read_calibration(service.store.blobs, version.calibration, SPEC, len(manifest.names))
    assert kept.logits.shape == (len(kept.rows), 2)
    request = pb.EvaluateModelVersionRequest(name=job.version, dataset="datasets/sounds")
    evaluation = list(service.training.EvaluateModelVersion(request, timeout=TIMEOUT))[-1].evaluation
    assert evaluation.metrics.values["accuracy"] == pytest.approx(job.metrics.values["accuracy"], abs=1e-4)


def test_the_gate_promotes_a_version_and_refuses_the_next(service: RunningService) -> None:
    """The second one is compared with it on the same recordings; the report has all sections."""
    first = train(service, "linear_probe", promote=pb.Promote(alias=PRODUCTION, min_rows=1))
    assert first.promotion.state == pb.PROMOTION_STATE_PROMOTED
    head = pb.Recipe(fit_head={"head": {"nearest_centroid": {}}})
    second = train(
        service, "linear_probe", recipe=head, promote=pb.Promote(alias=PRODUCTION, min_delta=2.0, min_rows=1)
    )
    assert second.promotion.state == pb.PROMOTION_STATE_REFUSED
    assert second.promotion.incumbent_figure == pytest.approx(first.metrics.values["accuracy"])
    assert (second.promotion.row_count, second.promotion.left_out_row_count) == (first.promotion.row_count, 0)
    page = report(service, second.name)
    assert {"Verdict", "Confusions", "Data", "Lineage"} <= set(page.texts["h2"])
    assert all(page.texts["section"])
    assert "hiss" in page.texts["body"][0]


def train(service: RunningService, name: str, **asked: Any) -> pb.TrainingJob:
    """Fine-tune on the recordings, by the recipe of this name where no other is asked for; return the ended job."""
    asked = {"base": "models/listener", "recipe": RECIPES[name], **asked}
    job = service.create(model=f"models/{name.replace('_', '-')}", dataset="datasets/sounds", **asked)
    job = service.await_end(job.name)
    assert job.state == pb.TRAINING_JOB_STATE_SUCCEEDED, job.error
    return job
