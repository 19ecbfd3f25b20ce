"""Publish weights that are on this machine: their stages become blobs, and those that the store lacks are sent."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from maas.model_store.v1 import model_store_pb2
from torch import Tensor

from maas_client.calls.registry import RegistryCalls
from maas_client.files.folders import FoundFile, files_below
from maas_client.typed.shorthand import model_name
from maas_client.wire.sending import Header, send
from model_store.bases.catalogue import LoadedBase, load_tensors, load_weights_file
from model_store.blobs import BlobStore
from model_store.blobs.local import LocalBlobs
from model_store.calibration import chosen_rows, write_calibration
from model_store.errors import InvalidExample, InvalidInput
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import InputSpec, Rows
from model_store.modalities.image.spec import ImageInputSpec
from model_store.tensors.stages import check_finite, write_stages

_CHUNK_BYTES = 2 * 1024 * 1024
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_MAX_SIZE = 50_000_000


def publish_base(
    client: RegistryCalls,
    model: str,
    weights: LoadedBase,
    recipe: Mapping[str, Any] | None = None,
    calibrate_by: Path | None = None,
    **about: Any,  # noqa: ANN401  each as its field wants it
) -> model_store_pb2.ModelVersion:
    """Register weights as the next version of `model`; `recipe` is what to remember besides where they come from.

    `calibrate_by` is a folder of images that the weights were not trained on; some are kept with the version. `about`
    are further fields of PublishVersion's header, such as `alias`, `tags`, `metric_values`, `description` and
    `base`, the full name of the version that they were made from. Raises StoreError where the folder is of no use, or a
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
        )
        header.recipe.update({"name": "import", **weights.origin, **(recipe or {})})
        if rows is not None:
            written = write_calibration(blobs, weights.chain, rows, weights.input_spec)
            header.calibration.rows_digest, header.calibration.logits_digest = written.rows, written.logits
        sizes = {blob.digest: blob.size_bytes for blob in blobs.all()}
        return send(client.registry, header, sizes, lambda digest: _file_chunks(blobs, digest))


def calibration_rows(folder: Path, weights: LoadedBase) -> Rows:
    """Return up to 64 of the examples in files anywhere below a folder, an even spread in the order of their paths.

    Raises InvalidInput where there are none, where one cannot be used, and for weights that are not calibrated.
    """
    spec = weights.input_spec
    if not isinstance(spec, ImageInputSpec) or not weights.labels:
        reason = "are a backbone only" if not weights.labels else "take rows of numbers"
        raise InvalidInput.of("calibration", f"is for classifiers of images, and these weights {reason}: leave it out")
    found = (each.path for each in files_below(folder) if isinstance(each, FoundFile))
    files = sorted(file for file in found if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise InvalidInput.of("calibration", f"there are no images below {folder} ({', '.join(_SUFFIXES)})")
    return spec.collate([_row(files[position], spec) for position in chosen_rows(len(files), spec)])


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
    return base.manifest([ManifestStage(name, blob.digest) for name, blob in stored.items()])


def _row(file: Path, spec: InputSpec) -> Rows:
    try:
        return spec.open(file.read_bytes(), _MAX_SIZE).prepare()
    except InvalidExample as error:
        raise InvalidInput.of("calibration", f"{file}: {error}") from error


def _file_chunks(blobs: BlobStore, digest: str) -> Iterator[bytes]:
    with blobs.open(digest) as file:
        while data := file.read(_CHUNK_BYTES):
            yield data
