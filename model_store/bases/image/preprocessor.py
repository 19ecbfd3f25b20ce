"""preprocessor_config.json of Hugging Face's image processors, read as an input spec and written from one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from model_store.bases.folder_files import read_object, refused
from model_store.errors import InvalidInput
from model_store.modalities.image.fits import CROP, SQUASH
from model_store.modalities.image.spec import ImageInputSpec

PREPROCESSOR = "preprocessor_config.json"


def read_spec(folder: Path, edge: int) -> ImageInputSpec:
    """Return the spec that a folder asks for; raise InvalidInput for steps that there are not."""
    said = read_object(folder, PREPROCESSOR)
    if False in {said.get(step) for step in ("do_resize", "do_rescale", "do_normalize")}:
        raise refused(PREPROCESSOR, "must resize, rescale and normalise, as every input spec does")
    resized, fit = _resized(said, edge)
    try:
        return ImageInputSpec(
            resize_size=resized,
            crop_size=edge,
            interpolation=Image.Resampling(said.get("resample", Image.Resampling.BILINEAR)).name.lower(),
            mean=_three(said.get("image_mean")),
            std=_three(said.get("image_std")),
            fit=fit,
        )
    except (ValueError, TypeError) as error:
        raise refused(PREPROCESSOR, f"has no usable resample, image_mean or image_std: {error}") from error


def written_spec(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what preprocessor_config.json says for the JSON of a spec; `read_spec` reads it.

    Raise InvalidInput for a fit that the library's processors have not.
    """
    spec = ImageInputSpec.from_json(values)
    edge = {"height": spec.crop_size, "width": spec.crop_size}
    sizes: dict[str, dict[str, Any]] = {
        SQUASH: {"size": edge},
        CROP: {"size": {"shortest_edge": spec.resize_size}, "do_center_crop": True, "crop_size": edge},
    }
    if spec.fit not in sizes:
        raise InvalidInput.of("input_spec", f"the processors of transformers have no fit {spec.fit!r}")
    return {
        "image_processor_type": "ViTImageProcessor" if spec.fit == SQUASH else "BitImageProcessor",
        "resample": int(Image.Resampling[spec.interpolation.upper()]),
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        **sizes[spec.fit],
    }


def _resized(said: Mapping[str, Any], edge: int) -> tuple[int, str]:
    """Return the size before a crop and the fit."""
    size = said.get("size", edge)
    if size in (edge, {"height": edge, "width": edge}):
        return edge, SQUASH
    shortest = size.get("shortest_edge") if isinstance(size, dict) and said.get("do_center_crop") else None
    if type(shortest) is int:
        return shortest, CROP
    raise refused(PREPROCESSOR, f"has size {size!r}; known are {edge} x {edge}, and shortest_edge with a centre crop")


def _three(values: object) -> tuple[float, float, float]:
    red, green, blue = values if isinstance(values, list) else (0.5, 0.5, 0.5)
    return float(red), float(green), float(blue)
