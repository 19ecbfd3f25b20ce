"""What a benchmark reports: figures against their bars, as a table for people and JSON for programs."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from rich.console import Console
from rich.table import Table

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Figure:
    """One measured value; `bar` says what it must be, such as `<= 1.3`, and is empty for one that is only told."""

    figure: str
    value: float
    unit: str
    bar: str = ""

    @property
    def holds(self) -> bool:
        """Say whether the value is within its bar."""
        if not self.bar:
            return True
        relation, limit = self.bar.split()
        return self.value <= float(limit) if relation == "<=" else self.value >= float(limit)


@dataclass(frozen=True)
class Options:
    """How a benchmark is run."""

    quick: bool
    only: tuple[str, ...]
    folder: Path | None


Part = Callable[[Path, Options], Iterator[Figure]]
"""Measures in a folder of its own."""


def run_parts(title: str, description: str, parts: Mapping[str, Part]) -> None:
    """Run the parts that the command line asks for; end with 1 where a figure misses its bar."""
    options, path = arguments(description, list(parts))
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="maas-bench-") as folder:
        for name in options.only:
            part_folder = Path(folder) / name
            part_folder.mkdir()
            figures += (measured := list(parts[name](part_folder, options)))
            show(f"{title}: {name}", measured)
    if path is not None:
        values = [{**each.__dict__, "holds": each.holds} for each in figures]
        path.write_text(json.dumps(values, indent=2) + "\n")
    sys.exit(0 if all(each.holds for each in figures) else 1)


def arguments(description: str, parts: Sequence[str]) -> tuple[Options, Path | None]:
    """Read the command line: the options, and the file for the JSON."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: all of it within a minute")
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts), help="run these parts only")
    parser.add_argument("--folder", type=Path, help="work below this folder: the disk that is measured")
    given = parser.parse_args()
    return Options(given.quick, tuple(given.only), given.folder), given.json


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print figures as a table."""
    table = Table("figure", "value", "bar", "holds", title=title, title_justify="left")
    for each in figures:
        holds = ("yes" if each.holds else "[bold red]NO[/]") if each.bar else ""
        table.add_row(each.figure, f"{each.value:,.4g} {each.unit}", each.bar, holds)
    Console().print(table)


def seconds_in_turn(
    num_rounds: int, *works: Callable[[], object], before: Callable[[], object] = lambda: None
) -> list[float]:
    """Do each work in turn, several rounds; return the median of each one's seconds, without those of `before`."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(num_rounds):
        for times, work in zip(taken, works, strict=True):
            before()
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]


@overload
def in_turn(num_rounds: int, first: Callable[[], T], second: Callable[[], U], /) -> tuple[list[T], list[U]]: ...


@overload
def in_turn(num_rounds: int, /, *measures: Callable[[], T]) -> Sequence[list[T]]: ...


def in_turn(num_rounds: int, /, *measures: Callable[[], Any]) -> Sequence[list[Any]]:
    """Measure each in turn, several rounds; return what each gave, round by round."""
    rounds = [[measure() for measure in measures] for _ in range(num_rounds)]
    return tuple(list(values) for values in zip(*rounds, strict=True))


def median_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the ratios within a round: what disturbs a whole round then disturbs nothing."""
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
