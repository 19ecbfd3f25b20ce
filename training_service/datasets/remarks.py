"""Remarks on a dataset: probable mistakes, and in a refusal the files that were left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from grpc_runtime.errors import MAX_TEXT_BYTES, percent_encoded_bytes
from model_store.errors import InvalidInput, Violation
from model_store.normal_form import look_alike_key
from training_service.datasets.examples import RejectedFile

_ROOM_FOR_REST = 50  # for the line that counts the files that are not named
_MAX_PATH, _MAX_REASON = 150, 120
_SHOWN_NAMES = 20


def remarks_on_labels(labels: Iterable[str]) -> Iterator[str]:
    """Say which labels look alike."""
    alike: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        alike.setdefault(look_alike_key(label), []).append(label)
    for group in alike.values():
        if len(group) > 1:
            yield f"labels that look alike are kept apart: {_names(group)}"


def remarks_on_folders(paths: Iterable[str], rejected: Sequence[RejectedFile], around: str) -> Iterator[str]:
    """Say which folders lost all of their files; `paths` are those that were kept, below the folder `around` all."""
    without = _folders(each.path.removeprefix(around) for each in rejected) - _folders(paths) - _folders([around])
    if lost := sorted(folder for folder in without if folder.rpartition("/")[0] not in without):
        yield f"no file of these folders could be used: {_names(lost)}"


def with_left_out(error: InvalidInput, rejected: Sequence[RejectedFile]) -> InvalidInput:
    """Return the same refusal with a line for each file that was left out, within the size of a status text."""
    if not rejected:
        return error
    first, *rest = error.violations
    room = MAX_TEXT_BYTES - percent_encoded_bytes(str(error)) - _ROOM_FOR_REST
    lines = _fitting(sorted(rejected, key=lambda each: each.path), room)
    return InvalidInput(Violation(first.field, "\n".join([first.description, *lines])), *rest)


def _fitting(rejected: Sequence[RejectedFile], room: int) -> Iterator[str]:
    for number, each in enumerate(rejected):
        line = f"left out: {_cut(each.path, _MAX_PATH)}: {_cut(each.reason, _MAX_REASON)}"
        room -= percent_encoded_bytes(f"\n{line}")
        if room < 0:
            yield f"left out: {len(rejected) - number} more files"
            return
        yield line


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _folders(paths: Iterable[str]) -> set[str]:
    """Return the folders that files lie in, directly or not."""
    folders: set[str] = set()
    for path in paths:
        parts = path.split("/")
        folders |= {"/".join(parts[:end]) for end in range(1, len(parts))}
    return folders


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(repr(each) for each in names[:_SHOWN_NAMES]) + more
