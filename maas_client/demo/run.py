"""The demo's steps, the same for every modality: each prints what it did and how long it took."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path

from maas.model_store.v1 import model_store_pb2

from maas_client.client import Client
from maas_client.demo.subject import FineTune, Judged, Subject
from maas_client.demo.traffic import Traffic
from maas_client.scoring.row_questions import row_questions
from maas_client.stack.processes import Stack
from maas_client.transfers.predicting import Question, predict_all
from maas_client.transfers.publish import publish_base
from maas_client.transfers.questions import questions_of
from maas_client.views.job import check_succeeded, follow
from maas_client.views.output import notes
from maas_client.views.outputs import DemoFigures
from model_store.architectures import build_random
from model_store.bases.catalogue import LoadedBase, load_base
from model_store.home_folder import expanded

_BASE, _UNTRAINED, _COMPARISON = "base", "base-untrained", "comparison"
_ALIAS = "production"
_NUM_CLIENTS = 8
_PAUSE_SECONDS = 0.5
_NUM_SHOWN = 24
_CACHE = Path("~/.cache/maas")


@dataclass(frozen=True)
class Swap:
    """What the clients saw while version 2 took over."""

    seconds_to_first_answer: float
    num_requests: int
    num_failed: int


@dataclass(frozen=True)
class Result:
    """The figures, and what the second version says of held-out examples, under a title."""

    figures: DemoFigures
    judged: Sequence[Judged]
    title: str


def run_demo(subject: Subject, data: Path, output: Path) -> Result:
    """Run every step, saying on standard error how far it is, and return what came of it.

    Services are stopped whatever happens.
    """
    home = output.resolve() / "home"
    with Stack(home, free_ports=True) as stack:
        stack.claim()
        _empty(home)
        with _step("both services started"):
            stack.start()
            settings = stack.await_serving()
        with Client(settings) as client:
            return _MainJob(client, subject, data).run()


def _empty(home: Path) -> None:
    """Remove what another demo left, but its folder of locks and logs."""
    for path in home.iterdir():
        if path.name != "run":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def find_data(subject: Subject, data: Path | None) -> Path:
    """Return the caller's own data, else that of the demo, which is fetched once; raise DataUnavailable."""
    start = time.monotonic()
    cache = expanded(_CACHE, "HOME")
    cache.mkdir(parents=True, exist_ok=True)
    found = data or subject.prepare(cache)
    count = f", {sum(path.is_file() for path in found.rglob('*'))} files" if found.is_dir() else ""
    _done(f"{subject.examples}: {found.name}{count}", start)
    return found


