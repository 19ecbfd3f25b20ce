"""Calls about training jobs, and the evaluation of versions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Unpack

from maas.training.v1 import training_pb2 as pb

from maas_client.calls.connection import PAGE_SIZE, all_pages
from maas_client.calls.registry import RegistryCalls
from maas_client.errors import InvalidArgument, JobFailed, NotFound
from maas_client.typed.gates import Gate, promotion
from maas_client.typed.recipe_fields import RecipeFields
from maas_client.typed.recipes import recipe_of
from maas_client.typed.searches import search_of
from maas_client.typed.shorthand import alias_name, dataset_name, id_of, job_name, model_name, target_name
from maas_client.typed.splits import split_number
from maas_client.wire.streams import responses

AUTO_BASE = "auto"
"""The base of a job that lets the service choose one."""
LATEST = "latest"
"""Names the newest job."""
_WHOLE = re.compile(r"[0-9a-f]{32}")
_SHOWN = 5
_PREFIX = "TRAINING_JOB_STATE_"


class JobCalls(RegistryCalls):
    """Calls about training jobs, and the evaluation of versions.

    A job is named by its id, the first digits of it, or `latest`.
    """

    def finetune(
        self,
        model: str,
        *,
        dataset: str,
        base: str = "",
        recipe: str | pb.Recipe = "",
        seed: int = 0,
        alias: str = "",
        promote: str | pb.Promote = "",
        gate: Gate | None = None,
        priority: int = 0,
        max_failures: int | None = None,
        search: pb.Search | Mapping[str, Any] | None = None,
        request_id: str = "",
        validate_only: bool = False,
        modality: str = "",
        text_base: str = "",
        text_column: str = "",
        **fields: Unpack[RecipeFields],
    ) -> pb.TrainingJob:
        """Queue a fine-tune of `base` on `dataset`; the result becomes the next version of `model`.

        Without a base the service makes one for the dataset, where it is a table. With `auto` the job first compares
        the bases that are stored, and takes the recommended one, its recipe and its head, but for what is named here;
        the job's `recommendation` says why. A model of the name auto is `models/auto`. With `text_base`, an
        encoder of texts in the store, it makes one that reads a column of text beside the others; `text_column` names
        that column where there are several.

        `recipe` is `linear_probe`, `fit_head`, `last_stages`, `full`, `gradual`, `classic` or `scratch`, and `fields`
        are its hyperparameters, such as `epoch_count=20`; `head` alone chooses `fit_head`. Without a recipe the service
        chooses one by the number of training examples. `alias` is pointed at the version in any case; `promote` only
        where it passes the `gate`. A `search` tries several recipes instead, as `search_of` reads them, and the best
        one's version is the result. With `validate_only` it queues nothing and checks all but the dataset, which may be
        empty then; `modality` is that of the examples to come, such as `image`, to be told whether they need a base.
        """
        job = pb.TrainingJob(
            model=model_name(model),
            base=base if base in {"", AUTO_BASE} else target_name(base),
            dataset=dataset_name(dataset) if dataset else "",
            recipe=recipe_of(recipe, fields),
            seed=seed,
            alias=alias_name(model, alias) if alias else "",
            promote=promotion(model, promote, gate),
            priority=priority,
            max_failures=max_failures,
            search=search_of(search) if isinstance(search, Mapping) else search,
        )
        request = pb.CreateTrainingJobRequest(
            training_job=job,
            request_id=request_id,
            validate_only=validate_only,
            modality=modality,
            text_base=target_name(text_base) if text_base else "",
            text_column=text_column,
        )
        return self.stubs.training.CreateTrainingJob(request)

    def watch(self, job: str, after_sequence: int = 0) -> Iterator[pb.TrainingJobEvent]:
        """Yield a job's events until it has ended, and its version is served where it was to be promoted.

        When the connection breaks, it goes on after the last event seen, and gives up where no service answers within
        `reconnect_seconds`.
        """
        request = pb.WatchTrainingJobRequest(name=self.job_name(job), after_sequence=after_sequence)
        yield from self.resumed(self.stubs.training.WatchTrainingJob, request)

    def wait(
        self,
        job: str,
        *,
        timeout: float | None = None,
        on_event: Callable[[pb.TrainingJobEvent], object] = lambda _: None,
    ) -> pb.TrainingJob:
        """Wait until a job has ended, and its version is served where it was to be promoted; return the job.

        `on_event` is told of each event, as `watch` yields them. Raises JobFailed where the job made no version, and
        DeadlineExceeded where it has not ended after `timeout` seconds; the job goes on then.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        name = self.job_name(job)

        def call(request: pb.WatchTrainingJobRequest) -> Any:  # noqa: ANN401  gRPC's stream
            seconds_left = None if give_up is None else max(0.0, give_up - time.monotonic())
            return self.stubs.training.WatchTrainingJob(request, timeout=seconds_left)

        for event in self.resumed(call, pb.WatchTrainingJobRequest(name=name)):
            on_event(event)
        ended = self.job(name)
        if ended.state != pb.TRAINING_JOB_STATE_SUCCEEDED:
            raise JobFailed(ending_text(ended), ended)
        return ended

    def job_name(self, job: str) -> str:
        """Return a job's resource name; raise NotFound where no job is meant, InvalidArgument where more than one."""
        wanted = id_of(job)
        if _WHOLE.fullmatch(wanted):
            return job_name(wanted)
        if wanted == LATEST:
            newest = self.stubs.training.ListTrainingJobs(pb.ListTrainingJobsRequest(page_size=1)).training_jobs
            if not newest:
                raise NotFound("there are no jobs yet: `maas finetune DIR` starts one")
            return newest[0].name
        found = [each.name for each in self.jobs() if wanted and id_of(each.name).startswith(wanted)]
        if not found:
            raise NotFound(f"no job's id begins with {wanted!r}: `maas jobs` lists them")
        if len(found) > 1:
            ids = ", ".join(id_of(name) for name in found[:_SHOWN])
            raise InvalidArgument(f"{wanted} begins the ids of {len(found)} jobs: give more digits of {ids}")
        return found[0]

    def job(self, job: str) -> pb.TrainingJob:
        """Return one training job."""
        return self.stubs.training.GetTrainingJob(pb.GetTrainingJobRequest(name=self.job_name(job)))

    def jobs(
        self,
        *,
        filter: str = "",  # noqa: A002  the field's own name
        order_by: str = "",
    ) -> Iterator[pb.TrainingJob]:
        """Yield the training jobs that a filter such as `state = RUNNING` leaves, newest first by default."""
        request = pb.ListTrainingJobsRequest(filter=filter, order_by=order_by, page_size=PAGE_SIZE)
        yield from all_pages(self.stubs.training.ListTrainingJobs, request, "training_jobs")

    def trials(self, search: str) -> Iterator[pb.TrainingJob]:
        """Yield the trials of a search, a job, in the order of their numbers."""
        yield from self.jobs(filter=f"trial.search = {self.job_name(search)}", order_by="create_time")

    def pause(self, job: str, *, etag: str = "") -> pb.TrainingJob:
        """Ask a job to wait; it keeps what it has reached."""
        request = pb.PauseTrainingJobRequest(name=self.job_name(job), etag=etag)
        return self.stubs.training.PauseTrainingJob(request)

    def resume(self, job: str, *, etag: str = "") -> pb.TrainingJob:
        """Let a paused job go on."""
        request = pb.ResumeTrainingJobRequest(name=self.job_name(job), etag=etag)
        return self.stubs.training.ResumeTrainingJob(request)

    def retry(self, job: str, *, etag: str = "") -> pb.TrainingJob:
        """Try a job again that failed or was cancelled, from where it was."""
        request = pb.RetryTrainingJobRequest(name=self.job_name(job), etag=etag)
        return self.stubs.training.RetryTrainingJob(request)

    def cancel(self, job: str, *, etag: str = "") -> pb.TrainingJob:
        """Ask a job to stop."""
        request = pb.CancelTrainingJobRequest(name=self.job_name(job), etag=etag)
        return self.stubs.training.CancelTrainingJob(request)

    def report(self, job: str) -> str:
        """Return a page of HTML about a training job."""
        return self.stubs.training.GetReport(pb.GetReportRequest(name=self.job_name(job))).html

    def evaluate(
        self,
        version: str,
        dataset: str = "",
        *,
        split: str = "test",
        allow_unknown_labels: bool = False,
        held_out: bool = False,
        on_progress: Callable[[pb.EvaluateModelVersionResponse.Progress], object] = lambda _: None,
    ) -> pb.Evaluation:
        """Measure a version, by number or by alias, on a split of a dataset, or on `all` of it.

        Without a dataset it is the one that the version was trained on. The answer's `warning` says where the version
        learned from the rows; `held_out` leaves these out.
        """
        request = pb.EvaluateModelVersionRequest(
            name=target_name(version),
            dataset=dataset_name(dataset or self._own_dataset(version)),
            split=split_number(split),
            allow_unknown_labels=allow_unknown_labels,
            held_out=held_out,
        )
        response = pb.EvaluateModelVersionResponse()
        for response in responses(partial(self.stubs.training.EvaluateModelVersion, request)):
            if response.HasField("progress"):
                on_progress(response.progress)
        return response.evaluation

    def recommend(
        self,
        dataset: str,
        *,
        bases: Sequence[str] = (),
        max_latency_ms: float | None = None,
        max_size_mb: float | None = None,
        max_training_minutes: float | None = None,
        on_progress: Callable[[pb.RecommendBasesResponse.Progress], object] = lambda _: None,
    ) -> pb.Recommendation:
        """Compare the bases that a dataset's examples fit, before any training; `chosen` of the answer is recommended.

        Without `bases` all that are stored are compared, each backbone once. A limit leaves out those that break it:
        the latency of one row and the size of all tensors, a megabyte being 1,000,000 bytes, as the training service
        measures them, and the time of the quickest recipe, as it estimates it.
        """
        request = pb.RecommendBasesRequest(
            dataset=dataset_name(dataset),
            bases=[target_name(base) for base in bases],
            max_latency=_duration(max_latency_ms, milliseconds=1),
            max_size_bytes=None if max_size_mb is None else round(max_size_mb * 1_000_000),
            max_training_time=_duration(max_training_minutes, minutes=1),
        )
        response = pb.RecommendBasesResponse()
        for response in responses(partial(self.stubs.training.RecommendBases, request)):
            if response.HasField("progress"):
                on_progress(response.progress)
        return response.recommendation

    def _own_dataset(self, version: str) -> str:
        found = self.version(version)
        if not found.lineage.dataset:
            raise InvalidArgument(f"{found.name} was not trained on a dataset here: name one with --dataset")
        return found.lineage.dataset


def _duration(number: float | None, **unit: float) -> timedelta | None:
    """Return so many of a unit, as `timedelta` names it; None for no limit."""
    return None if number is None else number * timedelta(**unit)


def state_text(state: pb.TrainingJobState) -> str:
    """Return a job's state as people say it."""
    return pb.TrainingJobState.Name(state).removeprefix(_PREFIX)


def ending_text(job: pb.TrainingJob) -> str:
    """Say where a job stands, and why it failed."""
    reason = f": {job.error.message}" if job.HasField("error") else ""
    return f"{job.name} is {state_text(job.state)}{reason}"
