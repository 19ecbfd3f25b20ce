"""One model in this service: its versions, and which of them answers which name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from inference_service.desired.desired_versions import Target, WantedModel
from inference_service.errors import LoadFailed, NotReady, NotServed
from inference_service.lifecycle.policy import VersionSnapshot, VersionState
from inference_service.lifecycle.served_version import ServedVersion, VersionReport, version_report
from inference_service.lifecycle.traffic import Split
from model_store.names import AliasName, ModelName, VersionName, model_name
from model_store.registry.models import PRODUCTION

_NUM_REMEMBERED = 3


@dataclass(frozen=True)
class AliasReport:
    """The version that answers an alias, and the version that should answer it."""

    name: AliasName
    version: VersionName | None
    wanted_version: VersionName
    split: Split | None = None


@dataclass(frozen=True)
class ModelReport:
    """The state of a model: versions newest first, aliases by id. A deleted model has neither."""

    model_id: str
    versions: tuple[VersionReport, ...] = ()
    aliases: tuple[AliasReport, ...] = ()
    default_version: VersionName | None = None
    obstacle: str = ""
    """The name or pinned version that should be answered and is not, with the reason; empty without one."""


class ServedModel:
    """The versions of one model, and the names that they answer.

    A name moves to its desired version only once that one is READY; until then, or where loading fails, the previous
    version goes on answering. An evicted version keeps its names. While the model `is_off`, which a call of an operator
    sets, none of its versions is desired and no name is answered.
    """

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        self.wanted = WantedModel(model_id)
        self.versions: dict[VersionName, ServedVersion] = {}
        self.is_off = False
        self.splits: dict[str, Split] = {}
        """The traffic splits, by alias."""
        self._aliases: dict[str, ServedVersion | None] = {}
        self._default: ServedVersion | None = None
        self.snapshots: Mapping[VersionName, VersionSnapshot] = {}
        """The last recorded snapshot of each version; its current use may be out of date."""

    def want(self, wanted: WantedModel) -> None:
        """Take over the desired versions from the registry."""
        self.wanted = wanted
        self.is_off = self.is_off and not wanted.is_gone
        for name, digest in wanted.versions.items():
            self.versions.setdefault(name, ServedVersion(name, digest, wanted=False))
        for name, version in self.versions.items():
            version.is_deferred = version.is_deferred and (version.wanted or name not in wanted.versions)
            version.wanted = name in wanted.versions
            version.is_pinned = name in wanted.pinned
            may_be_deleted = wanted.is_gone or wanted.has_gap or name in wanted.deleted
            version.is_on_demand = version.is_on_demand and not may_be_deleted
        splits = {
            alias: Split(AliasName(self.model_id, alias), wanted.aliases[alias], traffic)
            for alias, traffic in wanted.traffic.items()
        }
        unchanged = {alias: old for alias, old in self.splits.items() if old == splits.get(alias)}  # keeps its counts
        self.splits = splits | unchanged
        self.flip()

    def add_on_demand(self, name: VersionName, manifest_digest: str) -> ServedVersion:
        """Add a version that a request loads, though it is not desired."""
        unloaded = ServedVersion(name, manifest_digest, wanted=False, state=VersionState.UNLOADED)
        version = self.versions.setdefault(name, unloaded)
        version.is_on_demand = True
        return version

    def switch(self, *, is_off: bool) -> None:
        """Unload the model and answer none of its names, or return to the desired versions of the registry."""
        self.is_off = is_off
        for version in self.versions.values():
            version.is_deferred, version.retry_at = False, 0.0
            version.is_on_demand = version.is_on_demand and not is_off
        self.flip()

    def flip(self) -> None:
        """Move each name to its desired version where that is READY; call it after every change of state."""
        targets = {alias: VersionName(self.model_id, number) for alias, number in self.wanted.aliases.items()}
        self._aliases = {alias: self._flipped(self._aliases.get(alias), target) for alias, target in targets.items()}
        self._default = self._flipped(self._default, self._default_target())
        for _, target in self._moves():
            self.versions[target].is_deferred = False

    def ready(self, target: Target) -> ServedVersion | None:
        """Return the version that answers a name, if one is READY; every request calls this."""
        if isinstance(target, VersionName):
            version = self.versions.get(target)
        else:
            version = self._default if isinstance(target, ModelName) else self._aliases.get(target.alias)
        return version if version is not None and version.state is VersionState.READY else None

    def split(self, target: Target) -> Split | None:
        """Return the traffic split of a name, if it has one."""
        if isinstance(target, VersionName):
            return None
        return self.splits.get(PRODUCTION if isinstance(target, ModelName) else target.alias)

    def meant(self, target: Target) -> VersionName:
        """Return the version that should answer a name, loaded or not; raise NotServed, or NotReady while off."""
        if self.is_off:
            raise NotReady(
                f"{model_name(self.model_id)} was unloaded by a call of RepositoryModelUnload, and is until "
                "RepositoryModelLoad is called"
            )
        if isinstance(target, VersionName):
            return target
        current, name = self._named(target)
        wanted = self.versions.get(name) if name is not None else None
        has_failed = wanted is not None and wanted.state is VersionState.FAILED
        if current is not None and (current.state is VersionState.READY or has_failed):
            return current.name
        if name is None:
            raise _not_served(target)
        return name

    def serves(self, version: ServedVersion) -> bool:
        """Say whether a request may load this version."""
        return version.wanted or version.is_on_demand or version in self.answering_versions()

    def held(self) -> list[ServedVersion]:
        """Return the versions that are not UNLOADED."""
        return [each for each in self.versions.values() if each.state is not VersionState.UNLOADED]

    def find(self, target: Target) -> ServedVersion:
        """Return the READY version that answers a name; raise NotServed, NotReady or LoadFailed."""
        version = self.versions.get(self.meant(target))
        if version is None or not (self.serves(version) or version.state is VersionState.READY):
            raise _not_served(target)
        if version.state is not VersionState.READY:
            explain(version)
        return version

    def describe(self) -> None:
        """Record a snapshot of each version; call it after every change."""
        answering, moves = self.answering_versions(), self._moves()
        replaced, replacing = {move[0] for move in moves}, {move[1] for move in moves}
        self.snapshots = {
            name: version.snapshot(
                wanted=version.wanted and not self.is_off,
                answers=version in answering,
                replaces=name in replacing,
                is_being_replaced=name in replaced,
            )
            for name, version in self.versions.items()
        }

    def held_snapshots(self) -> Iterator[VersionSnapshot]:
        """Yield an up-to-date snapshot of each version in memory."""
        for name, snapshot in self.snapshots.items():
            version = self.versions[name]
            if version.resident is not None:
                yield version.updated(snapshot)

    def forget(self) -> bool:
        """Forget all but the last few UNLOADED versions; say whether the model has nothing left to serve or report."""
        unloaded = [each for each in self.versions.values() if each.state is VersionState.UNLOADED and each.is_idle()]
        forgettable = [each for each in unloaded if not each.wanted and each not in self.answering_versions()]
        for version in sorted(forgettable, key=lambda each: each.updated_at)[:-_NUM_REMEMBERED]:
            del self.versions[version.name]
        gone = all(each.state is VersionState.UNLOADED and each.is_idle() for each in self.versions.values())
        return gone and not self.wanted.versions and not self.is_off

    def report(self) -> ModelReport:
        """Describe the model."""
        return ModelReport(
            self.model_id,
            tuple(version_report(self.versions[name]) for name in sorted(self.versions, reverse=True)),
            tuple(self._alias_report(alias) for alias in sorted(self._aliases)),
            _ready_name(self._default),
        )

    def answering_versions(self) -> set[ServedVersion | None]:
        """Return the versions that answer a name now."""
        return {self._default, *self._aliases.values()}

    def _alias_report(self, alias: str) -> AliasReport:
        name, wanted = AliasName(self.model_id, alias), VersionName(self.model_id, self.wanted.aliases[alias])
        return AliasReport(name, _ready_name(self._aliases[alias]), wanted, self.splits.get(alias))

    def _named(self, target: ModelName | AliasName) -> tuple[ServedVersion | None, VersionName | None]:
        """Return the version that answers a name now, if any, and the version that should answer it."""
        if isinstance(target, ModelName):
            return self._default, self._default_target()
        if target.alias not in self._aliases:
            raise NotServed(f"{target} does not exist here; `maas models` lists the aliases that do")
        return self._aliases[target.alias], VersionName(self.model_id, self.wanted.aliases[target.alias])

    def _flipped(self, current: ServedVersion | None, target: VersionName | None) -> ServedVersion | None:
        version = self.versions.get(target) if target is not None else None
        if self.is_off or version is None or not (version.wanted or version.is_on_demand):
            return None
        if version.state is VersionState.READY:
            return version
        stays = current is not None and (current.state is VersionState.READY or current.is_deferred)
        return current if stays and version.wanted else None

    def _default_target(self) -> VersionName | None:
        if PRODUCTION in self.wanted.aliases:
            return VersionName(self.model_id, self.wanted.aliases[PRODUCTION])
        available = [name for name in self.wanted.versions if self.versions[name].is_available]
        return max(available or self.wanted.versions, default=self.wanted.newest)

    def wanted_names(self) -> Iterator[tuple[Target, ServedVersion | None, VersionName]]:
        """Yield each name that must be answered, the version that answers it now, and the version that should."""
        for alias, number in self.wanted.aliases.items():
            if (target := VersionName(self.model_id, number)) in self.wanted.versions:
                yield AliasName(self.model_id, alias), self._aliases[alias], target
        production = VersionName(self.model_id, self.wanted.aliases.get(PRODUCTION, 0))
        if self.wanted.versions and production not in self.wanted.versions:
            yield ModelName(self.model_id), self._default, max(self.wanted.versions)

    def _moves(self) -> list[tuple[VersionName, VersionName]]:
        """Return the pairs (answering version, desired version) of names that have not moved yet."""
        pairs = [(self._aliases[alias], number) for alias, number in self.wanted.aliases.items()]
        if PRODUCTION not in self.wanted.aliases and self.wanted.versions:
            pairs.append((self._default, max(self.wanted.versions).number))
        named = [(_ready_name(current), VersionName(self.model_id, number)) for current, number in pairs]
        return [
            (current, target)
            for current, target in named
            if current is not None and current != target and target in self.wanted.versions
        ]


def explain(version: ServedVersion) -> NoReturn:
    """Raise the error of a request for a version that is not READY: LoadFailed or NotReady."""
    if version.state is VersionState.FAILED:
        raise LoadFailed(f"{version.name} could not be loaded and will be tried again: {version.reason}")
    if version.state is VersionState.UNLOADED:
        raise NotReady(f"{version.name} is not loaded now: a request to infer loads it")
    raise NotReady(f"{version.name} is still loading: try again in a moment")


def _not_served(target: Target) -> NotServed:
    return NotServed(
        f"{target} is not served here: point an alias at the version that should be; `maas models` shows what is"
    )


def _ready_name(version: ServedVersion | None) -> VersionName | None:
    return version.name if version is not None and version.state is VersionState.READY else None
