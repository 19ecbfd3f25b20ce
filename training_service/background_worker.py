"""Evaluates one version, writes one report or recommends a base, in a process of its own.

A native crash, or too little memory, ends this process alone. The order comes as one line on standard input, which the
service then keeps open. Answers go to standard output as frames.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import structlog
import torch
from google.protobuf.message import Message
from maas.training.v1 import training_pb2 as pb

from grpc_runtime.logs import configure_logs
from model_store.errors import StoreError
from model_store.names import parse_dataset, parse_job, parse_target
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.registry.searches import SearchStore
from training_service.api.datasets.splits import read_split
from training_service.api.evaluation_convert import evaluated_message, evaluating_message
from training_service.api.recommendations.convert import (
    read_recommendation,
    recommended_message,
    recommending_message,
)
from training_service.background.order import ERROR, MESSAGE, Kind, SideOrder, error_content, frame
from training_service.choosing.recommender import Recommender
from training_service.evaluation.evaluator import Evaluator, build_evaluator
from training_service.evaluation.learned_rows import LearnedRows
from training_service.jobs.work_order import EXIT_ENDED, EXIT_STOPPED
from training_service.jobs.worker_process import read_order
from training_service.reports.facts import FactFinder
from training_service.reports.page import render
from training_service.settings import TrainingSettings

Answer = Callable[[Message], None]
_EXIT_FAILED = 1
_log = structlog.get_logger()


def main() -> None:
    """Do the work whose order is on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the service too, and that decides
    order = SideOrder.from_line(read_order(EXIT_STOPPED))
    configure_logs(log_format=order.settings.log_format, level=order.settings.log_level)
    if order.settings.num_threads:
        torch.set_num_threads(order.settings.num_threads)
    send = _standard_output()
    try:
        _work(order, lambda message: send(MESSAGE, message.SerializeToString()))
        code = EXIT_ENDED
    except StoreError as error:
        send(ERROR, error_content(error))
        code = EXIT_ENDED
    except Exception:  # noqa: BLE001  the outermost frame of the process
        _log.exception("background_task_failed", kind=order.kind)
        code = _EXIT_FAILED
    # Threads of libraries may still run; nothing is left that they could do.
    os._exit(code)


def _work(order: SideOrder, answer: Answer) -> None:
    settings = order.settings
    with closing(settings.open_database()) as database, ThreadPoolExecutor(os.cpu_count()) as decoders:
        store = ModelStore(database, settings.open_blobs())
        datasets = DatasetStore(database, store.blobs)
        evaluator = build_evaluator(settings, store, datasets, decoders)
        jobs = JobStore(database)
        facts = FactFinder(store, datasets, jobs, evaluator, SearchStore(database))
        kinds: Mapping[Kind, Callable[[bytes, Answer], None]] = {
            Kind.EVALUATE: partial(_evaluate, evaluator),
            Kind.REPORT: partial(_report, facts),
            Kind.RECOMMEND: partial(_recommend, settings, store, datasets, jobs),
        }
        kinds[order.kind](order.request, answer)


def _evaluate(evaluator: Evaluator, request: bytes, answer: Answer) -> None:
    wanted = pb.EvaluateModelVersionRequest.FromString(request)
    evaluated = evaluator.evaluate(
        parse_target(wanted.name, "name"),
        parse_dataset(wanted.dataset, "dataset"),
        read_split(wanted.split),
        on_progress=lambda phase, share: answer(evaluating_message(phase, share)),
        check_going_on=_go_on,
        allow_unknown_labels=wanted.allow_unknown_labels,
        leave_out=LearnedRows() if wanted.held_out else None,
    )
    answer(evaluated_message(evaluated))


def _report(facts: FactFinder, request: bytes, answer: Answer) -> None:
    name = pb.GetReportRequest.FromString(request).name
    answer(pb.Report(name=name, html=render(facts.find(parse_job(name, "name"), _go_on))))


def _recommend(
    settings: TrainingSettings,
    store: ModelStore,
    datasets: DatasetStore,
    jobs: JobStore,
    request: bytes,
    answer: Answer,
) -> None:
    recommender = Recommender(
        settings,
        store,
        datasets,
        jobs,
        on_progress=lambda phase, share, base: answer(recommending_message(phase, share, base)),
        check_going_on=_go_on,
    )
    wanted = read_recommendation(pb.RecommendBasesRequest.FromString(request))
    answer(recommended_message(recommender.recommend(wanted.dataset_id, wanted.limits, wanted.bases)))


def _go_on() -> None:
    """Never stop the work: the service ends the process instead."""


def _standard_output() -> Callable[[bytes, bytes], None]:
    """Return the writer of frames to standard output; other output goes to standard error from now on."""
    file = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(kind: bytes, content: bytes) -> None:
        file.write(frame(kind, content))
        file.flush()

    return send


if __name__ == "__main__":
    main()
