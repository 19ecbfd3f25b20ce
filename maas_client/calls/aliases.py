"""Calls about aliases: point them somewhere, roll them back, read their history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.calls.connection import PAGE_SIZE, Connection, all_pages
from maas_client.errors import InvalidArgument
from maas_client.typed.shorthand import alias_name, model_name, version_of

PRODUCTION = "production"
"""The alias that a model's own name means, where there is one."""


class AliasCalls(Connection):
    """Calls about aliases."""

    def alias(self, model: str, alias: str) -> pb.Alias:
        """Return one alias."""
        return self.stubs.registry.GetAlias(pb.GetAliasRequest(name=alias_name(model, alias)))

    def aliases(self, model: str = "") -> Iterator[pb.Alias]:
        """Yield the aliases of a model, or of all models, by name."""
        if model:
            yield from self.stubs.registry.GetModel(pb.GetModelRequest(name=model_name(model))).aliases
            return
        for each in all_pages(self.stubs.registry.ListModels, pb.ListModelsRequest(page_size=PAGE_SIZE), "models"):
            yield from each.aliases

    def set_alias(
        self,
        model: str,
        alias: str,
        version: int | str,
        *,
        canaries: Mapping[int | str, float] | None = None,
        shadow: tuple[int | str, float] | None = None,
        reason: str = "",
        etag: str = "",
        actor: str = "",
    ) -> pb.Alias:
        """Point an alias at a version; versions are numbers of the model, or full names.

        `canaries` are versions that answer a share of its requests, each in percent, and `shadow` is one that a share
        is run on to compare; what is not given gets none. With `etag` it changes only what was read. `reason` and
        `actor` stand in the alias's history.
        """
        shares = [_share(model, each, percent) for each, percent in (canaries or {}).items()]
        request = pb.SetAliasRequest(
            name=alias_name(model, alias),
            version=version_of(model, version),
            canaries=shares,
            shadow=_share(model, *shadow) if shadow is not None else None,
            etag=etag,
            reason=reason,
            actor=actor,
        )
        return self.stubs.registry.SetAlias(request)

    def promote(self, version: str, alias: str = PRODUCTION, *, reason: str = "", actor: str = "") -> pb.Alias:
        """Point an alias of its model at a version such as `flowers/3`, without a gate.

        A gate is asked for when the version is made: see `promote` and `gate` of `finetune`.
        """
        name = version_of("", version)
        if "/versions/" not in name:
            raise InvalidArgument(f"name a version by its number, such as flowers/3, not {version!r}")
        model = name.partition("/versions/")[0]
        return self.set_alias(model, alias, name, reason=reason, actor=actor)

    def roll_back_alias(self, model: str, alias: str, *, reason: str = "", etag: str = "", actor: str = "") -> pb.Alias:
        """Point an alias back at what it named before, canaries and shadow included."""
        request = pb.RollBackAliasRequest(name=alias_name(model, alias), reason=reason, actor=actor, etag=etag)
        return self.stubs.registry.RollBackAlias(request)

    def delete_alias(self, model: str, alias: str, *, reason: str = "", etag: str = "", actor: str = "") -> None:
        """Delete an alias; its history stays."""
        request = pb.DeleteAliasRequest(name=alias_name(model, alias), etag=etag, reason=reason, actor=actor)
        self.stubs.registry.DeleteAlias(request)

    def alias_history(self, model: str, alias: str) -> Iterator[pb.AliasMove]:
        """Yield an alias's history, newest first."""
        request = pb.ListAliasHistoryRequest(parent=alias_name(model, alias), page_size=PAGE_SIZE)
        yield from all_pages(self.stubs.registry.ListAliasHistory, request, "moves")


def _share(model: str, version: int | str, percent: float) -> pb.VersionShare:
    return pb.VersionShare(version=version_of(model, version), percent=percent)
