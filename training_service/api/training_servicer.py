"""maas.training.v1.TrainingService: from a request to its answer.

The store blocks, so it is called in threads. Every refusal is a domain error, which the server maps to a code.
"""
# ruff: noqa: ARG002  the RPCs have gRPC's names and arguments

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
from maas.training.v1 import training_pb2 as pb
from maas.training.v1 import training_pb2_grpc

from grpc_runtime.principals import current_principal
from model_store.database.paging import PageRequest, cut, decode_token
from model_store.errors import InvalidInput
from model_store.names import parse_dataset, parse_job, parse_target
from model_store.records.job_lifecycle import DesiredAction
from model_store.records.jobs import JobSpec, TrainingJob
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from training_service.api import training_convert as convert
from training_service.api.client_streams import Caller, in_threads
from training_service.api.datasets.convert import dataset_message, previewed_message, row_messages
from training_service.api.datasets.splits import read_split
from training_service.api.job_requests import job_spec
from training_service.api.job_watch import JobWatch
from training_service.api.recommendations.convert import read_recommendation
from training_service.api.registry_requests import list_request
from training_service.api.uploads import Uploads
from training_service.api.violations import check_request_id
from training_service.background.order import Kind
from training_service.background.tasks import BackgroundTasks
from training_service.datasets.manifest import read_manifest
from training_service.datasets.packs import PackedRows
from training_service.datasets.preview import PreviewSize, choose_rows
from training_service.datasets.splits import ALL, Split
from training_service.modalities import MODALITIES
from training_service.threads import CallThreads

Context = grpc.aio.ServicerContext[Any, Any]
_ActionRequest = (
    pb.CancelTrainingJobRequest | pb.PauseTrainingJobRequest | pb.ResumeTrainingJobRequest | pb.RetryTrainingJobRequest
)


