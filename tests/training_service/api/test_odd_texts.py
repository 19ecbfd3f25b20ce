"""Every text field of every request, filled with long and odd texts, on PostgreSQL: kept, or refused by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor, message_factory
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from maas.model_store.v1 import model_store_pb2 as registry_pb
from maas.training.v1 import training_pb2 as pb

from model_store.names import VersionName
from model_store.records.job_lifecycle import DesiredAction
from model_store.records.jobs import JobSpec
from model_store.records.resources import Notes
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.transactions.publication import Publication
from tests.postgres_server import new_database
from tests.training_service.making import base_manifest, photos, publish_base, tar_of
from tests.training_service.odd_texts import TEXTS, Path, dotted, filled, text_paths
from tests.training_service.running import TIMEOUT, RunningService, running_service, upload_messages
from training_service.recipes.recipe import DEFAULTS, RecipeName

SERVICES = [
    pb.DESCRIPTOR.services_by_name["TrainingService"],
    registry_pb.DESCRIPTOR.services_by_name["ModelStoreService"],
]
METHODS = [method for service in SERVICES for method in service.methods]
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.PERMISSION_DENIED,
}
ENDLESS = {"WatchChanges"}
_numbers = count(1)


@pytest.fixture(scope="module")
def service(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service on PostgreSQL that queues jobs and runs none."""
    database = new_database(postgres)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MAAS_DATABASE_URL", database.url.render_as_string(hide_password=False))
        with running_service(tmp_path_factory.mktemp("home"), num_concurrent_jobs=0) as running:
            publish_base(running.store)
            running.upload(tar_of(photos(3)))
            yield running
    database.close()


