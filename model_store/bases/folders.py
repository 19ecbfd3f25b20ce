"""Folders in Hugging Face's layout, here or on the hub: `config.json` says by which loader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model_store.bases.base import LoadedBase
from model_store.bases.folder_files import read_config
from model_store.bases.hub_files import snapshot
from model_store.bases.text.folder import is_text_encoder, load_text_encoder
from model_store.bases.transformers_folders import load_encoder

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


def _loaded(folder: Path) -> LoadedBase:
    return load_text_encoder(folder) if is_text_encoder(read_config(folder)) else load_encoder(folder)
