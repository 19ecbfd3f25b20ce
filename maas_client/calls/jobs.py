"""Calls about training jobs, and the evaluation of versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from maas.training.v1 import training_pb2

from maas_client.calls.connection import PAGE_SIZE, Connection, all_pages
from maas_client.typed.recipes import AUTO, named_recipe
from maas_client.typed.shorthand import alias_name, dataset_name, job_name, model_name, target_name
from maas_client.typed.splits import split_number
from maas_client.wire.streams import responses


class JobCalls(Connection):
    """Calls about training jobs, and the evaluation of versions."""

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

        Without a recipe the service chooses one by the number of training examples. With `validate_only` it queues
        nothing and checks all but the dataset, which may be empty then.
        """
        job = training_pb2.TrainingJob(
            model=model_name(model),
            base=target_name(base),
            dataset=dataset_name(dataset) if dataset else "",
            recipe=named_recipe(recipe or AUTO) if isinstance(recipe, str) else recipe,
            seed=seed,
            alias=alias_name(model, alias) if alias else "",
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
        yield from self.resumed(self.training.WatchTrainingJob, request)

    def job(self, job: str) -> training_pb2.TrainingJob:
        """Return one training job."""
        return self.training.GetTrainingJob(training_pb2.GetTrainingJobRequest(name=job_name(job)))

    def jobs(
        self,
        *,
        filter: str = "",  # noqa: A002  the field's own name
        order_by: str = "",
    ) -> Iterator[training_pb2.TrainingJob]:
        """Yield the training jobs that a filter such as `state = RUNNING` leaves, newest first by default."""
        request = training_pb2.ListTrainingJobsRequest(filter=filter, order_by=order_by, page_size=PAGE_SIZE)
        yield from all_pages(self.training.ListTrainingJobs, request, "training_jobs")

    def report(self, job: str) -> str:
        """Return a page of HTML about a training job."""
        return self.training.GetReport(training_pb2.GetReportRequest(name=job_name(job))).html

    def evaluate(
        self,
        version: str,
        dataset: str,
        *,
        split: str = "test",
        allow_unknown_labels: bool = False,
        held_out: bool = False,
        on_progress: Callable[[training_pb2.EvaluateModelVersionResponse.Progress], object] = lambda _: None,
    ) -> training_pb2.Evaluation:
        """Measure a version, by number or by alias, on a split of a dataset, or on `all` of it.

        The answer's `warning` says where the version learned from the rows; `held_out` leaves these out.
        """
        request = training_pb2.EvaluateModelVersionRequest(
            name=target_name(version),
            dataset=dataset_name(dataset),
            split=split_number(split),
            allow_unknown_labels=allow_unknown_labels,
            held_out=held_out,
        )
        response = training_pb2.EvaluateModelVersionResponse()
        for response in responses(partial(self.training.EvaluateModelVersion, request)):
            if response.HasField("progress"):
                on_progress(response.progress)
        return response.evaluation
