"""The traffic split of an alias: which version answers a request, and whether a shadow version runs on it too."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

from model_store.names import AliasName
from model_store.records.aliases import Traffic


@dataclass
class ShadowCounts:
    """Counts of the requests that were chosen for a shadow version.

    `num_compared` requests ran on both versions. Of their rows, `num_agreeing_rows` got the same best label, and no
    score differed by more than `max_score_difference`. `num_failed` requests failed on the shadow version.
    `num_dropped` requests were not run, because the queue was busy or the shadow version was not READY. `num_skipped`
    requests cannot be compared: another modality or task, other targets, rows that the caller prepared for another
    input spec, or no labels asked for.
    """

    num_compared: int = 0
    num_rows: int = 0
    num_agreeing_rows: int = 0
    max_score_difference: float = 0.0
    num_failed: int = 0
    num_dropped: int = 0
    num_skipped: int = 0


@dataclass(frozen=True)
class Split:
    """The shares of one alias beside its main version, and the counts of its shadow version."""

    alias: AliasName
    main: int
    traffic: Traffic
    counts: ShadowCounts = field(default_factory=ShadowCounts, compare=False)

    def canary(self, routing_key: str) -> int | None:
        """Return the number of the canary that answers a request, or None for the main version.

        Equal keys give equal answers in every replica: see `place`. An empty key decides by chance.
        """
        if not self.traffic.canaries:
            return None
        left = place(self.alias, routing_key) if routing_key else random.random() * 100  # noqa: S311  no secret
        for share in self.traffic.canaries:
            left -= share.percent
            if left < 0:
                return share.number
        return None

    def shadow(self) -> int | None:
        """Return the number of the shadow version where this request is in its share; decided by chance."""
        share = self.traffic.shadow
        return share.number if share is not None and random.random() * 100 < share.percent else None  # noqa: S311


def place(alias: AliasName, routing_key: str) -> float:
    """Return the position of a key, from 0 to 100, uniform over keys.

    The first canary takes the positions from 0 to its percent, the next one continues there, and the main version takes
    the rest. So a key stays with the first canary when the percent of that canary grows.
    """
    digest = hashlib.blake2b(f"{alias}\0{routing_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100
