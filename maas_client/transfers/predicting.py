"""Ask a model about any number of examples: requests that fit into a message, and an error for each unusable one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from maas.inference.v1.inference_pb2 import Example, Prediction

from maas_client.calls.predictions import PredictionCalls
from maas_client.errors import InvalidArgument, ResourceExhausted, ServiceError
from maas_client.files.tables import Unusable

_MAX_EXAMPLES = 64
_MAX_BYTES = 16 * 1024 * 1024  # of the examples in one request: a quarter of the largest message


@dataclass(frozen=True)
class Question:
    """An example under a name, such as its file's, that is read when it is sent; `read` may raise Unusable."""

    name: str
    read: Callable[[], Example]


@dataclass(frozen=True)
class _Read:
    """A question that was read: its example, or why there is none."""

    name: str
    example: Example | None = None
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """The prediction for one example, and the version that made it; or an error."""

    name: str
    version: str = ""
    prediction: Prediction | None = None
    error: str = ""


def predict_all(client: PredictionCalls, model: str, questions: Iterable[Question], top_k: int = 0) -> Iterator[Answer]:
    """Yield an answer to each question, in order; raise ServiceError where the service refuses for another reason.

    An example that cannot be read, or that the service refuses, costs no other example its answer.
    """
    batch: list[_Read] = []
    num_bytes = 0
    for each in map(_read, questions):
        size = each.example.ByteSize() if each.example is not None else 0
        if batch and (len(batch) == _MAX_EXAMPLES or num_bytes + size > _MAX_BYTES):
            yield from _answers(client, model, batch, top_k)
            batch, num_bytes = [], 0
        batch.append(each)
        num_bytes += size
    yield from _answers(client, model, batch, top_k)


def _read(question: Question) -> _Read:
    try:
        return _Read(question.name, question.read())
    except Unusable as error:
        return _Read(question.name, error=str(error))


def _answers(client: PredictionCalls, model: str, batch: Sequence[_Read], top_k: int) -> Sequence[Answer]:
    """Ask for one batch, and again without the examples that the service names, until it answers."""
    if wrong := {number: each.error for number, each in enumerate(batch) if each.example is None}:
        return _beside_errors(client, model, batch, top_k, wrong)
    if not batch:
        return ()
    try:
        answer = client.predict(model, [each.example for each in batch if each.example is not None], top_k=top_k)
    except ResourceExhausted as error:
        if "message larger than max" not in error.details():  # of either side
            raise
        return _halves(client, model, batch, top_k, error)
    except InvalidArgument as error:
        if "examples" in error.violations and len(batch) > 1:  # more than this service takes at once
            return _halves(client, model, batch, top_k, error)
        named = _named_examples(error)
        if not named:
            raise
        return _beside_errors(client, model, batch, top_k, named)
    return [
        Answer(each.name, answer.version, prediction)
        for each, prediction in zip(batch, answer.predictions, strict=True)
    ]


def _beside_errors(
    client: PredictionCalls, model: str, batch: Sequence[_Read], top_k: int, wrong: Mapping[int, str]
) -> Sequence[Answer]:
    """Return an error for each example that is wrong, by its number, and ask for the others."""
    kept = [each for number, each in enumerate(batch) if number not in wrong]
    good = iter(_answers(client, model, kept, top_k))
    return [
        Answer(each.name, error=wrong[number]) if number in wrong else next(good) for number, each in enumerate(batch)
    ]


def _halves(
    client: PredictionCalls, model: str, batch: Sequence[_Read], top_k: int, error: ServiceError
) -> Sequence[Answer]:
    """Ask for a batch in two requests; an example whose message alone is too large has no answer."""
    if len(batch) == 1:
        return [Answer(batch[0].name, error=f"{error.details()}: make the example smaller")]
    middle = len(batch) // 2
    return [each for half in (batch[:middle], batch[middle:]) for each in _answers(client, model, half, top_k)]


def _named_examples(error: InvalidArgument) -> Mapping[int, str]:
    """Return what is wrong with each example that the service names, by its number."""
    found = ((re.match(r"examples\[(\d+)\]", field), text) for field, text in error.violations.items())
    return {int(match[1]): text for match, text in found if match}
