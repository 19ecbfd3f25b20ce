"""Calls that change models and versions: tags, descriptions, deletion."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.field_mask_pb2 import FieldMask
from maas.model_store.v1 import model_store_pb2 as pb

from maas_client.calls.registry import RegistryCalls
from maas_client.errors import InvalidArgument
from maas_client.typed.shorthand import model_of, target_name

Resource = pb.Model | pb.ModelVersion


class EditCalls(RegistryCalls):
    """Calls that change models and versions; all take `flowers`, `flowers/3` or a full name."""

    def create_model(self, model: str, *, description: str = "", tags: Mapping[str, str] | None = None) -> pb.Model:
        """Create a model before its first version; importing and fine-tuning create theirs by themselves."""
        about = pb.Model(description=description, tags=tags)
        return self.stubs.registry.CreateModel(pb.CreateModelRequest(model_id=model, model=about))

    def tag(self, name: str, tags: Mapping[str, str], *, etag: str = "") -> Resource:
        """Set tags of a model or a version; an empty value removes one, all others stay."""
        return self._update(name, pb.Model(tags=tags, etag=etag), [f"tags.{key}" for key in tags])

    def describe(self, name: str, description: str, *, etag: str = "") -> Resource:
        """Write the description of a model or a version."""
        return self._update(name, pb.Model(description=description, etag=etag), ["description"])

    def delete(self, name: str, *, etag: str = "", force: bool = False) -> Resource:
        """Delete a model or a version; it can be undeleted for a while. With `force` a model's versions go with it."""
        name = target_name(name)
        if "/aliases/" in name:
            raise InvalidArgument(
                f"{name} is an alias: delete it with `maas alias delete`, or name a version by its number"
            )
        if _is_version(name):
            return self.stubs.registry.DeleteModelVersion(pb.DeleteModelVersionRequest(name=name, etag=etag))
        return self.stubs.registry.DeleteModel(pb.DeleteModelRequest(name=name, etag=etag, force=force))

    def undelete(self, name: str) -> Resource:
        """Bring back a model, with the versions that were deleted with it, or a version."""
        name = target_name(name)
        if _is_version(name):
            return self.stubs.registry.UndeleteModelVersion(pb.UndeleteModelVersionRequest(name=name))
        return self.stubs.registry.UndeleteModel(pb.UndeleteModelRequest(name=name))

    def _update(self, text: str, values: pb.Model, paths: list[str]) -> Resource:
        name, mask = target_name(text), FieldMask(paths=paths)
        if name == model_of(name):
            values.name = name
            return self.stubs.registry.UpdateModel(pb.UpdateModelRequest(model=values, update_mask=mask))
        version = pb.ModelVersion(
            name=name if _is_version(name) else self.version(name).name,
            description=values.description,
            tags=values.tags,
            etag=values.etag,
        )
        request = pb.UpdateModelVersionRequest(model_version=version, update_mask=mask)
        return self.stubs.registry.UpdateModelVersion(request)


def _is_version(name: str) -> bool:
    return "/versions/" in name
