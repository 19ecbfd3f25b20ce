"""Starts the training service: settings become parts, and parts a server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import torch

from grpc_runtime.database_start import opened_database
from grpc_runtime.server import GrpcServer, stop_signals
from grpc_runtime.startup import run_service
from model_store.database.engine import Database
from model_store.errors import InvalidInput
from model_store.registry.datasets import DatasetStore
from model_store.registry.jobs import JobStore
from model_store.registry.models import ModelStore
from model_store.transactions.changes import ChangeFeed
from model_store.transactions.leases import WorkLease
from model_store.transactions.promotions import PromotionStore
from model_store.upkeep.steps import Upkeep
from training_service.api.change_notifier import ChangeNotifier
from training_service.api.job_watch import JobWatch
from training_service.api.registry_servicer import ModelStoreServicer
from training_service.api.training_servicer import TrainingServicer
from training_service.api.uploads import Uploads
from training_service.background.tasks import BackgroundTasks
from training_service.datasets.files.archives import ArchiveLimits
from training_service.datasets.files.sources import Sources
from training_service.datasets.files.upload_spool import UploadSpool
from training_service.datasets.ingest import Ingestor
from training_service.jobs.owners import new_owner
from training_service.jobs.runner import Runner
from training_service.promotion.promoter import Promoter
from training_service.server import CODES, Part, TrainingServer, registrations
from training_service.settings import TrainingSettings
from training_service.threads import Threads, call_threads
from training_service.upkeep_schedule import UpkeepSchedule
from training_service.upload_expiry import UploadExpiry

# Each takes a thread while a message of its client is written, and while its files are read; more wait for their turn.
_MAX_UPLOADS = 16
# An upload that broke off is kept for this share of its time longer, at most.
_EXPIRY_LOOKS = 20


def main() -> None:
    """Serve until SIGINT or SIGTERM; end with 1 and one line on standard error where the service cannot start."""
    run_service("maas-training-service", TrainingSettings, _serve)


async def _serve(settings: TrainingSettings) -> None:
    stopping = stop_signals(settings)
    database = await opened_database(settings, stopping)
    if database is None:
        return
    with build(settings, stopping, database) as server:
        await server.run()


@contextmanager
def build(
    settings: TrainingSettings, stopping: asyncio.Event, opened: Database | None = None
) -> Iterator[TrainingServer]:
    """Build a service that ends when `stopping` is set; raise SchemaMismatch or Unavailable where it cannot start.

    A database that is open already is closed in the end, too.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InvalidInput.of("device", "is cuda, but PyTorch finds none here")
    with (
        closing(opened or settings.open_database()) as database,
        ThreadPoolExecutor(os.cpu_count(), "decoder") as decoders,
        call_threads(_MAX_UPLOADS) as threads,
        Threads("lease", settings.num_concurrent_jobs + 1, max_waiting=0) as lease_threads,
        Threads("promoter", 1, max_waiting=1000) as promoter_threads,
    ):
        store = ModelStore(database, settings.open_blobs())
        datasets, jobs = DatasetStore(database, store.blobs), JobStore(database, lease_seconds=settings.lease_seconds)
        spool = UploadSpool(
            store.blobs.local_folder("uploads"),
            max_bytes=settings.uploads_bytes,
            idle_seconds=settings.upload_idle_seconds,
            keep_seconds=settings.keep_uploads_hours * 3600,
        )
        job_watch = JobWatch(jobs, threads.reads, stopping, poll_seconds=settings.poll_seconds)
        training = TrainingServicer(
            store,
            datasets,
            jobs,
            _uploads(settings, store, datasets, decoders, spool),
            threads,
            BackgroundTasks(settings),
            job_watch,
            can_shadow=bool(settings.inference_addresses),
        )
        promoter = Promoter(
            PromotionStore(database),
            settings.inference_addresses,
            stopping,
            promoter_threads,
            poll_seconds=settings.poll_seconds,
            patience_seconds=settings.promotion_patience_seconds,
        )
        upkeep = UpkeepSchedule(
            Upkeep(database, store.blobs, settings.ages),
            WorkLease(
                database,
                "upkeep",
                new_owner(),
                lease_seconds=settings.lease_seconds,
                every_seconds=settings.upkeep_seconds,
            ),
            stopping,
            look_seconds=min(settings.lease_seconds, settings.upkeep_seconds),
            heartbeat_seconds=settings.heartbeat_seconds,
        )
        runner = Runner(jobs, settings, stopping, lease_threads)
        feed = ChangeFeed(database)
        notifier = ChangeNotifier(feed, poll_seconds=settings.poll_seconds)
        registry = ModelStoreServicer(store, feed, notifier, threads, settings.max_sizes)
        grpc_server = GrpcServer(settings, registrations(training, registry), CODES)
        expiry = UploadExpiry(spool, stopping, every_seconds=settings.keep_uploads_hours * 3600 / _EXPIRY_LOOKS)
        parts: list[Part] = [
            runner,
            promoter,
            notifier,
            job_watch,
            expiry,
            *([upkeep] if settings.upkeep_seconds else []),
        ]
        yield TrainingServer(grpc_server, parts, notifier, stopping)


def _uploads(
    settings: TrainingSettings,
    store: ModelStore,
    datasets: DatasetStore,
    decoders: ThreadPoolExecutor,
    spool: UploadSpool,
) -> Uploads:
    limits = ArchiveLimits(
        max_unpacked_bytes=settings.max_unpacked_bytes,
        max_files=settings.max_files,
        max_file_bytes=settings.max_file_bytes,
        max_ratio=settings.max_compression_ratio,
    )
    ingestor = Ingestor(store.blobs, decoders, max_sizes=settings.max_sizes)
    sources = Sources(settings.dataset_roots, limits, max_archive_bytes=settings.max_archive_bytes)
    most = settings.max_archive_bytes
    return Uploads(datasets, store.blobs, ingestor, sources, spool, limits, max_archive_bytes=most)


if __name__ == "__main__":
    main()
