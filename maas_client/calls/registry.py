"""Calls about models, versions, aliases and the changes to them."""

from __future__ import annotations

from collections.abc import Iterator

from maas.model_store.v1 import model_store_pb2

from maas_client.calls.connection import PAGE_SIZE, Connection, all_pages
from maas_client.typed.shorthand import alias_name, model_name, model_of, resource_name, target_name


class RegistryCalls(Connection):
    """Calls about models, versions, aliases and the changes to them."""

    def version(self, name: str) -> model_store_pb2.ModelVersion:
        """Return one version, by number or by alias; of a model, what its alias `production` names, else its newest."""
        return self.registry.GetModelVersion(model_store_pb2.GetModelVersionRequest(name=self.version_name(name)))

    def version_name(self, name: str) -> str:
        """Return the resource name of a version or an alias; for a model, of the version that answers for it."""
        name = target_name(name)
        if name != model_of(name):
            return name
        production = alias_name(name, "production")
        if any(alias.name == production for alias in self.model(name).aliases):
            return production
        request = model_store_pb2.ListModelVersionsRequest(parent=name, page_size=1)
        newest = self.registry.ListModelVersions(request).model_versions
        return newest[0].name if newest else production

    def versions(
        self,
        model: str,
        *,
        filter: str = "",  # noqa: A002  the field's own name
        order_by: str = "",
        show_deleted: bool = False,
    ) -> Iterator[model_store_pb2.ModelVersion]:
        """Yield the versions of a model that a filter leaves, newest first where no order is asked for.

        Such as filter `metrics.accuracy >= 0.9 AND aliases:*`, and order `metrics.accuracy desc`.
        """
        request = model_store_pb2.ListModelVersionsRequest(
            parent=model_name(model),
            filter=filter,
            order_by=order_by,
            show_deleted=show_deleted,
            page_size=PAGE_SIZE,
        )
        yield from all_pages(self.registry.ListModelVersions, request, "model_versions")

    def compare(self, first: str, second: str) -> model_store_pb2.CompareModelVersionsResponse:
        """Say what changed from one version to another."""
        first, second = self.version_name(first), self.version_name(second)
        request = model_store_pb2.CompareModelVersionsRequest(first=first, second=second)
        return self.registry.CompareModelVersions(request)

    def model(self, model: str) -> model_store_pb2.Model:
        """Return one model, a deleted one too."""
        return self.registry.GetModel(model_store_pb2.GetModelRequest(name=model_name(model)))

    def models(
        self,
        *,
        filter: str = "",  # noqa: A002  the field's own name
        order_by: str = "",
        show_deleted: bool = False,
    ) -> Iterator[model_store_pb2.Model]:
        """Yield the models that a filter such as `tags.team = "vision"` leaves, by id where no order is asked for."""
        request = model_store_pb2.ListModelsRequest(
            filter=filter, order_by=order_by, show_deleted=show_deleted, page_size=PAGE_SIZE
        )
        yield from all_pages(self.registry.ListModels, request, "models")

    def alias(self, model: str, alias: str) -> model_store_pb2.Alias:
        """Return one alias."""
        return self.registry.GetAlias(model_store_pb2.GetAliasRequest(name=alias_name(model, alias)))

    def alias_history(self, model: str, alias: str) -> Iterator[model_store_pb2.AliasMove]:
        """Yield an alias's history, newest first."""
        request = model_store_pb2.ListAliasHistoryRequest(parent=alias_name(model, alias), page_size=PAGE_SIZE)
        yield from all_pages(self.registry.ListAliasHistory, request, "moves")

    def changes(self, resource: str = "", *, after_sequence: int | None = None) -> Iterator[model_store_pb2.Change]:
        """Yield every write to the registry, or to one resource, from now on or after a sequence number, without end.

        When the connection breaks, it goes on as `watch` does.
        """
        name = resource_name(resource) if resource else ""
        request = model_store_pb2.WatchChangesRequest(resource=name, after_sequence=after_sequence)
        yield from self.resumed(self.registry.WatchChanges, request)
