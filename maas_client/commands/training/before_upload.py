"""What can be found wrong with a fine-tune before its data is uploaded."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from maas.model_store.v1 import model_store_pb2

from maas_client.calls.jobs import AUTO_BASE
from maas_client.client import Client
from maas_client.errors import InvalidArgument, NotFound
from maas_client.failures import CommandFailed, WrongUsage
from maas_client.files.folders import FoundFile, files_below
from maas_client.modalities import SUFFIXES
from maas_client.typed.data_options import modality_of
from maas_client.typed.known_names import there_are
from maas_client.typed.metric_names import METRICS
from maas_client.typed.shorthand import id_of, model_of
from maas_client.views.output import notes

DATASETS = "datasets/"
_MAX_NAMES = 1000
"""The files that are looked at by their names: an archive may be compressed, and large."""
_BASE = "training_job.base"


@dataclass(frozen=True)
class Data:
    """What is known of the data: its modality and its task; empty where the service has to read it first."""

    modality: str
    task: str = ""


def check_exists(data: str) -> None:
    """Raise WrongUsage where there is neither a file nor a dataset's name."""
    if not data.startswith(DATASETS) and not Path(data).exists():
        raise WrongUsage(f"{data} does not exist: give a folder, an archive, a CSV file, or a dataset as datasets/ID")


def describe_data(client: Client, data: str, *, modality: str, task: str) -> Data:
    """Say what a dataset is, or an upload by its form; raise NotFound where there is no such dataset."""
    if not data.startswith(DATASETS):
        return Data(modality or _modality_of_files(Path(data)) or modality_of(Path(data)), task)
    try:
        found = client.dataset(data)
    except NotFound as error:
        if Path(data).exists():  # only a folder has a dataset's name: nobody would find out why it is not found
            raise NotFound(
                f"there is no dataset {data}; to upload the folder or file of that name write ./{data}"
            ) from error
        raise
    return Data(found.modality, model_store_pb2.Task.Name(found.task).removeprefix("TASK_").lower())


def _modality_of_files(path: Path) -> str:
    """Return the modality of the first file with a known name in a folder or an archive; empty where none has one."""
    known = {suffix: modality for modality, names in SUFFIXES.items() for suffix in names}
    suffixes = (PurePosixPath(name).suffix.lower() for name in islice(_names(path), _MAX_NAMES))
    return next((known[suffix] for suffix in suffixes if suffix in known), "")


def _names(path: Path) -> Iterator[str]:
    """Yield the names of files in a folder or an archive; none of anything else, which the service reads."""
    if path.is_dir():
        yield from (str(each.path) for each in files_below(path) if isinstance(each, FoundFile))
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from archive.namelist()
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            yield from (member.name for member in archive)


def only_base(client: Client, data: Data, check: Callable[..., object]) -> str:
    """Return the base to start from where none is named: none where the service makes one, or before it is known.

    Else the one model in the store that takes examples of the modality and was not made by a fine-tune. `check` asks
    the service whether the job can do without a base, by its modality.
    """
    if not data.modality or not _needs_base(data.modality, check):
        return ""
    newest = (next(iter(client.versions(model.name)), None) for model in client.models())
    imported = (each for each in newest if each is not None and not each.lineage.training_job)
    names = [model_of(each.name) for each in imported if each.modality == data.modality]
    if not names:
        raise CommandFailed(
            f"there is no model to start from, for the modality {data.modality}: `maas bases` lists what `maas import` "
            "can bring in"
        )
    if len(names) > 1:
        raise WrongUsage(f"name the model to start from: --base with one of {', '.join(map(id_of, names))}")
    notes.print(f"base: {id_of(names[0])}, the only one there is", highlight=False)
    return names[0]


def _needs_base(modality: str, check: Callable[..., object]) -> bool:
    try:
        check(dataset="", base="", modality=modality, validate_only=True)
    except InvalidArgument as error:
        if _BASE not in error.violations:
            raise
        return True
    return False


def check_fits(client: Client, data: Data, base: str, metric: str) -> None:
    """Raise WrongUsage where the base takes other examples, or the data's task has no such metric."""
    tasks = [METRICS[data.task]] if data.task in METRICS else METRICS.values()
    known = sorted({name for names in tasks for name in names})
    if metric and metric not in known:
        of_task = f"the task {data.task}" if data.task in METRICS else "no task"
        has = "has no" if data.task in METRICS else "has a"
        raise WrongUsage(f"{of_task} {has} metric {metric!r}: {there_are(metric, known)}")
    if base not in {"", AUTO_BASE} and data.modality and (taken := client.version(base).modality) != data.modality:
        raise WrongUsage(
            f"{base} takes examples of the modality {taken}, and the data is {data.modality}: `maas models` lists the "
            "models to start from"
        )
