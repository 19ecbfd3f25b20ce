"""A dataset as a person reads it: what is in it, how its labels balance, what looks alike, what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maas.model_store.v1.model_store_pb2 import RESOURCE_STATE_DELETED
from maas.training.v1 import training_pb2
from rich.console import Console

from maas_client.typed.shorthand import id_of
from maas_client.views.output import as_text, moment, out, print_facts, print_table, size

_SHOWN_REJECTIONS = 10
_SHOWN_GROUPS = 5
_SHOWN_PATHS = 4
_BAR = 20
_UNBALANCED = 3
_LAYOUTS = {"folders": "as its folders say", "file": "as its splits.csv says", "column": "as its column split says"}


def show(dataset: training_pb2.Dataset) -> None:
    """Print what is known of a dataset."""
    print_facts(dataset.name, _facts(dataset))
    counts = [(each.label, each.num_train, each.num_validation, each.num_test) for each in dataset.labels]
    most = max((sum(numbers) for _, *numbers in counts), default=1)
    rows = [(label, sum(numbers), *numbers, _bar(sum(numbers) / most)) for label, *numbers in counts]
    print_table("", ["label", "images", "train", "validation", "test", "balance"], rows, "no labels")
    for group in dataset.near_duplicates[:_SHOWN_GROUPS]:
        out.print(as_text(f"look alike: {_paths(group.paths, group.num_images)}"), soft_wrap=True)
    _more(len(dataset.near_duplicates) - _SHOWN_GROUPS, "groups", dataset, out)
    show_rejections(dataset, out)


def show_rejections(dataset: training_pb2.Dataset, console: Console) -> None:
    """Say what may not have been meant, and name the files that were left out, and why."""
    for remark in dataset.remarks:
        console.print(as_text(f"note: {remark}"), style="yellow", soft_wrap=True)
    for rejected in dataset.rejected_files[:_SHOWN_REJECTIONS]:
        console.print(as_text(f"left out: {rejected.path}: {rejected.reason}"), style="yellow", soft_wrap=True)
    _more(dataset.num_rejected_files - _SHOWN_REJECTIONS, "files", dataset, console)


def _facts(dataset: training_pb2.Dataset) -> Iterator[tuple[str, object]]:
    yield "images", f"{dataset.num_images:,} of {len(dataset.labels):,} labels, {size(dataset.size_bytes)}"
    yield "balance", _balance(dataset.labels)
    yield "splits", _splits(dataset)
    yield "look alike", _near_duplicates(dataset)
    width, height = dataset.width, dataset.height
    yield "pixels", f"{_spread(width)} wide, {_spread(height)} high"
    yield "colours", f"mean {_numbers(dataset.pixel_mean)}, deviation {_numbers(dataset.pixel_std)} (0 to 1)"
    yield "digest", dataset.digest
    yield "appended to", dataset.parent
    yield "read from", dataset.uri
    yield "made", moment(dataset.create_time)
    if dataset.state == RESOURCE_STATE_DELETED:
        back = f"`maas datasets undelete {id_of(dataset.name)}` brings it back"
        yield "deleted", f"{moment(dataset.delete_time)}; until {moment(dataset.purge_time)} {back}"


def _balance(labels: Sequence[training_pb2.LabelCount]) -> str:
    """Say how far labels are from having as many images to train on."""
    most, least = (pick(labels, key=lambda each: each.num_train) for pick in (max, min))
    if most.num_train == least.num_train:
        return f"{most.num_train:,} to train on of each label"
    ratio = most.num_train / max(least.num_train, 1)
    text = f"{most.label} has {ratio:.1f} times as many to train on as {least.label}"
    return f"{text}: think of --class-weights balanced" if ratio >= _UNBALANCED else text


def _splits(dataset: training_pb2.Dataset) -> str:
    totals = [
        sum(getattr(each, f"num_{split}") for each in dataset.labels) for split in ("train", "validation", "test")
    ]
    how = _LAYOUTS.get(dataset.layout, f"dealt with seed {dataset.split.seed}")
    return "{:,} train, {:,} validation, {:,} test, {}".format(*totals, how)


def _near_duplicates(dataset: training_pb2.Dataset) -> str:
    if not dataset.num_near_duplicates:
        return "none"
    apart = dataset.num_split_near_duplicates
    where = f"{apart:,} of them with one in another split: test figures flatter" if apart else "none across splits"
    return f"{dataset.num_near_duplicates:,} images, {where}"


def _spread(spread: training_pb2.Spread) -> str:
    return f"{spread.min} to {spread.max} (median {spread.median})" if spread.min < spread.max else f"{spread.min}"


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def _paths(paths: Sequence[str], num_images: int) -> str:
    shown = paths[:_SHOWN_PATHS]
    more = num_images - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _bar(share: float) -> str:
    return "█" * max(1, round(share * _BAR))


def _more(number: int, what: str, dataset: training_pb2.Dataset, console: Console) -> None:
    if number > 0:
        text = f"… and {number:,} more {what}: see `maas datasets show {id_of(dataset.name)} --json`"
        console.print(as_text(text), soft_wrap=True)