class _MainJob:
    """The main job on one set of data, by calls to running services."""

    def __init__(self, client: Client, subject: Subject, data: Path) -> None:
        self._client, self._subject, self._data = client, subject, data
        self._model = f"{subject.name}@{_ALIAS}"

    def run(self) -> Result:
        subject = self._subject
        has_base = self._import_base()
        with _step(f"{subject.examples} uploaded over gRPC, checked and split"):
            dataset = self._client.upload_dataset(
                subject.name, self._data, modality=subject.modality, task="classification", columns=subject.columns
            )
        with _step(f"version 1: {subject.first.text}"):
            first = self._finetune(subject.name, _BASE if has_base else "", subject.first)
        untrained = None
        if has_base:
            with _step("the same on the untrained network"):
                untrained = self._finetune(_COMPARISON, _UNTRAINED, subject.first)
        held_out = self._held_out(dataset.name)
        with _step(f"version 2: {subject.second.text}, while {_NUM_CLIENTS} clients keep predicting"):
            second, swap = self._swap_under_load(_BASE if has_base else "", held_out)
        with _step(f"held-out {subject.examples} classified by version 2"):
            judged = self._judge(held_out)
        accuracy = second.metrics.values["accuracy"]
        title = f"{second.name}: accuracy {accuracy:.3f} on {len(held_out)} held-out {subject.examples}"
        return Result(self._figures(first, untrained, second, swap), judged, title)

    def _import_base(self) -> bool:
        """Publish the subject's base, trained and untrained; say whether it has one."""
        if (packaged := self._subject.base) is None:
            return False
        what = f"{packaged.architecture}, trained on {packaged.trained_on}, from the package {packaged.package}"
        with _step(f"base imported: {what}"):
            base = load_base(packaged.architecture, packaged.package)
            publish_base(self._client, _BASE, base)
        with _step("the same network with random weights, for comparison"):
            publish_base(self._client, _UNTRAINED, untrained(base))
        return True

    def _finetune(self, model: str, base: str, finetune: FineTune) -> model_store_pb2.ModelVersion:
        job = self._client.finetune(model, base=base, dataset=self._subject.name, recipe=finetune.recipe, alias=_ALIAS)
        job = follow(self._client, job.name)
        check_succeeded(job)
        return self._client.version(job.version)

    def _held_out(self, dataset: str) -> Sequence[tuple[Question, str]]:
        """Return the examples of the test split as they lie in the data, each with its label."""
        found = list(questions_of([self._data], rows_of=row_questions(self._client, self._model, ())))
        by_name = {question.name: question for question in found}
        return [
            (found[row.row_number - 1] if row.row_number else by_name[str(self._data / row.path)], row.target.label)
            for row in self._client.dataset_rows(dataset, "test")
        ]

    def _swap_under_load(
        self, base: str, held_out: Sequence[tuple[Question, str]]
    ) -> tuple[model_store_pb2.ModelVersion, Swap]:
        """Train and hot-load version 2 while clients keep asking for the model, and say what they saw."""
        examples = [question.read() for question, _ in held_out[:_NUM_CLIENTS]]
        clients = Traffic(
            self._client.settings, self._model, examples, num_clients=_NUM_CLIENTS, pause_seconds=_PAUSE_SECONDS
        )
        with clients as traffic:
            version = self._finetune(self._subject.name, base, self._subject.second)
            first = traffic.first_answer_from(version.name, timeout_seconds=60)
            traffic.await_answers(2 * _NUM_CLIENTS, timeout_seconds=60)
        published = version.create_time.ToDatetime(UTC).timestamp()
        return version, Swap(first.time - published, len(traffic.answers), traffic.num_failed)

    def _judge(self, held_out: Sequence[tuple[Question, str]]) -> list[Judged]:
        """Classify examples evenly spread over the held-out ones, which come label by label."""
        num_shown = min(_NUM_SHOWN, len(held_out))
        chosen = [held_out[number * len(held_out) // num_shown] for number in range(num_shown)]
        answers = predict_all(self._client, self._model, (question for question, _ in chosen), top_k=1)
        return [
            Judged(self._short(question.name), question.read(), label, best.label, best.score)
            for (question, label), answer in zip(chosen, answers, strict=True)
            if answer.prediction is not None
            for best in answer.prediction.classification.scores[:1]
        ]

    def _short(self, name: str) -> str:
        """Return the name of an example without the folder that the data lies in."""
        return name.removeprefix(f"{self._data if self._data.is_dir() else self._data.parent}/")

    def _figures(
        self,
        first: model_store_pb2.ModelVersion,
        untrained: model_store_pb2.ModelVersion | None,
        second: model_store_pb2.ModelVersion,
        swap: Swap,
    ) -> DemoFigures:
        figures = DemoFigures(
            accuracy_version_1=first.metrics.values["accuracy"],
            accuracy_version_2=second.metrics.values["accuracy"],
            seconds_publish_to_first_answer=swap.seconds_to_first_answer,
            num_requests_during_swap=swap.num_requests,
            num_failed_during_swap=swap.num_failed,
            base_bytes=self._client.version(second.lineage.base).size_bytes,
            added_bytes_version_1=first.added_bytes,
            added_bytes_version_2=second.added_bytes,
        )
        if untrained is not None:
            figures["accuracy_untrained"] = untrained.metrics.values["accuracy"]
        return figures


def untrained(base: LoadedBase) -> LoadedBase:
    """Return a base's network with random weights under the seed 0."""
    chain = build_random(base.architecture, base.arguments, base.head, seed=0).eval()
    return replace(base, chain=chain, origin={"source": "random", "seed": "0"})


@contextmanager
def _step(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    _done(what, start)


def _done(what: str, start: float) -> None:
    notes.print(f"[green]✓[/] {what} [dim]({time.monotonic() - start:.1f} s)[/]", highlight=False)
