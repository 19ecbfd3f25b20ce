"""Clients that keep predicting while versions are swapped, and what they saw."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from maas_client.calls.examples import Examples, examples_of
from maas_client.client import Client
from maas_client.errors import ServiceError
from maas_client.settings import ClientSettings


@dataclass(frozen=True)
class Answer:
    """One request: when it was answered (seconds since the epoch), by which version, or with which error."""

    time: float
    version: str
    error: str


class Traffic:
    """A number of threads, each asking about one example at a time at a steady pace; a context manager."""

    def __init__(
        self, settings: ClientSettings, model: str, examples: Examples, *, num_clients: int, pause_seconds: float
    ) -> None:
        self._settings, self._model, self._pause = settings, model, pause_seconds
        self._examples = examples_of(examples)
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(num_clients)]
        self.answers: list[Answer] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def num_failed(self) -> int:
        """Requests that were not answered with a prediction."""
        return sum(bool(answer.error) for answer in self.answers)

    def first_answer_from(self, version: str, timeout_seconds: float) -> Answer:
        """Wait for the first answer of a version; raise TimeoutError where none comes."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._find(version) is not None, timeout_seconds):
                raise TimeoutError(f"{version} answered nothing within {timeout_seconds} s")
            found = self._find(version)
            assert found is not None  # noqa: S101  wait_for just saw it
            return found

    def await_answers(self, count: int, timeout_seconds: float) -> None:
        """Wait until so many more requests have ended."""
        with self._changed:
            wanted = len(self.answers) + count
            self._changed.wait_for(lambda: len(self.answers) >= wanted, timeout_seconds)

    def _find(self, version: str) -> Answer | None:
        return next((answer for answer in self.answers if answer.version == version), None)

    def _ask(self, number: int) -> None:
        with Client(self._settings) as client:
            for example in itertools.islice(itertools.cycle(self._examples), number, None):
                version, error = "", ""
                try:
                    version = client.predict(self._model, [example]).version
                except ServiceError as failure:
                    error = str(failure)
                with self._changed:
                    self.answers.append(Answer(time.time(), version, error))
                    self._changed.notify_all()
                if self._stopping.wait(self._pause):
                    return
