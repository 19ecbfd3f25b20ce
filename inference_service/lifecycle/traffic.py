"""How the requests of an alias are dealt out: which version answers one, and whether another is compared with it."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

from model_store.names import AliasName
from model_store.records.aliases import Traffic


@dataclass
class ShadowCounts:
    """What became of the requests that a shadow was given.

    `num_compared` ran on both versions; of their rows `num_agreeing_rows` got the same best label, and no score
    differed by more than `max_score_difference`. `num_failed` failed on the shadow, `num_dropped` found too much to do
    beside them or no shadow that was ready, and `num_skipped` cannot be compared: the versions take other inputs, or
    no label was asked for.
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
    """The shares of one alias, beside its main version, and what its shadow was counted doing."""

    alias: AliasName
    main: int
    traffic: Traffic
    counts: ShadowCounts = field(default_factory=ShadowCounts, compare=False)

    def canary(self, routing_key: str) -> int | None:
        """Return the number of the canary that a request is dealt, or None for the main version.

        Equal keys are dealt alike, by everybody who knows the alias: see `place`. Without a key chance decides.
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
        """Return the number of the version that is given this request to be compared, if it is in the share."""
        share = self.traffic.shadow
        return share.number if share is not None and random.random() * 100 < share.percent else None  # noqa: S311


def place(alias: AliasName, routing_key: str) -> float:
    """Return where a key lies among all keys, from 0 to 100.

    The first canary takes the keys from 0 to its percent, the next one goes on from there, and the main version takes
    the rest: so whoever was in the first canary stays in it when it is given more.
    """
    digest = hashlib.blake2b(f"{alias}\0{routing_key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100
