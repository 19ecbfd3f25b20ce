"""One model in this service: its versions, and which of them answers to which name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NoReturn

from inference_service.errors import LoadFailed, NotReady, NotServed
from inference_service.policy import Standing, VersionState
from inference_service.resident import ResidentVersion
from inference_service.statistics import VersionStatistics
from inference_service.wanted import WantedModel
from model_store.names import AliasName, ModelName, VersionName
from model_store.store import PRODUCTION

_NUM_REMEMBERED = 3


@dataclass(eq=False)
class ServedVersion:
    """Where one version stands; only the manager changes it."""

    name: VersionName
    manifest_digest: str
    wanted: bool = True
    state: VersionState = VersionState.PENDING
    reason: str = ""
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    resident: ResidentVersion | None = None
    load_seconds: float = 0.0
    num_leases: int = 0
    num_failures: int = 0
    retry_at: float = 0.0
    drain_timer: asyncio.TimerHandle | None = None

    def move(self, state: VersionState, reason: str = "") -> None:
        """Enter a state."""
        self.state, self.reason, self.updated_at = state, reason, datetime.now(UTC)


@dataclass(frozen=True)
class VersionReport:
    """How a version stands, for people and callers."""

    name: VersionName
    state: VersionState
    reason: str
    updated_at: datetime
    resident_bytes: int
    shared_bytes: int
    load_seconds: float
    statistics: VersionStatistics | None = None
    """What it was asked; None where it is not loaded."""


@dataclass(frozen=True)
class AliasReport:
    """Which version answers to an alias, and which one should."""

    name: AliasName
    version: VersionName | None
    wanted_version: VersionName


@dataclass(frozen=True)
class ModelReport:
    """How a model stands: versions newest first, aliases by id. One that is gone has neither."""

    model_id: str
    versions: tuple[VersionReport, ...] = ()
    aliases: tuple[AliasReport, ...] = ()
    default_version: VersionName | None = None


class ServedModel:
    """The versions of one model, and the names that they answer to.

    A name moves to the version that it should mean only once that one is READY; until then, or where its loading
    fails, the version before goes on answering.
    """

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        self.wanted = WantedModel(model_id)
        self.versions: dict[VersionName, ServedVersion] = {}
        self._aliases: dict[str, VersionName | None] = {}
        self._default: VersionName | None = None

    def want(self, wanted: WantedModel) -> None:
        """Take over what the registry wants now."""
        self.wanted = wanted
        for name, digest in wanted.versions.items():
            self.versions.setdefault(name, ServedVersion(name, digest))
        for version in self.versions.values():
            version.wanted = version.name in wanted.versions
        self.flip()

    def flip(self) -> None:
        """Move each name to its wanted version where that is ready; call it after every change of state."""
        targets = {alias: VersionName(self.model_id, number) for alias, number in self.wanted.aliases.items()}
        self._aliases = {alias: self._flipped(self._aliases.get(alias), target) for alias, target in targets.items()}
        newest_ready = max((name for name in self.wanted.versions if self._is_ready(name)), default=None)
        self._default = self._flipped(self._default, targets.get(PRODUCTION, newest_ready))
        if not self.wanted.versions:
            self._default = None

    def find(self, target: ModelName | AliasName | VersionName) -> ServedVersion:
        """Return the READY version that answers to a name; raise NotServed, NotReady or LoadFailed."""
        if isinstance(target, VersionName):
            return self._ready_version(target, target)
        if isinstance(target, ModelName):
            should_answer = self._default_target()
            return self._ready_version(self._default or should_answer, target)
        if target.alias not in self._aliases:
            raise NotServed(f"{target} does not exist here; `maas models` lists the aliases that do")
        wanted = VersionName(self.model_id, self.wanted.aliases[target.alias])
        return self._ready_version(self._aliases[target.alias] or wanted, target)

    def standings(self) -> Iterator[Standing]:
        """Describe each version to the policy."""
        answering = {self._default, *self._aliases.values()}
        for version in self.versions.values():
            answers = version.name in answering
            yield Standing(version.name, version.state, version.wanted, answers, version.retry_at)

    def forget(self) -> bool:
        """Forget all but the last few unloaded versions; say whether nothing is left to serve or to watch."""
        unloaded = [each for each in self.versions.values() if each.state is VersionState.UNLOADED and not each.wanted]
        for version in sorted(unloaded, key=lambda each: each.updated_at)[:-_NUM_REMEMBERED]:
            del self.versions[version.name]
        gone = all(each.state is VersionState.UNLOADED for each in self.versions.values())
        return gone and not self.wanted.versions

    def report(self) -> ModelReport:
        """Describe the model."""
        return ModelReport(
            self.model_id,
            tuple(_version_report(self.versions[name]) for name in sorted(self.versions, reverse=True)),
            tuple(self._alias_report(alias) for alias in sorted(self._aliases)),
            self._default,
        )

    def _alias_report(self, alias: str) -> AliasReport:
        wanted = VersionName(self.model_id, self.wanted.aliases[alias])
        return AliasReport(AliasName(self.model_id, alias), self._aliases[alias], wanted)

    def _flipped(self, current: VersionName | None, target: VersionName | None) -> VersionName | None:
        return next((name for name in (target, current) if self._is_ready(name)), None)

    def _is_ready(self, name: VersionName | None) -> bool:
        return name in self.versions and self.versions[name].state is VersionState.READY

    def _default_target(self) -> VersionName | None:
        if PRODUCTION in self.wanted.aliases:
            return VersionName(self.model_id, self.wanted.aliases[PRODUCTION])
        return max(self.wanted.versions, default=None)

    def _ready_version(self, name: VersionName | None, asked: object) -> ServedVersion:
        version = self.versions.get(name) if name is not None else None
        if version is None or not (version.wanted or version.state is VersionState.READY):
            raise NotServed(
                f"{asked} is not served here: point an alias at the version that should be; `maas models` shows what is"
            )
        if version.state is not VersionState.READY:
            _explain(version)
        return version


def _explain(version: ServedVersion) -> NoReturn:
    if version.state is VersionState.FAILED:
        raise LoadFailed(f"{version.name} could not be loaded and will be tried again: {version.reason}")
    raise NotReady(f"{version.name} is still loading: try again in a moment")


def _version_report(version: ServedVersion) -> VersionReport:
    return VersionReport(
        version.name,
        version.state,
        version.reason,
        version.updated_at,
        version.resident.size_bytes if version.resident else 0,
        version.resident.shared_bytes if version.resident else 0,
        version.load_seconds,
        version.resident.statistics if version.resident else None,
    )
