"""Publish weights that are on this machine: their stages become blobs, and those that the store lacks are sent."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maas.model_store.v1 import model_store_pb2
from torch import Tensor

from maas_client.calls.registry import RegistryCalls
from maas_client.files.tables import Unusable
from maas_client.modalities import EXAMPLES
from maas_client.typed.shorthand import alias_name, model_name
from maas_client.wire.sending import Header, send
from model_store.bases.catalogue import LoadedBase, load_tensors, load_weights_file
from model_store.blobs import BlobStore
from model_store.blobs.local import LocalBlobs
from model_store.calibration import chosen_rows, write_calibration
from model_store.errors import InvalidExample, InvalidInput
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import LIMITS, InputSpec, Rows
from model_store.tensors.stages import check_finite, write_stages

_CHUNK_BYTES = 2 * 1024 * 1024


def publish_base(
    client: RegistryCalls,
    model: str,
    weights: LoadedBase,
    recipe: Mapping[str, Any] | None = None,
    calibrate_by: Path | None = None,
    alias: str = "",
    **about: Any,  # noqa: ANN401  each as its field wants it
) -> model_store_pb2.ModelVersion:
    """Register weights as the next version of `model`; `recipe` is what to remember besides where they come from.

    `calibrate_by` has examples that the weights were not trained on (a folder of files, or a CSV file of numbers), of
    which some are kept with the version. `alias` is the id of an alias to point at it. `about`
    are further fields of PublishModelVersion's header, such as `tags`, `metric_values`, `description` and
    `base`, the full name of the version that they were made from. Raises StoreError where they are of no use, or a
    number of the weights is not finite.
    """
    rows = calibration_rows(calibrate_by, weights) if calibrate_by is not None else None
    with tempfile.TemporaryDirectory(prefix="maas-publish-") as folder:
        blobs = LocalBlobs(Path(folder))
        manifest = _manifest(weights, blobs)
        header = Header(
            **{"request_id": uuid.uuid4().hex, **about},
            parent=model_name(model),
            manifest_json=manifest.to_json().decode(),
            alias=alias_name(model, alias) if alias else "",
        )
        header.recipe.update({"name": "import", **weights.origin, **(recipe or {})})
        if rows is not None:
            written = write_calibration(blobs, weights.chain, rows, weights.input_spec)
            header.calibration.rows_digest, header.calibration.logits_digest = written.rows, written.logits
        sizes = {blob.digest: blob.size_bytes for blob in blobs.all()}
        return send(client.stubs.registry, client.retries(), header, sizes, lambda digest: _file_chunks(blobs, digest))


def calibration_rows(path: Path, weights: LoadedBase) -> Rows:
    """Return up to 64 of the examples at a path, an even spread in their order.

    Raises InvalidInput where there are none, where one cannot be used, and for a backbone only.
    """
    spec = weights.input_spec
    if not weights.labels:
        raise InvalidInput.of("calibration", "is for weights with labels, and these are a backbone only: leave it out")
    try:
        found = EXAMPLES[spec.kind](path)
    except Unusable as error:
        raise InvalidInput.of("calibration", str(error)) from error
    chosen = (found[int(position)] for position in chosen_rows(len(found), spec))
    return spec.collate([_row(name, read, spec) for name, read in chosen])


def load_weights(
    architecture: str, weights: Path | str | Mapping[str, Tensor], labels: Sequence[str] | None = None
) -> LoadedBase:
    """Load a state dict under torchvision's names, from a file or from memory; raise StoreError where it is wrong."""
    if isinstance(weights, Mapping):
        return load_tensors(architecture, weights, labels, {"source": "memory"})
    return load_weights_file(architecture, Path(weights), labels)


def _manifest(base: LoadedBase, blobs: BlobStore) -> Manifest:
    stages = {name: base.chain.stage_tensors(name) for name in base.chain.stage_names}
    for name, tensors in stages.items():
        check_finite(name, tensors)
    stored = write_stages(blobs, stages)
    for data in base.files:
        blobs.put([data])
    return base.manifest([ManifestStage(name, blob.digest) for name, blob in stored.items()])


def _row(name: str, read: Callable[[], object], spec: InputSpec) -> Rows:
    try:
        return spec.open(read(), LIMITS[spec.kind].example).prepare()
    except (InvalidExample, Unusable) as error:
        raise InvalidInput.of("calibration", f"{name}: {error}") from error


def _file_chunks(blobs: BlobStore, digest: str) -> Iterator[bytes]:
    with blobs.open(digest) as file:
        while data := file.read(_CHUNK_BYTES):
            yield data
