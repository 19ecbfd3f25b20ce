"""Sends the rows of a table to one version, several requests at a time, and returns their scores in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from maas.open_inference.v2 import open_inference_pb2 as pb

from maas_client.calls.connection import Connection
from maas_client.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, Unavailable, translated
from maas_client.files.blocks import Block
from maas_client.files.row_blocks import Table
from maas_client.files.tables import Unusable
from maas_client.modalities.columns import Filled
from maas_client.scoring.inputs import Signature, fault_of, numbers_of
from maas_client.scoring.scores_file import Score
from maas_client.typed.shorthand import target_name
from maas_client.wire.resuming import is_back

_IN_FLIGHT = 4  # requests: two that the service's two batches are made of, and two that are read and written meanwhile
_PRIORITY = 200  # behind requests of the default, 100
_TIMEOUT_SECONDS = 60.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0
_BUSY = (DeadlineExceeded, ResourceExhausted, Unavailable)


def signature_of(client: Connection, model: str) -> Signature:
    """Return what the version that a name stands for takes and gives; raise ServiceError where it is not served."""
    _, model_id, *of_model = target_name(model).split("/")
    request = pb.ModelConfigRequest(name=model_id, version=of_model[-1] if of_model else "")
    return Signature.of(client.stubs.open_inference.ModelConfig(request, timeout=_TIMEOUT_SECONDS).config)


@dataclass(frozen=True)
class _Sent:
    """Rows that were sent; without a call where one of them cannot be."""

    block: Block
    call: Any = None


class Scorer:
    """Scores the rows of one table by one version.

    A row that cannot be sent, or that the service refuses, costs no other row its score. A service that is busy or away
    is asked again until it was so for the client's `reconnect_seconds`; then the ServiceError is raised.
    """

    def __init__(self, client: Connection, signature: Signature, table: Table, filled: Sequence[Filled]) -> None:
        """Take how the columns of the table fill the version's inputs."""
        self._client = client
        self._signature = signature
        self._table = table
        self._filled = filled

    def scores(self, blocks: Iterable[Block]) -> Iterator[Sequence[Score]]:
        """Yield the scores of each block, in order."""
        sent: deque[_Sent] = deque()
        try:
            for block in blocks:
                sent.append(self._sent(block))
                if len(sent) == _IN_FLIGHT:
                    yield self._answered(sent.popleft())
            while sent:
                yield self._answered(sent.popleft())
        finally:
            for each in sent:
                if each.call is not None:
                    each.call.cancel()

    def _sent(self, block: Block) -> _Sent:
        try:
            request = self._signature.request(self._filled, block.rows)
        except Unusable:
            return _Sent(block)
        request.parameters["priority"].uint64_param = _PRIORITY
        return _Sent(block, self._client.stubs.open_inference.ModelInfer.future(request, timeout=_TIMEOUT_SECONDS))

    def _answered(self, sent: _Sent) -> Sequence[Score]:
        if sent.call is None:
            return self._beside_faults(sent.block)
        try:
            return self._scores_in(sent)
        except InvalidArgument as error:
            return self._halves(sent.block, error)
        except _BUSY:
            return self._insisting(sent.block)

    def _insisting(self, block: Block) -> Sequence[Score]:
        """Send rows again until they are answered."""
        give_up = time.monotonic() + self._client.settings.reconnect_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return self._scores_in(self._sent(block))
            except InvalidArgument as error:
                return self._halves(block, error)
            except _BUSY:
                if not is_back(self._client.inference_channel, give_up, pause_seconds):
                    raise
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def _scores_in(self, sent: _Sent) -> Sequence[Score]:
        with translated():
            response = sent.call.result()
        version, block = self._signature.version, sent.block
        return [
            Score(self._name(line), version, numbers)
            for line, numbers in zip(block.lines, numbers_of(response), strict=True)
        ]

    def _beside_faults(self, block: Block) -> Sequence[Score]:
        """Score the rows that can be sent, and say of each other one why it cannot."""
        faults = [fault_of(self._filled, self._table.columns, row) for row in block.rows]
        good = [place for place, fault in enumerate(faults) if not fault]
        kept = Block([block.rows[place] for place in good], [block.lines[place] for place in good])
        scored = iter(self._answered(self._sent(kept)) if good else ())
        return [
            self._refused(line, fault) if fault else next(scored)
            for line, fault in zip(block.lines, faults, strict=True)
        ]

    def _halves(self, block: Block, error: InvalidArgument) -> Sequence[Score]:
        """Send the halves of a block that the service refuses: in the end each row that is at fault is alone."""
        if len(block.rows) == 1:
            return [self._refused(block.lines[0], "; ".join(error.violations.values()) or error.details())]
        middle = len(block.rows) // 2
        halves = (Block(block.rows[part], block.lines[part]) for part in (slice(middle), slice(middle, None)))
        return [score for half in halves for score in self._answered(self._sent(half))]

    def _refused(self, line: int, why: str) -> Score:
        return Score(self._name(line), self._signature.version, error=" ".join(why.split()))

    def _name(self, line: int) -> str:
        return f"{self._table.name}:{line}"
