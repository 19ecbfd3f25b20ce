"""One call trains, measures, gates, promotes and hot-loads, and is followed until the other service serves."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from maas.training.v1 import training_pb2 as pb

from maas_client.client import Client
from maas_client.demo.traffic import Traffic
from maas_client.stack.processes import TRAINING, Stack
from tests.e2e.conftest import start_serving

PRODUCTION = "models/shapes/aliases/production"


@pytest.fixture(scope="module")
def served(shared_client: Client, photos: Path) -> pb.TrainingJob:
    """The job whose version was promoted first."""
    shared_client.upload_dataset("shapes", photos)
    return promoted(shared_client)


def promoted(client: Client, recipe: str = "linear_probe", **promote: Any) -> pb.TrainingJob:
    """Fine-tune, promote, and wait until all that was promised has come."""
    gate = pb.Promote(alias="models/shapes/aliases/production", min_rows=1, **promote)
    job = client.finetune("shapes", base="squeezenet", dataset="shapes", recipe=recipe, fit="crop", promote=gate)
    states = [each.promotion.state for each in client.watch(job.name) if each.WhichOneof("event") == "promotion"]
    ended = client.job(job.name)
    assert ended.state == pb.TRAINING_JOB_STATE_SUCCEEDED, ended.error
    assert states[-1] == ended.promotion.state
    return ended


def test_the_watch_ends_when_the_version_answers(served: pb.TrainingJob, shared_client: Client, photos: Path) -> None:
    """The first request after it is answered by the new version."""
    assert served.promotion.state == pb.PROMOTION_STATE_SERVING, served.promotion
    assert served.promotion.incumbent == ""
    answer = shared_client.predict("shapes@production", [next(photos.rglob("*.png"))])
    assert answer.version == served.version


def test_a_refusal_leaves_the_alias_and_says_why(served: pb.TrainingJob, shared_client: Client, photos: Path) -> None:
    """In the job and in the history, with both figures; the version is there, and can be promoted by hand."""
    refused = promoted(shared_client, min_delta=1.1)
    assert refused.promotion.state == pb.PROMOTION_STATE_REFUSED
    assert refused.promotion.incumbent == served.version
    assert refused.promotion.figure == refused.metrics.values["accuracy"]
    assert refused.promotion.incumbent_figure == served.metrics.values["accuracy"]
    entry = next(shared_client.alias_history("shapes", "production"))
    assert (entry.refused, entry.to_version, entry.reason) == (True, refused.version, refused.promotion.reason)
    assert shared_client.predict("shapes@production", [next(photos.rglob("*.png"))]).version == served.version


def test_a_shadow_takes_over_after_its_time(served: pb.TrainingJob, shared_client: Client, photos: Path) -> None:
    """No request fails, and what both versions said was compared."""
    some = sorted(photos.rglob("*.png"))[:4]
    with Traffic(shared_client.settings, "shapes@production", some, num_clients=2, pause_seconds=0.02) as traffic:
        job = promoted(shared_client, min_delta=-1, shadow_for=timedelta(seconds=3))
        traffic.first_answer_from(job.version, timeout_seconds=30)
    assert job.promotion.state == pb.PROMOTION_STATE_SERVING, job.promotion
    assert traffic.num_failed == 0
    assert {answer.version for answer in traffic.answers} == {served.version, job.version}
    moves = [move for move in shared_client.alias_history("shapes", "production") if not move.refused]
    assert [move.to_version for move in moves] == [job.version, served.version, served.version, served.version]
    assert moves[2].shadow.version == job.version
    num_compared = int(moves[0].reason.partition("shadowed ")[2].split()[0])
    assert num_compared > 0


@pytest.mark.slow
def test_a_shadow_that_saw_too_few_requests_is_refused(tmp_path: Path, photos: Path) -> None:
    """It waits for more as long as the operator lets it, and then says what to do; with enough of them it moves on."""
    with start_serving(tmp_path / "home", {"MAAS_TRAINING_PROMOTION_PATIENCE_SECONDS": "4"}) as client:
        client.upload_dataset("shapes", photos)
        served = promoted(client)
        job = promoted(client, min_delta=-1, shadow_for=timedelta(seconds=1), shadow_min_rows=5)
        assert job.promotion.state == pb.PROMOTION_STATE_REFUSED
        assert "ran on 0 rows as a shadow, and at least 5 are asked for (shadow_min_rows)" in job.promotion.reason
        assert client.model("shapes").aliases[0].version == served.version


@pytest.mark.slow
def test_a_kill_between_publishing_and_serving_loses_no_promotion(client: Client, stack: Stack, photos: Path) -> None:
    """A service that is back goes on where the promotion stood."""
    client.upload_dataset("shapes", photos)
    served = promoted(client)
    gate = pb.Promote(
        alias="models/shapes/aliases/production",
        min_rows=1,
        min_delta=-1,
        shadow_for=timedelta(seconds=2),
        shadow_min_rows=0,
    )
    job = client.finetune(
        "shapes", base="squeezenet", dataset="shapes", recipe="linear_probe", fit="crop", promote=gate
    )
    for event in client.watch(job.name):
        if event.promotion.state == pb.PROMOTION_STATE_SHADOWING:
            break
    stack.services[TRAINING.module].kill()
    stack.start(TRAINING)
    with Client(stack.await_serving()) as after:
        for _ in after.watch(job.name):
            pass
        ended = after.job(job.name)
        assert ended.promotion.state == pb.PROMOTION_STATE_SERVING, ended.promotion
        assert ended.version != served.version
        assert after.model("shapes").aliases[0].version == ended.version
