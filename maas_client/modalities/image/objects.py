"""Images of Pillow and arrays of pixels as examples."""

from __future__ import annotations

import io
from typing import Any

from maas.inference.v1.inference_pb2 import Example, Pixels

from maas_client.errors import InvalidArgument

_ORIENTATION = 0x0112  # of EXIF
_UPRIGHT = 1
_OF_PNG = frozenset({"1", "L", "LA", "P", "RGBA", "I;16"})
_WITHOUT_RANGE = frozenset({"I", "F"})


def example_of(given: Any) -> Example | None:  # noqa: ANN401  whatever a caller has
    """Return the message for an image of Pillow, or for RGB uint8 [height, width, 3]; None for anything else."""
    if hasattr(given, "getexif") and hasattr(given, "mode"):
        return _of_picture(given)
    shape: tuple[int, ...] = getattr(given, "shape", ())
    if len(shape) == 3 and shape[2] == 3 and str(given.dtype) == "uint8":
        return Example(pixels=Pixels(height=shape[0], width=shape[1], data=given.tobytes()))
    return None


def _of_picture(image: Any) -> Example:  # noqa: ANN401  an image of Pillow
    """Send an image as the service would read a file of it: upright, and in any mode that a file may have."""
    if image.mode in _WITHOUT_RANGE:
        raise InvalidArgument(f"pixels of mode {image.mode} have no known range: convert the image to 8 or 16 bits")
    if image.getexif().get(_ORIENTATION, _UPRIGHT) != _UPRIGHT:
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    if image.mode in _OF_PNG or image.has_transparency_data:
        data = io.BytesIO()
        image.save(data, "PNG", compress_level=1)
        return Example(file=data.getvalue())
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return Example(pixels=Pixels(height=rgb.height, width=rgb.width, data=rgb.tobytes()))
