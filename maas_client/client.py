"""The Python client: the RPCs that people use most, as plain calls; the stubs are there for all others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
from maas.inference.v1 import inference_pb2, inference_pb2_grpc
from maas.model_store.v1 import model_store_pb2, model_store_pb2_grpc
from maas.training.v1 import training_pb2, training_pb2_grpc

from grpc_runtime.addresses import channel_options
from maas_client.files.archive import Contents
from maas_client.settings import ClientSettings
from maas_client.typed.shorthand import (
    alias_name,
    dataset_name,
    job_name,
    model_name,
    model_of,
    resource_name,
    target_name,
)
from maas_client.wire.request_streams import sent
from maas_client.wire.resuming import resumed
from maas_client.wire.streams import responses

if TYPE_CHECKING:
    from torch import Tensor

    from model_store.modalities.inputs import ImageInputSpec

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_PAGE_SIZE = 1000


class LoadFailed(Exception):
    """The inference service cannot load a version; the text says why."""


class Client:
    """Channels to both services, opened at first use; safe to share between threads.

    Failed calls raise grpc.RpcError.
    """

    def __init__(self, settings: ClientSettings | None = None) -> None:
        settings = settings or ClientSettings.from_environment()
        self.settings = settings
        self.training_channel = _channel(settings.training_address)
        self.inference_channel = _channel(settings.inference_address)
        self.training = training_pb2_grpc.TrainingServiceStub(self.training_channel)
        self.registry = model_store_pb2_grpc.ModelStoreServiceStub(self.training_channel)
        self.inference = inference_pb2_grpc.InferenceServiceStub(self.inference_channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both channels."""
        self.training_channel.close()
        self.inference_channel.close()

    def upload_dataset(
        self,
        dataset_id: str,
        path: Path | str | Contents,
        *,
        split: training_pb2.SplitSpec | None = None,
        parent: str = "",
        encoding: str = "",
        reuse: bool = False,
        on_sent: Callable[[int], None] | None = None,
    ) -> training_pb2.Dataset:
        """Upload a folder (one sub-folder for each label) or an archive of one; `on_sent` is told of bytes sent.

        With a parent the dataset has that one's images too, each in the split that it is in. `encoding` is that of an
        archive's names that are not marked as UTF-8. With `reuse` the answer is a dataset that has just this content
        already, where there is one. Files of a folder that cannot be read are in `left_out` of a
        `maas_client.files.archive.Contents`, where one is given. Raises OSError where what must be read cannot be.
        """
        contents = path if isinstance(path, Contents) else Contents(Path(path))
        header = training_pb2.UploadDatasetRequest.Header(
            dataset_id=dataset_id,
            split=split,
            parent=dataset_name(parent) if parent else "",
            file_name_encoding=encoding,
            reuse=reuse,
        )

        def messages() -> Iterator[training_pb2.UploadDatasetRequest]:
            hasher = hashlib.sha256()
            yield training_pb2.UploadDatasetRequest(header=header)
            for chunk in contents.chunks():
                hasher.update(chunk)
                if on_sent is not None:
                    on_sent(len(chunk))
                yield training_pb2.UploadDatasetRequest(chunk=chunk)
            yield training_pb2.UploadDatasetRequest(sha256=hasher.hexdigest())

        return sent(self.training.UploadDataset, messages())

    def register_dataset(
        self,
        dataset_id: str,
        uri: str,
        *,
        split: training_pb2.SplitSpec | None = None,
        parent: str = "",
        encoding: str = "",
    ) -> training_pb2.Dataset:
        """Make a dataset of a folder or an archive that the service reads from a URL, where its operator allows it."""
        request = training_pb2.RegisterDatasetRequest(
            dataset_id=dataset_id,
            uri=uri,
            split=split,
            parent=dataset_name(parent) if parent else "",
            file_name_encoding=encoding,
        )
        return self.training.RegisterDataset(request)

    def finetune(
        self,
        model: str,
        *,
        base: str,
        dataset: str,
        recipe: str | training_pb2.Recipe = "",
        seed: int = 0,
        alias: str = "",
        promote: training_pb2.Promote | None = None,
        priority: int = 0,
        max_failures: int | None = None,
        request_id: str = "",
        validate_only: bool = False,
    ) -> training_pb2.TrainingJob:
        """Queue a fine-tune of `base` on `dataset`; the result becomes the next version of `model`.

        Without a recipe the service chooses one by the number of training images. With `validate_only` it queues
        nothing and checks all but the dataset, which may be empty then.
        """
        job = training_pb2.TrainingJob(
            model=model_name(model),
            base=target_name(base),
            dataset=dataset_name(dataset) if dataset else "",
            recipe=training_pb2.Recipe(name=recipe) if isinstance(recipe, str) else recipe,
            seed=seed,
            alias=alias,
            promote=promote,
            priority=priority,
            max_failures=max_failures,
        )
        request = training_pb2.CreateTrainingJobRequest(
            training_job=job, request_id=request_id, validate_only=validate_only
        )
        return self.training.CreateTrainingJob(request)

    def watch(self, job: str, after_sequence: int = 0) -> Iterator[training_pb2.TrainingJobEvent]:
        """Yield a job's events until it has ended, and its version is served where it was to be promoted.

        When the connection breaks, it goes on after the last event seen, and gives up where no service answers within
        `reconnect_seconds`.
        """
        request = training_pb2.WatchTrainingJobRequest(name=job_name(job), after_sequence=after_sequence)
        yield from self._resumed(self.training.WatchTrainingJob, request)

    def _resumed(self, call: Callable[[Any], Any], request: Any) -> Iterator[Any]:  # noqa: ANN401  any numbered stream
        return resumed(call, request, self.training_channel, self.settings.reconnect_seconds)

    def job(self, job: str) -> training_pb2.TrainingJob:
        """Return one training job."""
        return self.training.GetTrainingJob(training_pb2.GetTrainingJobRequest(name=job_name(job)))

    def evaluate(
        self,
        version: str,
        dataset: str,
        *,
        split: str = "test",
        allow_unknown_labels: bool = False,
        held_out: bool = False,
        on_progress: Callable[[training_pb2.EvaluateVersionResponse.Progress], object] = lambda _: None,
    ) -> training_pb2.Evaluation:
        """Measure a version, by number or by alias, on a split of a dataset, or on `all` of it.

        The answer's `warning` says where the version learned from the rows; `held_out` leaves these out.
        """
        request = training_pb2.EvaluateVersionRequest(
            name=target_name(version),
            dataset=dataset_name(dataset),
            split=split,
            allow_unknown_labels=allow_unknown_labels,
            held_out=held_out,
        )
        response = training_pb2.EvaluateVersionResponse()
        for response in responses(partial(self.training.EvaluateVersion, request)):
            if response.HasField("progress"):
                on_progress(response.progress)
        return response.evaluation

    def report(self, job: str) -> str:
        """Return a page of HTML about a training job."""
        return self.training.GetReport(training_pb2.GetReportRequest(name=job_name(job))).html

    def predict(
        self, model: str, images: Sequence[bytes | Path | str], *, top_k: int = 0, timeout: float | None = 60
    ) -> inference_pb2.PredictResponse:
        """Classify encoded images, given as bytes or as paths; waits up to `timeout` seconds.

        They go in one message, of 64 MiB at most: `maas_client.files.classifying.classify` sends as many as it takes.
        """
        request = inference_pb2.PredictRequest(name=target_name(model), images=_images(images), top_k=top_k)
        return self.inference.Predict(request, timeout=timeout)

    def embed(
        self, model: str, images: Sequence[bytes | Path | str], *, timeout: float | None = 60
    ) -> inference_pb2.EmbedResponse:
        """Embed encoded images, given as bytes or as paths; waits up to `timeout` seconds."""
        request = inference_pb2.EmbedRequest(name=target_name(model), images=_images(images))
        return self.inference.Embed(request, timeout=timeout)

    def await_ready(self, version: str, *, timeout: float = 60) -> None:
        """Wait until the inference service answers from a version, and the names that should mean it do.

        Raises LoadFailed where the service cannot load it.
        """
        name = target_name(version)
        request = inference_pb2.WatchModelsRequest(name=model_of(name))
        watching = partial(self.inference.WatchModels, request, timeout=timeout, wait_for_ready=True)
        for model in responses(watching):
            for report in model.versions:
                if report.name == name and report.state == inference_pb2.VERSION_STATE_READY:
                    return
                if report.name == name and report.state == inference_pb2.VERSION_STATE_FAILED:
                    raise LoadFailed(f"{name} could not be loaded: {report.reason}")

    def publish(
        self,
        model: str,
        weights: Path | str | Mapping[str, Tensor],
        *,
        architecture: str,
        labels: Sequence[str] | None = None,
        input_spec: ImageInputSpec | None = None,
        recipe: Mapping[str, Any] | None = None,
        base: str = "",
        **about: Any,  # noqa: ANN401  each as its field wants it
    ) -> model_store_pb2.ModelVersion:
        """Register weights that were trained elsewhere: a state dict by torchvision's names, or a file of one.

        `input_spec` says how its images are prepared, where that is not torchvision's way; `recipe` is what to remember
        of the training, `base` the version it started from. `about` are further fields of PublishVersion's header, such
        as `metrics`, `metric_values={"accuracy": 0.93}`, `description`, `tags={"team": "vision"}`, `alias`, `seed` and
        `request_id`, and `calibrate_by`, a folder of images that it was not trained on. Raises
        model_store.errors.StoreError where the weights do not fit the architecture.
        """
        from maas_client.files.publish import load_weights, publish_base

        loaded = load_weights(architecture, weights, labels)
        loaded = replace(loaded, input_spec=input_spec or loaded.input_spec)
        return publish_base(self, model, loaded, recipe, base=self.version(base).name if base else "", **about)

    def export(self, version: str, path: Path | str, *, on_bytes: Callable[[int], object] = lambda _: None) -> None:
        """Write a version to a file, to be imported into another store; `on_bytes` is told of bytes received."""
        from maas_client.files.transfer import export_archive

        export_archive(self, self.version(version), Path(path), on_bytes)

    def import_archive(self, path: Path | str, *, model: str = "", alias: str = "") -> model_store_pb2.ModelVersion:
        """Register what `export` wrote, as the next version of a model; importing it again changes nothing."""
        from maas_client.files.transfer import import_archive

        return import_archive(self, Path(path), model=model, alias=alias)

    def version(self, name: str) -> model_store_pb2.ModelVersion:
        """Return one version, by number or by alias; of a model, what its alias `production` names, else its newest."""
        return self.registry.GetVersion(model_store_pb2.GetVersionRequest(name=self.version_name(name)))

    def version_name(self, name: str) -> str:
        """Return the resource name of a version or an alias; for a model, of the version that answers for it."""
        name = target_name(name)
        if name != model_of(name):
            return name
        production = alias_name(name, "production")
        if any(alias.name == production for alias in self.model(name).aliases):
            return production
        newest = self.registry.ListVersions(model_store_pb2.ListVersionsRequest(parent=name, page_size=1)).versions
        return newest[0].name if newest else production

    def model(self, model: str) -> model_store_pb2.Model:
        """Return one model, a deleted one too."""
        return self.registry.GetModel(model_store_pb2.GetModelRequest(name=model_name(model)))

    def models(
        self,
        *,
        filter: str = "",  # noqa: A002  the field's own name
        order_by: str = "",
        show_deleted: bool = False,
    ) -> Iterator[model_store_pb2.Model]:
        """Yield the models that a filter such as `tags.team = "vision"` leaves, by id where no order is asked for."""
        request = model_store_pb2.ListModelsRequest(
            filter=filter, order_by=order_by, show_deleted=show_deleted, page_size=_PAGE_SIZE
        )
        yield from _all_pages(self.registry.ListModels, request, "models")

    def versions(
        self,
        model: str,
        *,
        filter: str = "",  # noqa: A002  the field's own name
        order_by: str = "",
        show_deleted: bool = False,
    ) -> Iterator[model_store_pb2.ModelVersion]:
        """Yield the versions of a model that a filter leaves, newest first where no order is asked for.

        Such as filter `metrics.accuracy >= 0.9 AND aliases:*`, and order `metrics.accuracy desc`.
        """
        request = model_store_pb2.ListVersionsRequest(
            parent=model_name(model),
            filter=filter,
            order_by=order_by,
            show_deleted=show_deleted,
            page_size=_PAGE_SIZE,
        )
        yield from _all_pages(self.registry.ListVersions, request, "versions")

    def compare(self, first: str, second: str) -> model_store_pb2.CompareVersionsResponse:
        """Say what changed from one version to another."""
        first, second = self.version_name(first), self.version_name(second)
        return self.registry.CompareVersions(model_store_pb2.CompareVersionsRequest(first=first, second=second))

    def changes(self, resource: str = "", *, after_sequence: int | None = None) -> Iterator[model_store_pb2.Change]:
        """Yield every write to the registry, or to one resource, from now on or after a sequence number, without end.

        When the connection breaks, it goes on as `watch` does.
        """
        name = resource_name(resource) if resource else ""
        request = model_store_pb2.WatchChangesRequest(resource=name, after_sequence=after_sequence)
        yield from self._resumed(self.registry.WatchChanges, request)

    def dataset(self, dataset: str) -> training_pb2.Dataset:
        """Return one dataset, a deleted one too."""
        return self.training.GetDataset(training_pb2.GetDatasetRequest(name=dataset_name(dataset)))

    def datasets(self, *, show_deleted: bool = False) -> Iterator[training_pb2.Dataset]:
        """Yield every dataset, by id."""
        request = training_pb2.ListDatasetsRequest(page_size=_PAGE_SIZE, show_deleted=show_deleted)
        yield from _all_pages(self.training.ListDatasets, request, "datasets")

    def dataset_rows(self, dataset: str, split: str = "") -> Iterator[training_pb2.DatasetRow]:
        """Yield the rows of a dataset, or of one of its splits."""
        request = training_pb2.ListDatasetRowsRequest(parent=dataset_name(dataset), split=split, page_size=_PAGE_SIZE)
        yield from _all_pages(self.training.ListDatasetRows, request, "rows")

    def jobs(self) -> Iterator[training_pb2.TrainingJob]:
        """Yield every training job, newest first."""
        request = training_pb2.ListTrainingJobsRequest(page_size=_PAGE_SIZE)
        yield from _all_pages(self.training.ListTrainingJobs, request, "training_jobs")

    def alias_history(self, model: str, alias: str) -> Iterator[model_store_pb2.AliasMove]:
        """Yield an alias's history, newest first."""
        request = model_store_pb2.ListAliasHistoryRequest(parent=alias_name(model, alias), page_size=_PAGE_SIZE)
        yield from _all_pages(self.registry.ListAliasHistory, request, "moves")


def _channel(address: str) -> grpc.Channel:
    limits = [(f"grpc.max_{way}_message_length", _MAX_MESSAGE_BYTES) for way in ("send", "receive")]
    return grpc.insecure_channel(address, [*limits, *channel_options(address)])


def _images(images: Iterable[bytes | Path | str]) -> list[inference_pb2.Image]:
    read = (image if isinstance(image, bytes) else Path(image).read_bytes() for image in images)
    return [inference_pb2.Image(encoded=data) for data in read]


def _all_pages(call: Callable[[Any], Any], request: Any, field: str) -> Iterator[Any]:  # noqa: ANN401  any List RPC
    while True:
        response = call(request)
        yield from getattr(response, field)
        if not response.next_page_token:
            return
        request.page_token = response.next_page_token
