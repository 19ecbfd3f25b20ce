"""The file of scores: a line for each row, in order, written beside its name until all are there."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from maas_client.failures import CommandFailed
from model_store.tasks.task import THRESHOLD

SUFFIXES = (".csv", ".jsonl")
"""What a file of scores may be."""
_COLUMNS = ("example", "version")
_TEXT_OF = "%.7g".__mod__


class Score(NamedTuple):
    """The numbers of one example, one for each output of the version; or an error."""

    example: str
    version: str
    numbers: Sequence[float] = ()
    error: str = ""


class ScoresFile:
    """Writes scores to `PATH.partial`, which gets its own name once all are there.

    A file that was begun is gone on with: `num_written` examples are in it, by `version`. A line that was cut off at
    the end is dropped.
    """

    def __init__(self, path: Path, task: str, names: Sequence[str]) -> None:
        """Raise CommandFailed where the file is there already, or the begun one is of other outputs."""
        if path.exists():
            raise CommandFailed(f"{path} is there already", hint="Remove it, or name another file by --output.")
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self._task, self._names = task, names
        self._is_json = path.suffix.lower() == ".jsonl"
        self.num_written, self.version = self._begun()

    @contextmanager
    def writing(self) -> Iterator[Callable[[Sequence[Score]], None]]:
        """Yield what writes scores; those that were written stay if the block fails, and are the file if it ends."""
        is_whole = False
        try:
            with self.partial.open("a", encoding="utf-8", newline="") as file:
                if not self._is_json and not file.tell():
                    file.write(self._header())
                yield lambda scores: self._write(file, scores)
                file.flush()
                os.fsync(file.fileno())
                is_whole = True
        finally:
            if not self.num_written and not is_whole:
                self.partial.unlink()
        self.partial.replace(self.path)

    def _write(self, file: IO[str], scores: Sequence[Score]) -> None:
        if self._is_json:
            file.writelines(f"{json.dumps(self._plain(each), ensure_ascii=False)}\n" for each in scores)
        else:
            csv.writer(file, lineterminator="\n").writerows(map(self._cells, scores))
        file.flush()
        self.num_written += len(scores)

    def _header(self) -> str:
        answers = {"classification": ("label", "score"), "multi_label": ("labels",), "regression": ()}[self._task]
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow([*_COLUMNS, *answers, *map(self._column, self._names), "error"])
        return line.getvalue()

    def _column(self, name: str) -> str:
        return f"value:{name}" if self._task == "regression" else f"score:{name}"

    def _cells(self, score: Score) -> Sequence[str]:
        numbers = list(map(_TEXT_OF, score.numbers)) or [""] * len(self._names)
        return [score.example, score.version, *self._decided(score, numbers), *numbers, score.error]

    def _decided(self, score: Score, numbers: Sequence[str]) -> Sequence[str]:
        if self._task == "regression":
            return ()
        if self._task == "multi_label":
            return [";".join(self._assigned(score.numbers))]
        if not score.numbers:
            return "", ""
        best = score.numbers.index(max(score.numbers))
        return self._names[best], numbers[best]

    def _assigned(self, numbers: Sequence[float]) -> list[str]:
        return [name for name, number in zip(self._names, numbers, strict=False) if number >= THRESHOLD]

    def _plain(self, score: Score) -> Mapping[str, Any]:
        if score.error:
            return {"example": score.example, "version": score.version, "error": score.error}
        numbers = {name: float(f"{number:.7g}") for name, number in zip(self._names, score.numbers, strict=True)}
        about = {"example": score.example, "version": score.version}
        if self._task == "regression":
            return {**about, "values": numbers}
        if self._task == "multi_label":
            return {**about, "labels": self._assigned(score.numbers), "scores": numbers}
        label = max(numbers, key=numbers.__getitem__)
        return {**about, "label": label, "scores": numbers}

    def _begun(self) -> tuple[int, str]:
        """Return how many examples the begun file has, and the version that answered."""
        if not self.partial.exists():
            return 0, ""
        with self.partial.open("r+b") as file:
            if not self._is_json and (header := file.readline()) and header != self._header().encode():
                rule = "was begun by another version, or for other outputs"
                raise CommandFailed(f"{self.partial} {rule}", hint="Remove it to begin again.")
            count, end, last = 0, file.tell(), b""
            for line in file:
                if line.endswith(b"\n"):
                    count, end, last = count + 1, end + len(line), line
            file.truncate(end if count or not self._is_json else 0)
        return count, self._version_in(last.decode())

    def _version_in(self, line: str) -> str:
        if not line:
            return ""
        return str(json.loads(line)["version"]) if self._is_json else next(csv.reader([line]))[1]
