"""The Python client: the RPCs that people use most, as plain calls; the stubs are there for all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maas.model_store.v1 import model_store_pb2

from maas_client.calls.datasets import DatasetCalls
from maas_client.calls.jobs import JobCalls
from maas_client.calls.predictions import PredictionCalls
from maas_client.calls.registry import RegistryCalls

if TYPE_CHECKING:
    from torch import Tensor

    from model_store.modalities import InputSpec


class Client(DatasetCalls, JobCalls, PredictionCalls, RegistryCalls):
    """Every call, over channels to both services that are opened at first use; safe to share between threads.

    Failed calls raise grpc.RpcError.
    """

    def publish(
        self,
        model: str,
        weights: Path | str | Mapping[str, Tensor],
        *,
        architecture: str,
        labels: Sequence[str] | None = None,
        input_spec: InputSpec | None = None,
        recipe: Mapping[str, Any] | None = None,
        base: str = "",
        **about: Any,  # noqa: ANN401  each as its field wants it
    ) -> model_store_pb2.ModelVersion:
        """Register weights that were trained elsewhere: a state dict by torchvision's names, or a file of one.

        `input_spec` says how its examples are prepared, where that is not torchvision's way; `recipe` is what to
        remember of the training, `base` the version it started from. `about` are further fields of the
        header of PublishModelVersion, such as `metrics`, `metric_values={"accuracy": 0.93}`, `description`,
        `tags={"team": "vision"}`, `alias`, `seed` and `request_id`, and `calibrate_by`, examples that it was not
        trained on. Raises model_store.errors.StoreError where the weights do not fit the architecture.
        """
        from maas_client.transfers.publish import load_weights, publish_base

        loaded = load_weights(architecture, weights, labels)
        loaded = replace(loaded, input_spec=input_spec or loaded.input_spec)
        return publish_base(self, model, loaded, recipe, base=self.version(base).name if base else "", **about)

    def export(self, version: str, path: Path | str, *, on_bytes: Callable[[int], object] = lambda _: None) -> None:
        """Write a version to a file, to be imported into another store; `on_bytes` is told of bytes received."""
        from maas_client.transfers.version_transfer import export_archive

        export_archive(self, self.version(version), Path(path), on_bytes)

    def import_archive(self, path: Path | str, *, model: str = "", alias: str = "") -> model_store_pb2.ModelVersion:
        """Register what `export` wrote, as the next version of a model; importing it again changes nothing."""
        from maas_client.transfers.version_transfer import import_archive

        return import_archive(self, Path(path), model=model, alias=alias)
