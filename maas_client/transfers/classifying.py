"""Classify any number of files: requests that fit into a message, and a failure for each file that cannot be used."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status
from maas.inference.v1 import inference_pb2

from maas_client.calls.predictions import PredictionCalls

_MAX_FILES = 32
_MAX_BYTES = 16 * 1024 * 1024  # of files in one request: a quarter of the largest message
_Photo = tuple[Path, bytes]


@dataclass(frozen=True)
class Classified:
    """What became of one file: its labels, best first, and the version that named them; or an error."""

    file: Path
    version: str = ""
    scores: Sequence[inference_pb2.Score] = ()
    error: str = ""


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the paths, and for each folder the visible files below it, or itself where it is unreadable."""
    for path in paths:
        if path.is_dir():
            yield from _files_below(path)
        else:
            yield path


def classify(client: PredictionCalls, model: str, files: Iterable[Path], top_k: int = 0) -> Iterator[Classified]:
    """Yield what became of each file, in their order; raise grpc.RpcError where the service refuses for another reason.

    A file that cannot be read, or that the service names as no image, costs no other file its answer.
    """
    batch: list[_Photo] = []
    for file in files:
        try:
            photo = (file, file.read_bytes())
        except OSError as error:
            yield from _answers(client, model, batch, top_k)
            batch = []
            yield Classified(file, error=error.strerror or str(error))
            continue
        if len(batch) == _MAX_FILES or sum(len(data) for _, data in [*batch, photo]) > _MAX_BYTES:
            yield from _answers(client, model, batch, top_k)
            batch = []
        batch.append(photo)
    yield from _answers(client, model, batch, top_k)


def _answers(client: PredictionCalls, model: str, batch: Sequence[_Photo], top_k: int) -> Sequence[Classified]:
    """Ask for one batch, and again without the files that the service names, until it answers."""
    if not batch:
        return ()
    try:
        answer = client.predict(model, [data for _, data in batch], top_k=top_k)
    except grpc.RpcError as error:
        if _is_too_large(error):
            return _halves(client, model, batch, top_k, error)
        if "images" in _violations(error) and len(batch) > 1:  # more images than this service takes at once
            return _halves(client, model, batch, top_k, error)
        wrong = _named_images(error)
        if not wrong:
            raise
        kept = [photo for number, photo in enumerate(batch) if number not in wrong]
        good = iter(_answers(client, model, kept, top_k))
        return [
            Classified(file, error=wrong[number]) if number in wrong else next(good)
            for number, (file, _) in enumerate(batch)
        ]
    return [
        Classified(file, answer.version, prediction.scores)
        for (file, _), prediction in zip(batch, answer.predictions, strict=True)
    ]


def _halves(
    client: PredictionCalls, model: str, batch: Sequence[_Photo], top_k: int, error: grpc.RpcError
) -> Sequence[Classified]:
    """Ask for a batch in two requests; a file whose message alone is too large has no answer."""
    if len(batch) == 1:
        return [Classified(batch[0][0], error=f"{error.details()}: make the image smaller")]
    middle = len(batch) // 2
    return [each for half in (batch[:middle], batch[middle:]) for each in _answers(client, model, half, top_k)]


def _is_too_large(error: grpc.RpcError) -> bool:
    """Say whether a message was over the limit of either side."""
    is_exhausted = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return is_exhausted and "message larger than max" in (error.details() or "")


def _named_images(error: grpc.RpcError) -> Mapping[int, str]:
    """Return what is wrong with each image that the service names, by its number."""
    found = ((re.match(r"images\[(\d+)\]", field), text) for field, text in _violations(error).items())
    return {int(match[1]): text for match, text in found if match}


def _violations(error: grpc.RpcError) -> Mapping[str, str]:
    """Return the fields that a refusal names, and why."""
    if not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
        return {}
    request = BadRequest()
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Unpack(request):
            return {each.field: each.description for each in request.field_violations}
    return {}


def _files_below(folder: Path) -> Iterator[Path]:
    unreadable: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=lambda error: unreadable.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent, name) for name in sorted(names) if not name.startswith("."))
        yield from (path for path in paths if path.is_file())
    yield from unreadable  # as a file it cannot be read either, and is named
