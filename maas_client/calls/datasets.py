"""Calls about datasets: upload, register, list, read."""

from __future__ import annotations

import hashlib
import platform
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from maas.training.v1 import training_pb2

from maas_client.calls.connection import PAGE_SIZE, Connection, all_pages
from maas_client.errors import InvalidArgument
from maas_client.files.archive import Contents
from maas_client.files.tables import column_names
from maas_client.typed.shorthand import dataset_name
from maas_client.typed.splits import split_number
from maas_client.typed.table_schemas import schema_message
from maas_client.wire.resumed_uploads import ResumedUpload

TASKS = ("classification", "multi_label", "regression")
_SHOWN_COLUMNS = 20


class DatasetCalls(Connection):
    """Calls about datasets."""

    def upload_dataset(
        self,
        dataset_id: str,
        path: Path | str | Contents,
        *,
        split: training_pb2.SplitSpec | None = None,
        parent: str = "",
        encoding: str = "",
        reuse: bool = False,
        modality: str = "",
        task: str = "",
        columns: Mapping[str, str] | None = None,
        on_sent: Callable[[int], None] | None = None,
    ) -> training_pb2.Dataset:
        """Upload a folder of images, an archive of one, or a CSV file of numbers; `on_sent` is told of bytes sent.

        Files lie in one sub-folder for each label, or a `labels.csv` or `targets.csv` beside them says what they show.
        `task` is `classification`, `multi_label` or `regression`, where the data does not say it; `columns` are the
        kinds of columns of a table (`maas_client.typed.table_schemas.KINDS`), such as {"price": "target", "zip":
        "categorical", "id": "ignore"}.

        When the connection breaks, it goes on where it stopped, and gives up where nothing arrives within
        `reconnect_seconds`. Begun once more with the same arguments and files, it goes on, too, for as long as the
        service keeps what arrived. What files that have changed meanwhile are in is sent anew.
        With a parent the dataset has that one's examples too, each in the split that it is in. `encoding` is that of an
        archive's names that are not marked as UTF-8. With `reuse` the answer is a dataset that has just this content
        already, where there is one. Files of a folder that cannot be read are in `left_out` of a
        `maas_client.files.archive.Contents`, where one is given. Raises OSError where what must be read cannot be, and
        InvalidArgument, before anything is sent, for a column that a CSV file lacks.
        """
        contents = path if isinstance(path, Contents) else Contents(Path(path))
        _check_columns(contents.path, columns or {})
        header = training_pb2.UploadDatasetRequest.Header(
            dataset_id=dataset_id,
            split=split,
            parent=dataset_name(parent) if parent else "",
            file_name_encoding=encoding,
            reuse=reuse,
            modality=modality,
            task=_task(task),
            schema=schema_message(columns or {}),
        )
        progress = on_sent or (lambda _: None)
        with contents.claimed() as is_alone:
            header.upload_id = _upload_id(contents, header) if is_alone else uuid.uuid4().hex
            return ResumedUpload(self.stubs.training, self.retries(), header, contents.chunks, progress).run()

    def register_dataset(
        self,
        dataset_id: str,
        uri: str,
        *,
        split: training_pb2.SplitSpec | None = None,
        parent: str = "",
        encoding: str = "",
        modality: str = "",
        task: str = "",
        columns: Mapping[str, str] | None = None,
        request_id: str = "",
    ) -> training_pb2.Dataset:
        """Make a dataset of what the service reads from a URL, where its operator allows it; see `upload_dataset`.

        A repeat with the same `request_id` returns what the first call made.
        """
        request = training_pb2.RegisterDatasetRequest(
            dataset_id=dataset_id,
            uri=uri,
            split=split,
            parent=dataset_name(parent) if parent else "",
            file_name_encoding=encoding,
            modality=modality,
            task=_task(task),
            schema=schema_message(columns or {}),
            request_id=request_id,
        )
        return self.stubs.training.RegisterDataset(request)

    def dataset(self, dataset: str) -> training_pb2.Dataset:
        """Return one dataset, a deleted one too."""
        return self.stubs.training.GetDataset(training_pb2.GetDatasetRequest(name=dataset_name(dataset)))

    def datasets(
        self,
        *,
        filter: str = "",  # noqa: A002  the field's own name
        order_by: str = "",
        show_deleted: bool = False,
    ) -> Iterator[training_pb2.Dataset]:
        """Yield the datasets that a filter such as `example_count >= 1000` leaves, by id unless ordered."""
        request = training_pb2.ListDatasetsRequest(
            filter=filter, order_by=order_by, show_deleted=show_deleted, page_size=PAGE_SIZE
        )
        yield from all_pages(self.stubs.training.ListDatasets, request, "datasets")

    def dataset_rows(self, dataset: str, split: str = "all") -> Iterator[training_pb2.DatasetRow]:
        """Yield the rows of a dataset, or of one of its splits."""
        request = training_pb2.ListDatasetRowsRequest(
            parent=dataset_name(dataset), split=split_number(split), page_size=PAGE_SIZE
        )
        yield from all_pages(self.stubs.training.ListDatasetRows, request, "rows")

    def preview_dataset(
        self, dataset: str, *, split: str = "all", examples: int = 60, edge: int = 160
    ) -> Sequence[training_pb2.PreviewedRow]:
        """Return some rows as people can look at them: JPEGs of at most `edge` pixels, or the first numbers of each."""
        request = training_pb2.PreviewDatasetRequest(
            name=dataset_name(dataset), split=split_number(split), example_count=examples, edge=edge
        )
        return self.stubs.training.PreviewDataset(request).rows

    def delete_dataset(self, dataset: str, *, etag: str = "") -> training_pb2.Dataset:
        """Delete a dataset; it can be undeleted for a while, and versions made from it stay."""
        request = training_pb2.DeleteDatasetRequest(name=dataset_name(dataset), etag=etag)
        return self.stubs.training.DeleteDataset(request)

    def undelete_dataset(self, dataset: str) -> training_pb2.Dataset:
        """Bring a deleted dataset back."""
        return self.stubs.training.UndeleteDataset(training_pb2.UndeleteDatasetRequest(name=dataset_name(dataset)))


