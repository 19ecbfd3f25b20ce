"""Calls about models, versions and the changes to them."""

from __future__ import annotations

from collections.abc import Iterator

from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.calls.aliases import PRODUCTION, AliasCalls
from maas_client.calls.connection import PAGE_SIZE, all_pages
from maas_client.typed.shorthand import alias_name, model_name, model_of, resource_name, target_name


class RegistryCalls(AliasCalls):
    """Calls about models, versions, aliases and the changes to them."""

    def version(self, name: str) -> pb.ModelVersion:
        """Return one version, by number or by alias; of a model, what its alias `production` names, else its newest."""
        return self.stubs.registry.GetModelVersion(pb.GetModelVersionRequest(name=self.version_name(name)))

    def version_name(self, name: str) -> str:
        """Return the resource name of a version or an alias; for a model, of the version that answers for it."""
        name = target_name(name)
        if name != model_of(name):
            return name
        production = alias_name(name, PRODUCTION)
        if any(alias.name == production for alias in self.model(name).aliases):
            return production
        request = pb.ListModelVersionsRequest(parent=name, page_size=1)
        newest = self.stubs.registry.ListModelVersions(request).model_versions
        return newest[0].name if newest else production

    def versions(
        self,
        model: str,
        *,
        filter: str = "",  # noqa: A002  the field's own name
        order_by: str = "",
        show_deleted: bool = False,
    ) -> Iterator[pb.ModelVersion]:
        """Yield the versions of a model that a filter leaves, newest first where no order is asked for.

        Such as filter `metrics.accuracy >= 0.9 AND aliases:*`, and order `metrics.accuracy desc`.
        """
        request = pb.ListModelVersionsRequest(
            parent=model_name(model),
            filter=filter,
            order_by=order_by,
            show_deleted=show_deleted,
            page_size=PAGE_SIZE,
        )
        yield from all_pages(self.stubs.registry.ListModelVersions, request, "model_versions")

    def compare(self, first: str, second: str) -> pb.CompareModelVersionsResponse:
        """Say what changed from one version to another."""
        first, second = self.version_name(first), self.version_name(second)
        request = pb.CompareModelVersionsRequest(first=first, second=second)
        return self.stubs.registry.CompareModelVersions(request)

    def model(self, model: str) -> pb.Model:
        """Return one model, a deleted one too."""
        return self.stubs.registry.GetModel(pb.GetModelRequest(name=model_name(model)))

    def models(
        self,
        *,
        filter: str = "",  # noqa: A002  the field's own name
        order_by: str = "",
        show_deleted: bool = False,
    ) -> Iterator[pb.Model]:
        """Yield the models that a filter such as `tags.team = "vision"` leaves, by id where no order is asked for."""
        request = pb.ListModelsRequest(filter=filter, order_by=order_by, show_deleted=show_deleted, page_size=PAGE_SIZE)
        yield from all_pages(self.stubs.registry.ListModels, request, "models")

    def lineage(self, name: str, *, up: int = 10, down: int = 10) -> pb.LineageGraph:
        """Return what a version, a dataset or a job was made from, and what was made from it, by generations.

        A dataset or a job is named `datasets/ID` or `trainingJobs/ID`.
        """
        name = resource_name(name)
        name = self.version(name).name if name.startswith("models/") else name
        request = pb.GetLineageRequest(name=name, max_generations_up=up, max_generations_down=down)
        return self.stubs.registry.GetLineage(request)

    def changes(self, resource: str = "", *, after_sequence: int | None = None) -> Iterator[pb.Change]:
        """Yield every write to the registry, or to one resource, from now on or after a sequence number, without end.

        When the connection breaks, it goes on as `watch` does.
        """
        name = resource_name(resource) if resource else ""
        request = pb.WatchChangesRequest(resource=name, after_sequence=after_sequence)
        yield from self.resumed(self.stubs.registry.WatchChanges, request)
