"""Made-up images, and encoded ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import torch
from PIL import Image

from model_store.modalities.image.spec import ImageInputSpec, normalise, to_pixels

MAX_PIXELS = 1_000_000


def photo(width: int, height: int) -> Image.Image:
    """Return a seeded image with smooth shades and hard edges."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).integers(0, 60, (height, width, 3))
    shades = np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], axis=-1)
    return Image.fromarray(np.clip(shades + noise * (x % 7 == 0)[..., None], 0, 255).astype(np.uint8))


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """Return the image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that declares its size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def tensor_of(image: Image.Image, spec: ImageInputSpec) -> torch.Tensor:
    """Run the whole preprocessing for one image."""
    return normalise(torch.from_numpy(to_pixels(image, spec))[None], spec)
