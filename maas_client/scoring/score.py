"""Scores a table or files by a model, and writes the scores to a file; goes on with a file that was begun."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from maas.inference.v1.inference_pb2 import Prediction

from maas_client.calls.predictions import PredictionCalls
from maas_client.failures import CommandFailed
from maas_client.files.blocks import Block
from maas_client.files.row_blocks import is_table, open_table
from maas_client.files.tables import Unusable
from maas_client.scoring.inputs import Signature
from maas_client.scoring.scorer import Scorer, signature_of
from maas_client.scoring.scores_file import Score, ScoresFile
from maas_client.transfers.predicting import Answer, predict_all
from maas_client.transfers.questions import questions_of


@dataclass(frozen=True)
class Scored:
    """How many examples a file of scores has, how many of them have no answer, and by which version."""

    path: Path
    num_examples: int
    num_errors: int
    version: str


def score(
    client: PredictionCalls,
    model: str,
    sources: Sequence[Path],
    output: Path,
    *,
    columns: Sequence[str] = (),
    on_scored: Callable[[int, int], object] = lambda *_: None,
) -> Scored:
    """Write the scores of a table, or of files and of those below folders, to a file.

    One version answers all, whatever its alias points at meanwhile. `on_scored` is told of the number of examples so
    far, and of the bytes of the table that were read. Raises CommandFailed where the sources cannot be scored by this
    model, or the file is there already.
    """
    signature = signature_of(client, model)
    file = ScoresFile(output, signature.task, signature.names)
    if file.version and file.version != signature.version:
        signature = signature_of(client, file.version)
    num_errors = 0
    try:
        with file.writing() as write:
            for scores, num_bytes in _scores(client, signature, sources, columns, file.num_written):
                write(scores)
                num_errors += sum(bool(each.error) for each in scores)
                on_scored(file.num_written, num_bytes)
    except Unusable as error:
        raise CommandFailed(f"{', '.join(map(str, sources))}: {error}") from error
    return Scored(output, file.num_written, num_errors, signature.version)


def _scores(
    client: PredictionCalls, signature: Signature, sources: Sequence[Path], columns: Sequence[str], num_done: int
) -> Iterator[tuple[Sequence[Score], int]]:
    """Yield scores behind the first ones that are done, with the number of bytes read."""
    if len(sources) == 1 and is_table(sources[0]):
        with open_table(sources[0], sys.stdin.buffer) as table:
            filled = signature.filled(table.columns, columns)
            blocks = table.blocks(signature.max_rows, from_first_line=not table.has_header)
            for scores in Scorer(client, signature, table, filled).scores(_behind(blocks, num_done)):
                yield scores, table.bytes_read
        return
    if any(map(is_table, sources)):
        raise Unusable("a table is scored alone: one file of rows for each file of scores")
    questions = islice(questions_of(sources), num_done, None)
    top_k = len(signature.names) if signature.task == "classification" else 0
    answers = predict_all(client, signature.version, questions, top_k)
    while some := list(islice(answers, signature.max_rows)):
        yield [_score(each, signature) for each in some], 0


def _behind(blocks: Iterable[Block], num_rows: int) -> Iterator[Block]:
    """Yield blocks without the first rows."""
    for block in blocks:
        skipped = min(num_rows, len(block.rows))
        num_rows -= skipped
        if skipped < len(block.rows):
            yield Block(block.rows[skipped:], block.lines[skipped:])


def _score(answer: Answer, signature: Signature) -> Score:
    if answer.prediction is None:
        return Score(answer.name, signature.version, error=" ".join(answer.error.split()))
    numbers = _numbers(answer.prediction)
    return Score(answer.name, signature.version, [numbers[name] for name in signature.names])


def _numbers(prediction: Prediction) -> dict[str, float]:
    if prediction.HasField("regression"):
        return {each.target: each.value for each in prediction.regression.targets}
    found = prediction.classification.scores or prediction.multi_label.labels
    return {each.label: each.score for each in found}
