"""Folders in Hugging Face's layout, here or on the hub: `config.json` chooses a loader, a manifest a writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from model_store.architectures import Chain
from model_store.architectures.text.families import FAMILIES
from model_store.bases.audio.folder import is_sound_encoder, load_sound_encoder
from model_store.bases.base import LoadedBase
from model_store.bases.folder_files import read_config
from model_store.bases.hub_files import snapshot
from model_store.bases.text.folder import is_text_encoder, load_text_encoder
from model_store.bases.text.saving import save_text_encoder, saved_text_encoder
from model_store.bases.transformers_folders import load_encoder, save_encoder
from model_store.errors import InvalidInput
from model_store.manifests import Manifest
from model_store.modalities import Batch

_HUB = "hf:"


def is_one(name: str) -> bool:
    """Say whether this names a folder, or a repository of the hub as `hf:OWNER/NAME`, and no architecture."""
    return name.startswith(_HUB) or Path(name).is_dir()


def load_folder(name: str) -> LoadedBase:
    """Load an encoder of the BERT family onto our own chain, any other by transformers' own modules.

    Raises InvalidInput and InvalidManifest as the loaders do, and BaseUnavailable where the hub cannot be asked.
    """
    if name.startswith(_HUB):
        repository = name.removeprefix(_HUB)
        loaded = _loaded(snapshot(repository))
        return replace(loaded, origin={**loaded.origin, "source": "huggingface", "repository": repository})
    return _loaded(Path(name))


def save_folder(
    folder: Path, manifest: Manifest, chain: Chain, files: Mapping[str, bytes]
) -> Callable[[Batch], Tensor]:
    """Write a version as a folder that `from_pretrained` loads; return the loaded folder as a function of model inputs.

    `files` are those that the input spec names. Raises InvalidInput for a version that the layout cannot hold.
    """
    if (kind := manifest.head["kind"]) not in {"none", "linear"}:
        said = f"a {kind} head has no place in a folder of transformers: export it with --format onnx or torch-export"
        raise InvalidInput.of("head", said)
    if manifest.architecture in FAMILIES:
        save_text_encoder(folder, manifest, chain, files["tokenizer"])
        return saved_text_encoder(folder, manifest)
    save_encoder(folder, manifest, chain)
    return load_encoder(folder).chain


def _loaded(folder: Path) -> LoadedBase:
    config = read_config(folder)
    if is_text_encoder(config):
        return load_text_encoder(folder)
    return load_sound_encoder(folder) if is_sound_encoder(config) else load_encoder(folder)
