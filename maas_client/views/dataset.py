"""A dataset as a person reads it: what is in it, how its targets are spread, what looks alike, what was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from maas.model_store.v1 import model_store_pb2
from maas.model_store.v1.model_store_pb2 import RESOURCE_STATE_DELETED
from maas.training.v1 import training_pb2
from rich.console import Console

from maas_client.modalities import FACTS
from maas_client.typed.shorthand import id_of
from maas_client.views.output import as_text, moment, out, print_facts, print_table, size
from maas_client.views.tasks import answers_text

_SHOWN_REJECTIONS = 10
_SHOWN_GROUPS = 5
_SHOWN_SOURCES = 4
_SHOWN_FEATURES = 20
_BAR = 20
_UNBALANCED = 3
_SOURCES = {
    training_pb2.SPLIT_SOURCE_FOLDERS: "as its folders say",
    training_pb2.SPLIT_SOURCE_FILE: "as its splits.csv says",
    training_pb2.SPLIT_SOURCE_COLUMN: "as its column split says",
}


def show(dataset: training_pb2.Dataset) -> None:
    """Print what is known of a dataset."""
    print_facts(dataset.name, _facts(dataset))
    if dataset.labels:
        _show_labels(dataset.labels)
    if dataset.targets:
        _show_spreads("target", dataset.targets)
    if dataset.values.features:
        _show_spreads("feature", dataset.values.features[:_SHOWN_FEATURES])
        _more(dataset.values.feature_count - _SHOWN_FEATURES, "features", dataset, out)
    for group in dataset.near_duplicates[:_SHOWN_GROUPS]:
        out.print(as_text(f"look alike: {_sources(group.sources, group.example_count)}"), soft_wrap=True)
    _more(len(dataset.near_duplicates) - _SHOWN_GROUPS, "groups", dataset, out)
    show_rejections(dataset, out)


def show_rejections(dataset: training_pb2.Dataset, console: Console) -> None:
    """Say what may not have been meant, and name the files that were left out, and why."""
    for remark in dataset.remarks:
        console.print(as_text(f"note: {remark}"), style="yellow", soft_wrap=True)
    for rejected in dataset.rejected_files[:_SHOWN_REJECTIONS]:
        console.print(as_text(f"left out: {rejected.path}: {rejected.reason}"), style="yellow", soft_wrap=True)
    _more(dataset.rejected_file_count - _SHOWN_REJECTIONS, "files", dataset, console)


def size_text(dataset: training_pb2.Dataset) -> str:
    """Say how many examples there are, and of how many labels or targets."""
    count = len(dataset.labels) or len(dataset.targets)
    return f"{dataset.example_count:,} examples ({dataset.modality}), {answers_text(dataset.task, count)}"


def target_text(target: training_pb2.Target) -> str:
    """Return what an example is to be answered with, in a few words."""
    return _TARGETS[target.WhichOneof("target") or "label"](target)


_TARGETS: Mapping[str, Callable[[training_pb2.Target], str]] = {
    "label": lambda target: target.label,
    "labels": lambda target: ", ".join(target.labels.labels) or "none",
    "numbers": lambda target: ", ".join(f"{number:g}" for number in target.numbers.values),
}


def _facts(dataset: training_pb2.Dataset) -> Iterator[tuple[str, object]]:
    yield "examples", f"{size_text(dataset)}, {size(dataset.size_bytes)}"
    yield "task", model_store_pb2.Task.Name(dataset.task).removeprefix("TASK_").lower()
    if dataset.labels:
        yield "balance", _balance(dataset.labels)
    yield "splits", _splits(dataset)
    yield "look alike", _near_duplicates(dataset)
    if kind := dataset.WhichOneof("summary"):
        yield from FACTS[kind](getattr(dataset, kind))
    yield "digest", dataset.digest
    yield "appended to", dataset.parent
    yield "read from", dataset.uri
    yield "made", moment(dataset.create_time)
    if dataset.state == RESOURCE_STATE_DELETED:
        back = f"`maas datasets undelete {id_of(dataset.name)}` brings it back"
        yield "deleted", f"{moment(dataset.delete_time)}; until {moment(dataset.purge_time)} {back}"


def _show_labels(labels: Sequence[training_pb2.LabelCount]) -> None:
    counts = [(each.label, each.examples.train, each.examples.validation, each.examples.test) for each in labels]
    most = max((sum(numbers) for _, *numbers in counts), default=1)
    rows = [(label, sum(numbers), *numbers, _bar(sum(numbers) / max(most, 1))) for label, *numbers in counts]
    print_table("", ["label", "examples", "train", "validation", "test", "balance"], rows, "no labels")


def _show_spreads(noun: str, spreads: Sequence[training_pb2.NumberSpread]) -> None:
    rows = [
        (each.name, *(f"{number:g}" for number in (each.min, each.mean, each.standard_deviation, each.max)))
        for each in spreads
    ]
    print_table("", [noun, "least", "mean", "deviation", "most"], rows, f"no {noun}s")


def _balance(labels: Sequence[training_pb2.LabelCount]) -> str:
    """Say how far labels are from having as many examples to train on."""
    most, least = (pick(labels, key=lambda each: each.examples.train) for pick in (max, min))
    if most.examples.train == least.examples.train:
        return f"{most.examples.train:,} to train on of each label"
    ratio = most.examples.train / max(least.examples.train, 1)
    text = f"{most.label} has {ratio:.1f} times as many to train on as {least.label}"
    return f"{text}: think of --class-weights balanced" if ratio >= _UNBALANCED else text


def _splits(dataset: training_pb2.Dataset) -> str:
    counts = dataset.split_counts
    how = _SOURCES.get(dataset.split_source, f"assigned with seed {dataset.split.seed}")
    return f"{counts.train:,} train, {counts.validation:,} validation, {counts.test:,} test, {how}"


def _near_duplicates(dataset: training_pb2.Dataset) -> str:
    if not dataset.near_duplicate_count:
        return "none"
    apart = dataset.split_near_duplicate_count
    where = f"{apart:,} of them with one in another split: test figures flatter" if apart else "none across splits"
    return f"{dataset.near_duplicate_count:,} examples, {where}"


def _sources(sources: Sequence[str], count: int) -> str:
    shown = sources[:_SHOWN_SOURCES]
    more = count - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _bar(share: float) -> str:
    return "█" * max(1, round(share * _BAR))


def _more(number: int, what: str, dataset: training_pb2.Dataset, console: Console) -> None:
    if number > 0:
        text = f"… and {number:,} more {what}: see `maas datasets show {id_of(dataset.name)} --json`"
        console.print(as_text(text), soft_wrap=True)
