"""torchvision's official weight sets: which there are, and their files, downloaded once and checked by hash."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from model_store.architectures import torchvision_architectures
from model_store.architectures.torchvision_compat import torchvision
from model_store.bases.weights_files import sha256_of
from model_store.errors import BaseUnavailable, InvalidInput

_LICENCE = "BSD-3-Clause"
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.pth$")


def official_weights(architecture: str) -> Any:  # noqa: ANN401  torchvision carries no types
    """Return torchvision's newest weights of an architecture; raise InvalidInput if it has none."""
    if architecture not in torchvision_architectures():
        known = ", ".join(torchvision_architectures())
        raise InvalidInput.of("architecture", f"there are no weights of {architecture!r}; there are of {known}")
    return torchvision.models.get_model_weights(architecture).DEFAULT


def imagenet_labels() -> tuple[str, ...]:
    """Return the names of ImageNet's 1,000 classes in their usual order."""
    return tuple(official_weights("resnet18").meta["categories"])


def licence(weights: Any) -> str:  # noqa: ANN401  torchvision carries no types
    """Return the licence of a weight set."""
    return str(weights.meta.get("license", _LICENCE))


def download(weights: Any, *, show_progress: bool) -> Path:  # noqa: ANN401  torchvision carries no types
    """Return the official file in torch's own cache, downloaded where needed, its hash checked in either case."""
    name: str = weights.url.rpartition("/")[2]
    file = Path(torch.hub.get_dir()) / "checkpoints" / name
    instead = "download it elsewhere and import it with --weights FILE, or use a packaged base (maas bases lists them)"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(weights.url, str(file), _hash_prefix(weights), progress=show_progress)
        except (OSError, RuntimeError) as error:
            raise BaseUnavailable(f"cannot download {weights.url} ({error}); {instead}") from error
    if not is_official(weights, sha256_of(file)):
        raise BaseUnavailable(f"{file} is damaged: its SHA-256 is not the one in its name; delete it and try again")
    return file


def _hash_prefix(weights: Any) -> str:  # noqa: ANN401  torchvision carries no types
    match = _HASH_IN_NAME.search(weights.url)
    if match is None:
        raise BaseUnavailable(f"{weights.url} has no hash in its name, so that it cannot be checked")
    return match[1]


def is_official(weights: Any, sha256: str) -> bool:  # noqa: ANN401  torchvision carries no types
    """Say whether a file with this digest is the official one: its name begins the digest."""
    return sha256.startswith(_hash_prefix(weights))
