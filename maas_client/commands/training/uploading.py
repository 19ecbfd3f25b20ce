"""Upload a dataset with a progress bar, and say what was left out before it was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maas.training.v1 import training_pb2

from maas_client.client import Client
from maas_client.errors import ServiceError
from maas_client.failures import WrongUsage
from maas_client.files.archive import Contents
from maas_client.views.output import as_text, notes
from maas_client.views.progress import byte_bar
from maas_client.wire.retrying import BROKEN_OFF

_SHOWN = 20


def upload(
    client: Client,
    path: Path,
    dataset_id: str,
    seed: int | None = None,
    parent: str = "",
    *,
    encoding: str = "",
    reuse: bool = False,
    **data: Any,  # noqa: ANN401  each as its argument wants it
) -> training_pb2.Dataset:
    """Upload a folder, an archive or a CSV file; raise WrongUsage where there is nothing to upload.

    `data` says what it is: see `Client.upload_dataset`. What cannot be read is listed, whether the upload succeeds or
    not.
    """
    contents = Contents(path)
    try:
        if contents.num_bytes == 0:
            empty = "holds no files: it needs one sub-folder for each label" if path.is_dir() else "is empty"
            raise WrongUsage(f"{path} {empty}")
        bar = byte_bar(f"uploading {path.name}", contents.num_bytes, then="checking the examples")
        with bar as advance, _continuation_shown(advance) as on_sent:
            return client.upload_dataset(
                dataset_id,
                contents,
                split=split_spec(seed),
                parent=parent,
                encoding=encoding,
                reuse=reuse,
                on_sent=on_sent,
                **data,
            )
    finally:
        _show_left_out(contents)


@contextmanager
def _continuation_shown(advance: Callable[[int], None]) -> Iterator[Callable[[int], None]]:
    """Say that the command goes on when it is typed again, where an upload breaks off that had begun."""
    has_begun = False

    def on_sent(num_bytes: int) -> None:
        nonlocal has_begun
        has_begun = True
        advance(num_bytes)

    try:
        yield on_sent
    except (ServiceError, KeyboardInterrupt) as error:
        if has_begun and (not isinstance(error, ServiceError) or error.code() in BROKEN_OFF):
            notes.print("What has arrived of the upload is kept for a while: the same command goes on from there.")
        raise


def split_spec(seed: int | None) -> training_pb2.SplitSpec | None:
    """Return how to assign splits by a seed; what is appended is assigned as in its parent, and so has none."""
    return training_pb2.SplitSpec(seed=seed) if seed is not None else None


def _show_left_out(contents: Contents) -> None:
    for each in contents.left_out[:_SHOWN]:
        notes.print(as_text(f"not uploaded: {each.name}: {each.reason}"), style="yellow", soft_wrap=True)
    if (more := len(contents.left_out) - _SHOWN) > 0:
        notes.print(f"not uploaded: {more:,} more", style="yellow")
