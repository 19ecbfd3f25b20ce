"""What an authenticator finds out of a call is in the history of what the call changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from google.protobuf.field_mask_pb2 import FieldMask
from maas.model_store.v1 import model_store_pb2 as pb
from maas.training.v1 import training_pb2 as training_pb

from grpc_runtime.principals import authenticated, current_principal
from tests.training_service.making import photos, publish_base, tar_of
from tests.training_service.running import TIMEOUT, RunningService, running_service

ANN = "https://login.example.com#ann"
LIVE = "models/base/aliases/live"


def change_everything(service: RunningService) -> None:
    """Let every RPC that writes change something; the store already has `base`, published without a principal."""
    registry, training = service.registry, service.training
    service.upload(tar_of(photos()))
    job = service.create(model="models/flowers")
    training.PauseTrainingJob(training_pb.PauseTrainingJobRequest(name=job.name))
    training.CancelTrainingJob(training_pb.CancelTrainingJobRequest(name=job.name))
    training.DeleteDataset(training_pb.DeleteDatasetRequest(name="datasets/photos"))
    training.UndeleteDataset(training_pb.UndeleteDatasetRequest(name="datasets/photos"))
    registry.CreateModel(pb.CreateModelRequest(model_id="roses"))
    registry.UpdateModel(
        pb.UpdateModelRequest(
            model=pb.Model(name="models/roses", description="Red."), update_mask=FieldMask(paths=["description"])
        )
    )
    registry.DeleteModel(pb.DeleteModelRequest(name="models/roses"))
    registry.UndeleteModel(pb.UndeleteModelRequest(name="models/roses"))
    registry.SetAlias(pb.SetAliasRequest(name=LIVE, version="models/base/versions/1", actor="script"))
    registry.DeleteAlias(pb.DeleteAliasRequest(name=LIVE))


def test_a_call_is_noted_under_its_principal(tmp_path: Path) -> None:
    """Changes, alias moves, datasets and jobs all name who was authenticated; `actor` stays what the caller wrote."""
    with running_service(tmp_path, num_concurrent_jobs=0, principal=ANN) as service:
        publish_base(service.store)
        change_everything(service)
        watched = service.registry.WatchChanges(pb.WatchChangesRequest(after_sequence=1), timeout=TIMEOUT)
        changes = [next(watched) for _ in range(12)]
        watched.cancel()
        assert {change.principal for change in changes} == {ANN}
        moves = service.registry.ListAliasHistory(pb.ListAliasHistoryRequest(parent=LIVE)).moves
        assert [(move.principal, move.actor) for move in moves] == [(ANN, ""), (ANN, "script")]
        (job,) = service.training.ListTrainingJobs(training_pb.ListTrainingJobsRequest()).training_jobs
        (dataset,) = service.training.ListDatasets(training_pb.ListDatasetsRequest()).datasets
        assert (job.principal, dataset.principal) == (ANN, ANN)
        nodes = service.registry.GetLineage(pb.GetLineageRequest(name=job.name)).nodes
        assert [(node.name, node.principal) for node in nodes] == [(job.name, ANN)]


def test_a_call_that_is_not_authenticated_has_no_principal(ready_service: RunningService) -> None:
    """It is empty, not a name that anybody chose."""
    assert ready_service.create().principal == ""


def test_each_task_has_its_own_principal() -> None:
    """Calls that run at once do not see one another's, and none is left behind."""

    async def call(name: str) -> str:
        with authenticated(name):
            await asyncio.sleep(0)
            return current_principal()

    async def calls() -> list[str]:
        return [*await asyncio.gather(call("ann"), call("ben")), current_principal()]

    assert asyncio.run(calls()) == ["ann", "ben", ""]
