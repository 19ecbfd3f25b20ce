"""Files of the Hugging Face hub, from its cache or the network: never anything but JSON and safetensors."""

from __future__ import annotations

from pathlib import Path

from model_store.architectures.libraries.needed import needed
from model_store.errors import BaseUnavailable, InvalidInput

_FILES = ("*.json", "*.safetensors")


def snapshot(repository: str) -> Path:
    """Return a folder with a repository's JSON and safetensors; raise BaseUnavailable where it cannot be had."""
    hub = needed("huggingface_hub", f"{repository} from the hub")
    try:
        return Path(hub.snapshot_download(repository, allow_patterns=list(_FILES)))
    except (OSError, ValueError) as error:  # no network, no such repository, one that asks for a login, no name of one
        raise BaseUnavailable(
            f"cannot download {repository[:100]} from the hub ({_line(error)}): download it elsewhere and import "
            "the folder"
        ) from error


def downloaded(repository: str, file: str) -> Path:
    """Return one file of a repository on this disk; raise BaseUnavailable where it cannot be had."""
    hub = needed("huggingface_hub", f"{repository} from the hub")
    try:
        return Path(hub.hf_hub_download(repository, file))
    except hub.errors.RemoteEntryNotFoundError as error:
        raise InvalidInput.of(
            "weights",
            f"{repository} has no {file}: no other file of weights is read. Where you trust it, load it elsewhere and "
            "save its tensors as safetensors",
        ) from error
    except OSError as error:  # no network, no such repository, one that asks for a login
        raise BaseUnavailable(
            f"cannot download {file} of {repository} from the hub ({_line(error)}): get it, and import it with "
            "--weights FILE"
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