class Requests:
    """Makes a request of each method that would be answered with OK, by its name; what it is about is new each time."""

    def __init__(self, service: RunningService) -> None:
        self._service = service
        self._store = service.store
        self._jobs = JobStore(self._store._database)
        self._archive = tar_of(photos(3))
        self._manifest = base_manifest(self._store)
        self.made: Mapping[str, Callable[[], Any]] = {
            "UploadDataset": lambda: list(upload_messages(self._archive, f"photos-{next(_numbers)}")),
            "QueryUpload": lambda: pb.QueryUploadRequest(upload_id="an-upload-that-never-was"),
            "RegisterDataset": lambda: pb.RegisterDatasetRequest(dataset_id="other", uri="file:///nowhere"),
            "PreviewDataset": lambda: pb.PreviewDatasetRequest(name="datasets/photos", example_count=1, edge=16),
            "GetDataset": lambda: pb.GetDatasetRequest(name="datasets/photos"),
            "ListDatasets": lambda: pb.ListDatasetsRequest(page_size=1),
            "DeleteDataset": lambda: pb.DeleteDatasetRequest(name=self._dataset()),
            "UndeleteDataset": lambda: pb.UndeleteDatasetRequest(name=self._dataset(deleted=True)),
            "ListDatasetRows": lambda: pb.ListDatasetRowsRequest(parent="datasets/photos", page_size=1),
            "CreateTrainingJob": lambda: pb.CreateTrainingJobRequest(
                training_job=pb.TrainingJob(
                    model="models/flowers",
                    base="models/base",
                    dataset="datasets/photos",
                    recipe=pb.Recipe(full={}),
                )
            ),
            "GetTrainingJob": lambda: pb.GetTrainingJobRequest(name=self._job()),
            "ListTrainingJobs": lambda: pb.ListTrainingJobsRequest(page_size=1),
            "CancelTrainingJob": lambda: pb.CancelTrainingJobRequest(name=self._job()),
            "PauseTrainingJob": lambda: pb.PauseTrainingJobRequest(name=self._job()),
            "ResumeTrainingJob": lambda: pb.ResumeTrainingJobRequest(name=self._job(DesiredAction.PAUSE)),
            "RetryTrainingJob": lambda: pb.RetryTrainingJobRequest(name=self._job(DesiredAction.CANCEL)),
            "WatchTrainingJob": lambda: pb.WatchTrainingJobRequest(name=self._job(DesiredAction.CANCEL)),
            "EvaluateModelVersion": lambda: pb.EvaluateModelVersionRequest(
                name="models/base", dataset="datasets/photos"
            ),
            "RecommendBases": lambda: pb.RecommendBasesRequest(dataset="datasets/photos", bases=["models/base"]),
            "GetReport": lambda: pb.GetReportRequest(name=self._job(DesiredAction.CANCEL)),
            "CreateModel": lambda: registry_pb.CreateModelRequest(model_id=f"new-{next(_numbers)}"),
            "GetModel": lambda: registry_pb.GetModelRequest(name="models/base"),
            "ListModels": lambda: registry_pb.ListModelsRequest(page_size=1),
            "UpdateModel": lambda: registry_pb.UpdateModelRequest(model=registry_pb.Model(name=self._model())),
            "DeleteModel": lambda: registry_pb.DeleteModelRequest(name=self._model()),
            "UndeleteModel": lambda: registry_pb.UndeleteModelRequest(name=self._model(deleted=True)),
            "GetModelVersion": lambda: registry_pb.GetModelVersionRequest(name="models/base/versions/1"),
            "ListModelVersions": lambda: registry_pb.ListModelVersionsRequest(parent="models/base", page_size=1),
            "UpdateModelVersion": lambda: registry_pb.UpdateModelVersionRequest(
                model_version=registry_pb.ModelVersion(name=self._version())
            ),
            "DeleteModelVersion": lambda: registry_pb.DeleteModelVersionRequest(name=self._version()),
            "UndeleteModelVersion": lambda: registry_pb.UndeleteModelVersionRequest(name=self._version(deleted=True)),
            "FindMissingBlobs": lambda: registry_pb.FindMissingBlobsRequest(digests=["0" * 64]),
            "PublishModelVersion": lambda: [
                registry_pb.PublishModelVersionRequest(
                    header=registry_pb.PublishModelVersionRequest.Header(
                        parent="models/published", manifest_json=self._manifest.to_json().decode()
                    )
                )
            ],
            "DownloadModelVersion": lambda: registry_pb.DownloadModelVersionRequest(name="models/base/versions/1"),
            "CompareModelVersions": lambda: registry_pb.CompareModelVersionsRequest(
                first="models/base/versions/1", second="models/base/versions/1"
            ),
            "GetLineage": lambda: registry_pb.GetLineageRequest(name="models/base/versions/1"),
            "GetAlias": lambda: registry_pb.GetAliasRequest(name=self._alias()),
            "SetAlias": lambda: registry_pb.SetAliasRequest(
                name=f"models/base/aliases/new-{next(_numbers)}", version="models/base/versions/1"
            ),
            "RollBackAlias": lambda: registry_pb.RollBackAliasRequest(name=self._moved_alias()),
            "DeleteAlias": lambda: registry_pb.DeleteAliasRequest(name=self._alias()),
            "ListAliasHistory": lambda: registry_pb.ListAliasHistoryRequest(parent=self._alias(), page_size=1),
            "WatchChanges": lambda: registry_pb.WatchChangesRequest(after_sequence=0),
        }

    def _model(self, *, deleted: bool = False) -> str:
        model = self._store.create_model(f"model-{next(_numbers)}", Notes())
        if deleted:
            self._store.delete_model(model.id)
        return model.name

    def _version(self, model_id: str = "", *, deleted: bool = False) -> str:
        name = self._store.publish(Publication(model_id or f"model-{next(_numbers)}", self._manifest)).name
        if deleted:
            self._store.delete_version(name)
        return str(name)

    def _alias(self) -> str:
        model_id = f"model-{next(_numbers)}"
        self._store.publish(Publication(model_id, self._manifest, alias="production"))
        return f"models/{model_id}/aliases/production"

    def _moved_alias(self) -> str:
        name = self._alias()
        model_id = name.split("/")[1]
        self._store.publish(Publication(model_id, self._manifest, alias="production"))
        return name

    def _dataset(self, *, deleted: bool = False) -> str:
        dataset = self._service.upload(self._archive, f"photos-{next(_numbers)}")
        if deleted:
            DatasetStore(self._store._database, self._store.blobs).delete(dataset.name.removeprefix("datasets/"))
        return dataset.name

    def _job(self, *actions: DesiredAction) -> str:
        recipe = DEFAULTS[RecipeName.LINEAR_PROBE].to_json()
        job = self._jobs.enqueue(JobSpec("flowers", VersionName("base", 1), "photos", recipe, 0, None))
        for action in actions:
            self._jobs.request_action(job.id, action)
        return job.name