def _task(name: str) -> str:
    """Return a task by its name on the wire; raise InvalidArgument for one that there is not."""
    if name and name not in TASKS:
        raise InvalidArgument(f"the task must be one of {', '.join(TASKS)}, not {name!r}")
    return f"TASK_{(name or 'unspecified').upper()}"


def _check_columns(path: Path, asked: Collection[str]) -> None:
    """Raise InvalidArgument for a column that is not in the first line of a CSV file."""
    if not asked or path.suffix.lower() != ".csv" or not path.is_file():
        return
    names = column_names(path)
    if names and (missing := [name for name in asked if name not in names]):
        near = get_close_matches(missing[0], names, 1)
        meant = f"Do you mean {near[0]!r}? " if near else ""
        more = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
        hint = f"{meant}The columns are {', '.join(map(repr, names[:_SHOWN_COLUMNS]))}{more}."
        raise InvalidArgument(f"{path} has no column {missing[0]!r}", hint=hint)


def _upload_id(contents: Contents, header: training_pb2.UploadDatasetRequest.Header) -> str:
    """Return an id that the same upload has when it is begun once more; who does not see all of it cannot guess it.

    With `reuse` the dataset's id is one of many that would do, and may be another one then.
    """
    wanted = training_pb2.UploadDatasetRequest.Header()
    wanted.CopyFrom(header)
    if wanted.reuse:
        wanted.dataset_id = ""
    described = (platform.node(), contents.fingerprint, wanted.SerializeToString(deterministic=True))
    return hashlib.sha256(repr(described).encode()).hexdigest()
