"""The desired versions by the operator's policies: which versions to load, and which version a name means."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from model_store.names import AliasName, ModelName, VersionName
from model_store.records.aliases import NO_SPLIT, Traffic
from model_store.registry.models import PRODUCTION, ModelStore
from model_store.registry.serving_view import ServableModel, ServingView

Target = ModelName | AliasName | VersionName
"""The target of a request: a model, a version or an alias."""


@dataclass(frozen=True)
class Policies:
    """Which versions of each model to keep loaded: see the settings of these names."""

    num_newest_versions: int = 1
    serve_aliases: bool = True
    pinned: tuple[Target, ...] = ()


@dataclass(frozen=True)
class WantedModel:
    """The desired versions of one model; a version that is left out should be unloaded.

    `versions` maps each desired version to its manifest digest, `aliases` each alias to its version number, and
    `traffic` each alias that has one to its traffic split. `pinned` versions are never evicted. `newest` is the newest
    version, desired or not. `deleted` are the versions deleted since the last update, and all versions where the model
    `is_gone`. With `has_gap` these are unknown, because changes are missing since the last update.
    """

    model_id: str
    versions: Mapping[VersionName, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    pinned: Collection[VersionName] = ()
    traffic: Mapping[str, Traffic] = field(default_factory=dict)
    newest: VersionName | None = None
    deleted: Collection[VersionName] = ()
    is_gone: bool = False
    has_gap: bool = False


@dataclass(frozen=True)
class Found:
    """The version of the registry that a name means, and the desired versions of its model."""

    name: VersionName
    manifest_digest: str
    wanted: WantedModel


class DesiredVersions:
    """Reads the registry by the operator's policies; any thread may ask."""

    def __init__(self, store: ModelStore, view: ServingView, policies: Policies) -> None:
        self._store = store
        self._view = view
        self._policies = policies
        self._pinned: dict[str, list[Target]] = {}
        for target in policies.pinned:
            self._pinned.setdefault(target.model_id, []).append(target)

    def everything(self) -> tuple[WantedModel, ...]:
        """Return the desired versions of every model that has a version, by id."""
        models = self._read(self._policies.pinned, only=None)
        return tuple(self._wanted(model_id, models[model_id]) for model_id in sorted(models))

    def of(self, model_ids: Collection[str]) -> tuple[WantedModel, ...]:
        """Return the desired versions of these models, in order; none for a deleted or unknown model."""
        models = self._read([target for each in model_ids for target in self._pinned.get(each, ())], only=model_ids)
        return tuple(self._wanted(model_id, models.get(model_id)) for model_id in model_ids)

    def of_model(self, model_id: str) -> WantedModel:
        """Return the desired versions of one model; raise ModelNotFound."""
        (wanted,) = self.of([model_id])
        if wanted.is_gone:
            self._store.get_model(model_id)
        return wanted

    def look_up(self, target: Target) -> Found:
        """Return the living version that a name means; raise NotFound, or IllegalState where it was deleted."""
        version = self._store.get_version(self._store.resolve(target))
        (wanted,) = self.of([target.model_id])
        return Found(version.name, version.manifest_digest, wanted)

    def _read(self, named: Collection[Target], *, only: Collection[str] | None) -> dict[str, ServableModel]:
        versions = [target for target in named if isinstance(target, VersionName)]
        # At least one: `models/x` without an alias means the newest version.
        return self._view.models(max(self._policies.num_newest_versions, 1), versions, only)

    def _wanted(self, model_id: str, found: ServableModel | None) -> WantedModel:
        if found is None:
            return WantedModel(model_id, is_gone=True)
        meant = [_meant(target, found) for target in self._pinned.get(model_id, ())]
        pinned = [name for name in meant if name is not None]
        wanted = [*pinned, *found.newest[: self._policies.num_newest_versions]]
        if self._policies.serve_aliases:
            wanted += [alias.version for alias in found.aliases]
            wanted += [VersionName(model_id, share.number) for each in found.aliases for share in each.traffic.shares]
        return WantedModel(
            model_id,
            {name: found.digests[name] for name in wanted},
            {alias.name.alias: alias.version.number for alias in found.aliases},
            frozenset(pinned),
            {alias.name.alias: alias.traffic for alias in found.aliases if alias.traffic != NO_SPLIT},
            next(iter(found.newest), None),
        )


def _meant(target: Target, found: ServableModel) -> VersionName | None:
    """Return the version that a pinned name means now, if any."""
    if isinstance(target, VersionName):
        return target if target in found.digests else None
    aliases = {alias.name.alias: alias.version for alias in found.aliases}
    if isinstance(target, AliasName):
        return aliases.get(target.alias)
    return aliases.get(PRODUCTION, next(iter(found.newest), None))
