"""The files of a folder in Hugging Face's layout: JSON of bounded size, and whether a file is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model_store.errors import InvalidInput

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
_MAX_JSON_BYTES = 4 * 1024 * 1024


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's config.json; raise InvalidInput where there is none, or it is not an object."""
    return read_object(folder, CONFIG)


def read_object(folder: Path, name: str) -> dict[str, Any]:
    """Return a JSON object in a folder's file; raise InvalidInput where there is none."""
    found = read_json(folder, name)
    if not isinstance(found, dict):
        raise refused(name, "must be a JSON object")
    return found


def read_json(folder: Path, name: str) -> Any:  # noqa: ANN401  whatever the file holds
    """Return what a folder's file of JSON holds; raise InvalidInput where there is none, or it is none or too large."""
    file = file_in(folder, name)
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise refused(name, f"has {file.stat().st_size} bytes; at most {_MAX_JSON_BYTES} are allowed")
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise refused(name, f"is not JSON: {error}") from error


def file_in(folder: Path, name: str) -> Path:
    """Return the path of a folder's file; raise InvalidInput with what to do where it is missing."""
    file = folder / name
    if not file.is_file():
        unsafe = sorted(each.name for each in folder.glob("*.bin")) if name == WEIGHTS else []
        advice = (
            f"{unsafe[0]} is a pickle, which is not read here: save it with save_pretrained(FOLDER)" if unsafe else ""
        )
        saved = "save the tokenizer with AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        raise refused(name, f"is not in the folder: {advice or (saved if name == TOKENIZER else 'copy it there')}")
    return file


def refused(name: str, said: str) -> InvalidInput:
    """Return the error that says what is wrong with a folder's file."""
    return InvalidInput.of("folder", f"{name} {said}")
