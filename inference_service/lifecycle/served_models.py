"""All models in this service by id, and the versions that the policy considers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from inference_service.desired.desired_versions import Found
from inference_service.errors import NotReady, NotServed
from inference_service.lifecycle.agenda import Agenda
from inference_service.lifecycle.policy import VersionSnapshot
from inference_service.lifecycle.served_model import ServedModel
from model_store.names import model_name


class ServedModels:
    """Holds the models; `is_informed` once the registry was read for the first time."""

    def __init__(self) -> None:
        self.by_id: dict[str, ServedModel] = {}
        self.is_informed = False
        self.agenda = Agenda()

    def add(self, model_id: str) -> ServedModel:
        """Return a model, a new one where it was not here."""
        return self.by_id.setdefault(model_id, ServedModel(model_id))

    def add_found(self, found: Found) -> None:
        """Add a version that was looked up in the registry: it is loaded on demand."""
        is_new = found.name.model_id not in self.by_id
        model = self.add(found.name.model_id)
        if is_new:
            model.want(found.wanted)
        model.add_on_demand(found.name, found.manifest_digest)

    def known(self, model_id: str) -> ServedModel:
        """Return a model; raise NotServed, or NotReady while the registry was not read."""
        model = self.by_id.get(model_id)
        if model is not None:
            return model
        if not self.is_informed:
            raise NotReady("the service is starting and has not read the registry yet: try again in a moment")
        raise NotServed(f"{model_name(model_id)} is not served here; `maas models` lists what there is")

    def settle(self, model: ServedModel) -> None:
        """Move names to READY versions, and forget versions that are over; call it after every change of a state."""
        model.flip()
        if model.forget():
            self.by_id.pop(model.model_id, None)
        self.note(model)

    def note(self, model: ServedModel) -> None:
        """Record the snapshots of a model's versions for the policy; call it whenever one changed."""
        before = model.snapshots
        model.describe()
        for name in before.keys() if model.model_id not in self.by_id else before.keys() - model.snapshots.keys():
            self.agenda.forget(name)
        if model.model_id in self.by_id:
            for snapshot in model.snapshots.values():
                self.agenda.note(snapshot)

    def held(self) -> Iterator[VersionSnapshot]:
        """Yield a snapshot of each version in memory, with its current use."""
        return chain.from_iterable(model.held_snapshots() for model in self.by_id.values())