@pytest.fixture(scope="module")
def requests(service: RunningService) -> Requests:
    """What to send to that service."""
    return Requests(service)


def call(service: RunningService, method: descriptor.MethodDescriptor, request: Any) -> grpc.RpcError | None:
    """Send a request and read the whole answer, of one that never ends its beginning; return how it was refused."""
    name = f"/{method.containing_service.full_name}/{method.name}"
    one, stream = ("stream" if each else "unary" for each in (method.client_streaming, method.server_streaming))
    make = getattr(service.channel, f"{one}_{stream}")
    send = make(
        name,
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    try:
        answering = send(iter(request) if method.client_streaming else request, timeout=TIMEOUT)
        if method.name in ENDLESS:
            answering.initial_metadata()
            answering.cancel()
        elif method.server_streaming:
            for _ in answering:
                pass
    except grpc.RpcError as error:
        return error
    return None


def first_of(request: Any, path: Path) -> Any:
    """Return the message of a request that has the field: a stream's first one has its header."""
    if not isinstance(request, list):
        return request
    return request[0] if path[0].name == "header" else type(request[0])()


def with_odd(request: Any, odd: Any, path: Path) -> Any:
    """Return the request with an odd message; in a stream what is no header comes after that."""
    if not isinstance(request, list):
        return odd
    return [odd, *request[1:]] if path[0].name == "header" else [request[0], odd]


def test_every_method_has_a_request(requests: Requests) -> None:
    """A method that is added has to be added here."""
    assert set(requests.made) == {method.name for method in METHODS}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_text_is_kept_or_refused_by_the_name_of_its_field(
    service: RunningService, requests: Requests, method: descriptor.MethodDescriptor
) -> None:
    """Nothing is an internal error, whatever a field holds, and the service goes on."""
    for path in text_paths(method.input_type):
        for kind, text in TEXTS.items():
            base = requests.made[method.name]()
            for odd in filled(first_of(base, path), path, text):
                error = call(service, method, with_odd(base, odd, path))
                if error is None:
                    continue
                where = f"{method.name} with {kind} in {dotted(path)}: {error.code()} {error.details()[:300]}"
                assert error.code() in REFUSALS, where
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    assert violated(error) & {field.name for field in path}, f"{where}: {violated(error)}"
    assert service.registry.GetModel(registry_pb.GetModelRequest(name="models/base"), timeout=TIMEOUT).name


def test_what_was_kept_can_be_read(service: RunningService) -> None:
    """Every resource that those requests made, with its texts."""
    registry, training = service.registry, service.training
    models = registry.ListModels(registry_pb.ListModelsRequest(page_size=1000), timeout=TIMEOUT).models
    for model in models:
        registry.ListModelVersions(
            registry_pb.ListModelVersionsRequest(parent=model.name, page_size=1000), timeout=TIMEOUT
        )
        for alias in model.aliases:
            registry.ListAliasHistory(registry_pb.ListAliasHistoryRequest(parent=alias.name), timeout=TIMEOUT)
    training.ListTrainingJobs(pb.ListTrainingJobsRequest(page_size=1000), timeout=TIMEOUT)
    training.ListDatasets(pb.ListDatasetsRequest(page_size=1000), timeout=TIMEOUT)
    assert [model for model in models if "花" in model.description]


@pytest.mark.parametrize("label", [r"a\ud800", r"a\u0000b", r"\u001b[31mred", "a" * 201])
def test_labels_that_cannot_be_shown_are_refused(service: RunningService, requests: Requests, label: str) -> None:
    """JSON can name what the wire cannot carry: halves of characters; NUL and what terminals obey are refused too."""
    (message,) = requests.made["PublishModelVersion"]()
    task = f'"task":{{"kind":"classification","labels":["{label}"]}}'
    message.header.manifest_json = message.header.manifest_json.replace('"task":null', task)
    error = call(service, next(each for each in METHODS if each.name == "PublishModelVersion"), [message])
    assert error is not None
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "manifest_json" in violated(error)


def violated(error: grpc.RpcError) -> set[str]:
    """Return every name on the way to the fields that a refusal names."""
    status = rpc_status.from_call(error)
    assert status is not None, error
    bad_request = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad_request)
    fields = {violation.field for violation in bad_request.field_violations}
    return {name.partition("[")[0] for field in fields for name in field.split(".")}
