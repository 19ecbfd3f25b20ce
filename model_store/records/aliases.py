"""Aliases: their targets, the shares of other versions, and their moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from model_store.names import AliasName, VersionName


@dataclass(frozen=True)
class Share:
    """A version of an alias's model, and the percent of the alias's requests that it is given, above 0 to 100."""

    number: int
    percent: float


@dataclass(frozen=True)
class Traffic:
    """The shares of an alias's requests that other versions get; the main version answers the rest.

    Each canary answers its percent of the requests. The shadow also runs its percent; its answers are compared, counted
    and never returned. Canaries and the main version differ from one another, and so do shadow and main version.
    """

    canaries: tuple[Share, ...] = ()
    shadow: Share | None = None

    @property
    def shares(self) -> tuple[Share, ...]:
        """Every version that takes part, one twice where a canary is the shadow too."""
        return self.canaries if self.shadow is None else (*self.canaries, self.shadow)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Traffic:
        """Read the form that `to_json` writes."""
        shadow = values["shadow"]
        return cls(tuple(Share(**each) for each in values["canaries"]), Share(**shadow) if shadow is not None else None)


NO_SPLIT = Traffic()
"""Every request is the main version's."""


@dataclass(frozen=True)
class Target:
    """The target of an alias: its main version, and the shares of other versions."""

    number: int
    traffic: Traffic = NO_SPLIT

    @property
    def numbers(self) -> frozenset[int]:
        """Every version that it names."""
        return frozenset({self.number, *(share.number for share in self.traffic.shares)})


@dataclass(frozen=True)
class Alias:
    """A name that points at one version of a model, and may give others a share of its requests.

    The `etag` is that of its last move: it is never given twice, not even where the alias is deleted and set again.
    """

    name: AliasName
    version: VersionName
    updated_at: datetime
    traffic: Traffic = NO_SPLIT
    etag: str = ""


@dataclass(frozen=True)
class AliasMove:
    """One entry of an alias's append-only history; `to_version` is None for the deletion of the alias.

    A change of `traffic` alone is a move from a version to itself. An entry that `is_refused` is no move: a gate
    refused `to_version`. The `actor` is the mover's own name for itself, the `principal` its authenticated name.
    """

    name: AliasName
    from_version: VersionName | None
    to_version: VersionName | None
    traffic: Traffic
    actor: str
    reason: str
    created_at: datetime
    is_refused: bool = False
    principal: str = ""