class TrainingServicer(training_pb2_grpc.TrainingServiceServicer):
    """Answers from the stores."""

    def __init__(
        self,
        store: ModelStore,
        datasets: DatasetStore,
        jobs: JobStore,
        uploads: Uploads,
        threads: CallThreads,
        background: BackgroundTasks,
        job_watch: JobWatch,
        *,
        can_shadow: bool,
    ) -> None:
        self._store = store
        self._datasets = datasets
        self._jobs = jobs
        self._uploads = uploads
        self._threads = threads
        self._background = background
        self._job_watch = job_watch
        self._can_shadow = can_shadow

    async def UploadDataset(self, messages: AsyncIterator[pb.UploadDatasetRequest], context: Context) -> pb.Dataset:
        """Receive an archive and register it as a dataset."""
        receive = partial(self._uploads.receive, current_principal())
        dataset = await in_threads(self._threads.uploads, receive, messages)
        return dataset_message(dataset)

    async def QueryUpload(self, request: pb.QueryUploadRequest, context: Context) -> pb.QueryUploadResponse:
        """Say from where on an upload can go on."""
        return await self._threads.slow.run(self._uploads.kept, request, current_principal())

    async def RegisterDataset(self, request: pb.RegisterDatasetRequest, context: Context) -> pb.Dataset:
        """Read the data at a URL and register it as a dataset."""
        caller = Caller()
        register = partial(self._uploads.register, request, current_principal(), caller.check)
        try:
            return dataset_message(await asyncio.get_running_loop().run_in_executor(self._threads.uploads, register))
        finally:
            caller.leave()

    async def PreviewDataset(self, request: pb.PreviewDatasetRequest, context: Context) -> pb.PreviewDatasetResponse:
        """Return small pictures of some rows."""
        return await self._threads.slow.run(self._preview, request)

    async def GetDataset(self, request: pb.GetDatasetRequest, context: Context) -> pb.Dataset:
        """Return one dataset."""
        dataset_id = parse_dataset(request.name, "name")
        return dataset_message(await self._threads.reads.run(self._datasets.get, dataset_id))

    async def ListDatasets(self, request: pb.ListDatasetsRequest, context: Context) -> pb.ListDatasetsResponse:
        """Return a page of datasets."""
        page = await self._threads.reads.run(self._datasets.list, list_request(request))
        datasets = [dataset_message(each, with_files=False) for each in page.items]
        return pb.ListDatasetsResponse(datasets=datasets, next_page_token=page.next_token)

    async def DeleteDataset(self, request: pb.DeleteDatasetRequest, context: Context) -> pb.Dataset:
        """Hide a dataset."""
        dataset_id = parse_dataset(request.name, "name")
        dataset = await self._threads.writes.run(
            self._datasets.delete, dataset_id, etag=request.etag or None, principal=current_principal()
        )
        return dataset_message(dataset)

    async def UndeleteDataset(self, request: pb.UndeleteDatasetRequest, context: Context) -> pb.Dataset:
        """Bring a dataset back."""
        dataset_id = parse_dataset(request.name, "name")
        undelete = partial(self._datasets.undelete, dataset_id, principal=current_principal())
        return dataset_message(await self._threads.writes.run(undelete))

    async def ListDatasetRows(self, request: pb.ListDatasetRowsRequest, context: Context) -> pb.ListDatasetRowsResponse:
        """Return a page of a dataset's rows, in the manifest's order."""
        return await self._threads.slow.run(self._list_rows, request)

    async def CreateTrainingJob(self, request: pb.CreateTrainingJobRequest, context: Context) -> pb.TrainingJob:
        """Check a fine-tune and queue it, or only check it."""
        request_id = check_request_id(request.request_id)
        spec = await self._threads.slow.run(self._spec, request, current_principal())
        if request.validate_only:
            return convert.spec_message(spec)
        enqueue = partial(self._jobs.enqueue, spec, request_id, principal=current_principal())
        return convert.job_message(await self._threads.writes.run(enqueue))

    async def GetTrainingJob(self, request: pb.GetTrainingJobRequest, context: Context) -> pb.TrainingJob:
        """Return one job, with its version's metrics."""
        return await self._threads.reads.run(lambda: self._message(self._jobs.get(parse_job(request.name, "name"))))

    async def ListTrainingJobs(
        self, request: pb.ListTrainingJobsRequest, context: Context
    ) -> pb.ListTrainingJobsResponse:
        """Return a page of jobs."""
        return await self._threads.reads.run(self._list_jobs, request)

    async def CancelTrainingJob(self, request: pb.CancelTrainingJobRequest, context: Context) -> pb.TrainingJob:
        """Ask a job to stop."""
        return await self._request_action(request, DesiredAction.CANCEL)

    async def PauseTrainingJob(self, request: pb.PauseTrainingJobRequest, context: Context) -> pb.TrainingJob:
        """Ask a job to wait."""
        return await self._request_action(request, DesiredAction.PAUSE)

    async def ResumeTrainingJob(self, request: pb.ResumeTrainingJobRequest, context: Context) -> pb.TrainingJob:
        """Let a paused job go on."""
        return await self._request_action(request, DesiredAction.RESUME)

    async def RetryTrainingJob(self, request: pb.RetryTrainingJobRequest, context: Context) -> pb.TrainingJob:
        """Queue a job again that failed or was cancelled."""
        return await self._request_action(request, DesiredAction.RETRY)

    async def WatchTrainingJob(
        self, request: pb.WatchTrainingJobRequest, context: Context
    ) -> AsyncIterator[pb.TrainingJobEvent]:
        """Stream a job's events until the job and its promotion have ended; then the remaining events."""
        job_id, sequence = parse_job(request.name, "name"), request.after_sequence
        if sequence < 0:
            raise InvalidInput.of("after_sequence", f"must be at least 0, not {sequence}")
        async with aclosing(self._job_watch.follow(job_id, sequence)) as events:
            async for job, event in events:
                yield convert.event_message(event, job.spec.model_id)

    async def EvaluateModelVersion(
        self, request: pb.EvaluateModelVersionRequest, context: Context
    ) -> AsyncIterator[pb.EvaluateModelVersionResponse]:
        """Stream the progress of an evaluation, then its result."""
        await self._threads.reads.run(self._check_names, request)
        async for message in self._background.run(Kind.EVALUATE, request):
            yield pb.EvaluateModelVersionResponse.FromString(message)

    async def RecommendBases(
        self, request: pb.RecommendBasesRequest, context: Context
    ) -> AsyncIterator[pb.RecommendBasesResponse]:
        """Stream the progress of a comparison of bases, then the recommendation."""
        await self._threads.reads.run(self._check_recommendation, request)
        async for message in self._background.run(Kind.RECOMMEND, request):
            yield pb.RecommendBasesResponse.FromString(message)

    async def GetReport(self, request: pb.GetReportRequest, context: Context) -> pb.Report:
        """Write a page about a job."""
        await self._threads.reads.run(self._jobs.get, parse_job(request.name, "name"))
        (report,) = [message async for message in self._background.run(Kind.REPORT, request)]
        return pb.Report.FromString(report)

    async def _request_action(self, request: _ActionRequest, action: DesiredAction) -> pb.TrainingJob:
        job_id, etag, principal = parse_job(request.name, "name"), request.etag or None, current_principal()
        return await self._threads.writes.run(
            lambda: self._message(self._jobs.request_action(job_id, action, etag=etag, principal=principal))
        )

    def _check_names(self, request: pb.EvaluateModelVersionRequest) -> None:
        """Refuse names that mean nothing without the cost of a process."""
        target, dataset_id = parse_target(request.name, "name"), parse_dataset(request.dataset, "dataset")
        read_split(request.split)
        self._store.resolve(target)
        self._datasets.living(dataset_id)

    def _check_recommendation(self, request: pb.RecommendBasesRequest) -> None:
        """Do the same for a recommendation."""
        wanted = read_recommendation(request)
        self._datasets.living(wanted.dataset_id)
        for base in wanted.bases:
            self._store.resolve(base)

    def _spec(self, request: pb.CreateTrainingJobRequest, principal: str) -> JobSpec:
        return job_spec(
            convert.read_job(request),
            self._store,
            self._datasets,
            can_shadow=self._can_shadow,
            needs_dataset=not request.validate_only,
            modality=request.modality,
            principal=principal,
        )

    def _list_jobs(self, request: pb.ListTrainingJobsRequest) -> pb.ListTrainingJobsResponse:
        page = self._jobs.list(list_request(request))
        versions = self._store.get_versions([job.version for job in page.items if job.version is not None])
        jobs = [
            convert.job_message(job, versions.get(job.version) if job.version else None, in_full=False)
            for job in page.items
        ]
        return pb.ListTrainingJobsResponse(training_jobs=jobs, next_page_token=page.next_token)

    def _list_rows(self, request: pb.ListDatasetRowsRequest) -> pb.ListDatasetRowsResponse:
        dataset = self._datasets.get(parse_dataset(request.parent, "parent"))
        split = read_split(request.split, unset=ALL)
        limit = PageRequest(request.page_size, request.page_token).limit
        listing = f"rows of {dataset.id} {split}"
        start = int(decode_token(listing, request.page_token, int) or 0)
        manifest = read_manifest(self._store.blobs, dataset.digest)
        positions = range(len(manifest.rows)) if split == ALL else manifest.rows.positions(Split(split)).tolist()
        rows = [manifest.rows[position] for position in positions[start : start + limit + 1]]
        page = cut(listing, rows, range(start + 1, start + 1 + len(rows)), limit)
        messages = row_messages(manifest, page.items)
        return pb.ListDatasetRowsResponse(rows=messages, next_page_token=page.next_token)

    def _preview(self, request: pb.PreviewDatasetRequest) -> pb.PreviewDatasetResponse:
        dataset = self._datasets.get(parse_dataset(request.name, "name"))
        size = PreviewSize(request.example_count or PreviewSize.example_count, request.edge or PreviewSize.edge)
        manifest = read_manifest(self._store.blobs, dataset.digest)
        chosen = choose_rows(manifest, read_split(request.split, unset=ALL), size.example_count)
        with PackedRows(self._store.blobs, (row.pack for row in chosen)) as packs:
            shown = [MODALITIES[manifest.modality].preview(packs, row, size.edge) for row in chosen]
        rows = zip(row_messages(manifest, chosen), shown, strict=True)
        return pb.PreviewDatasetResponse(rows=[previewed_message(*each) for each in rows])

    def _message(self, job: TrainingJob) -> pb.TrainingJob:
        versions = self._store.get_versions([job.version]) if job.version is not None else {}
        return convert.job_message(job, versions.get(job.version) if job.version is not None else None)
