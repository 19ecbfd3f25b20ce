"""The one preprocessing: an input spec says what a model takes and how that becomes a tensor, wherever it runs."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from model_store.errors import InvalidImage, InvalidManifest

Pixels = NDArray[np.uint8]
Values = NDArray[np.float32]
Channels = tuple[float, float, float]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_EDGE = 4096
MAX_VECTOR_SIZE = 65536
# Resizing the shorter edge stretches the longer one with it: a line of 1 x 1,000,000 pixels would take 200 GB.
MAX_ASPECT = 64
_INTERPOLATIONS = {mode.name.lower(): mode for mode in Image.Resampling}
_WHITE = (255, 255, 255, 255)
_REDUCED_EDGES = 2  # how many times the wanted edge a reduced image has at least: what resizing makes of it is the same
_STRIP_LINES = 256
# What EXIF's orientation asks for. Not ImageOps.exif_transpose: it also rewrites EXIF and XMP, and raises where they
# are damaged, though the photo is fine.
_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_MAX_REASON = 200
# Cameras and scanners of 12 bits write their values as they are into files of 16.
_MAX_OF_12_BITS, _MAX_OF_16_BITS = 4095, 65535


@dataclass(frozen=True)
class ImageInputSpec:
    """How an image becomes a tensor: resize the shorter edge, crop the centre, scale to 0..1, then (x - mean) / std."""

    resize_size: int
    crop_size: int
    interpolation: str = "bilinear"
    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)
    kind: str = "image"

    def __post_init__(self) -> None:
        _check(self.kind == "image", "kind", "must be 'image'")
        for name in ("resize_size", "crop_size"):
            size = getattr(self, name)
            _check(type(size) is int and 0 < size <= MAX_EDGE, name, f"must be an integer in 1..{MAX_EDGE}")
        names = ", ".join(sorted(_INTERPOLATIONS))
        _check(str(self.interpolation) in _INTERPOLATIONS, "interpolation", f"must be one of {names}")
        _check(_three_numbers(self.mean), "mean", "must be three finite numbers")
        _check(_three_numbers(self.std) and min(self.std) > 0, "std", "must be three numbers above 0")

    def to_json(self) -> dict[str, Any]:
        """Return the form that a manifest holds."""
        return {**asdict(self), "mean": [float(each) for each in self.mean], "std": [float(each) for each in self.std]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what a manifest holds; raise InvalidManifest naming the field that is wrong."""
        _check_names(values, cls)
        channels = {name: values[name] for name in ("mean", "std")}
        for name, value in channels.items():
            _check(isinstance(value, list | tuple), name, "must be a list")
        return cls(**{**values, **{name: tuple(value) for name, value in channels.items()}})


@dataclass(frozen=True)
class VectorInputSpec:
    """Rows of `size` numbers, float32, that go to the first stage as they are."""

    size: int
    kind: str = "vector"

    def __post_init__(self) -> None:
        _check(self.kind == "vector", "kind", "must be 'vector'")
        is_size = type(self.size) is int and 0 < self.size <= MAX_VECTOR_SIZE
        _check(is_size, "size", f"must be an integer in 1..{MAX_VECTOR_SIZE}")

    def to_json(self) -> dict[str, Any]:
        """Return the form that a manifest holds."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what a manifest holds; raise InvalidManifest naming the field that is wrong."""
        _check_names(values, cls)
        return cls(**values)


InputSpec = ImageInputSpec | VectorInputSpec


def read_input_spec(values: Mapping[str, Any]) -> InputSpec:
    """Read the input spec of a manifest, of either kind; raise InvalidManifest naming the field that is wrong."""
    kind = values.get("kind")
    _check(kind in ("image", "vector"), "kind", f"must be 'image' or 'vector', not {kind!r}")
    return VectorInputSpec.from_json(values) if kind == "vector" else ImageInputSpec.from_json(values)


def blank_row(spec: InputSpec) -> Pixels | Values:
    """Return one row of zeros, as what a spec prepares: uint8 [1, crop_size, crop_size, 3] or float32 [1, size]."""
    if isinstance(spec, VectorInputSpec):
        return np.zeros((1, spec.size), np.float32)
    return np.zeros((1, spec.crop_size, spec.crop_size, 3), np.uint8)


def image_input_spec(transforms: Any) -> ImageInputSpec:  # noqa: ANN401  torchvision carries no types
    """Return the spec that equals a torchvision weight set's `transforms()`."""
    return ImageInputSpec(
        resize_size=transforms.resize_size[0],
        crop_size=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def decode_image(data: bytes, *, max_pixels: int, short_edge: int = 0) -> Image.Image:
    """Decode PNG, JPEG, WebP, GIF (first frame), BMP or TIFF (first page) into an upright RGB image.

    Alpha is composited on white; grey, palette, CMYK and 16-bit images are converted, 16-bit grey without a value above
    4095 as 12-bit grey. Raise InvalidImage, saying why, for anything else, for a truncated file, and, before any pixel
    is decoded, for more than `max_pixels` or for edges more than MAX_ASPECT apart. Nothing else is raised: whatever a
    decoder fails with is the fault of these bytes.

    With `short_edge`, to which the image is to be resized, a JPEG that is far larger is decoded at a half, a quarter or
    an eighth of its size, but never to less than twice that edge: it takes a fraction of the memory and of the time.
    """
    return decoded(open_image(data, max_pixels=max_pixels, short_edge=short_edge))


def open_image(data: bytes, *, max_pixels: int, short_edge: int = 0) -> Image.Image:
    """Return an image of which no pixel is decoded, in the size that it will have then; see decode_image."""
    with _naming_faults():
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(image, max_pixels)
        if short_edge:
            image.draft(None, (_REDUCED_EDGES * short_edge, _REDUCED_EDGES * short_edge))
        return image


def decoded(image: Image.Image) -> Image.Image:
    """Return an opened image upright in RGB; see decode_image."""
    with _naming_faults():
        image.load()
        return _flattened(_upright(image))


@contextmanager
def _naming_faults() -> Iterator[None]:
    """Raise InvalidImage for whatever a decoder raises."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise InvalidImage(f"not an image in one of the formats {', '.join(FORMATS)}") from error
    except InvalidImage:
        raise
    except Exception as error:  # decoders of damaged files fail with any error, an AssertionError without a text too
        raise InvalidImage(f"damaged or unsupported image: {_reason(error)}") from error


def to_pixels(image: Image.Image, spec: ImageInputSpec) -> Pixels:
    """Resize the shorter edge of an RGB image and crop its centre: uint8 [crop_size, crop_size, 3].

    Equal to torchvision's `resize` and `center_crop` of a PIL image, to the bit: black borders where it is too small.
    """
    width, height = image.size
    short, long = sorted((width, height))
    longer = int(spec.resize_size * long / short)
    size = (spec.resize_size, longer) if width <= height else (longer, spec.resize_size)
    if size != image.size:
        image = image.resize(size, _INTERPOLATIONS[spec.interpolation])
    return np.array(_centre_crop(image, spec.crop_size), dtype=np.uint8)


def normalise(pixels: torch.Tensor, spec: ImageInputSpec) -> torch.Tensor:
    """Turn uint8 [n, h, w, 3] into float32 [n, 3, h, w] on the same device, by the spec's mean and std.

    The result is laid out channels last, which convolutions prefer.
    """
    n, height, width, _ = pixels.shape
    # One multiplication and one addition, and of whole lines: by threes a core would take three times as long.
    numbers = [
        [1 / (255 * std) for std in spec.std],
        [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)],
    ]
    factors, terms = torch.tensor(numbers, dtype=torch.float32, device=pixels.device).repeat(1, width)
    lines = pixels.reshape(n, height, width * 3).to(torch.float32).mul_(factors).add_(terms)
    return lines.view(n, height, width, 3).permute(0, 3, 1, 2)


def to_input(rows: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """Return prepared rows as the first stage takes them: pixels normalised, rows of numbers as they are."""
    return rows if isinstance(spec, VectorInputSpec) else normalise(rows, spec)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise InvalidImage(f"{width} x {height} pixels are over the limit of {max_pixels} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InvalidImage(f"{width} x {height} pixels: one edge is over {MAX_ASPECT} times the other")


def _upright(image: Image.Image) -> Image.Image:
    try:
        transposition = _TRANSPOSITIONS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  damaged metadata is no reason to refuse a photo
        return image
    return image if transposition is None else image.transpose(transposition)


def _flattened(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _eight_bit_grey(np.asarray(image)).convert("RGB")
    if image.mode in {"I", "F"}:
        raise InvalidImage("pixels of 32 bits, or with a sign, have no known range: save the image with 8 or 16 bits")
    if image.has_transparency_data:
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Composite an image on white, some lines at a time: a large one has three copies of itself else."""
    flat = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP_LINES):
        strip = image.crop((0, top, image.width, min(top + _STRIP_LINES, image.height))).convert("RGBA")
        flat.paste(Image.alpha_composite(Image.new("RGBA", strip.size, _WHITE), strip).convert("RGB"), (0, top))
    return flat


def _eight_bit_grey(values: NDArray[np.uint16]) -> Image.Image:
    """Scale 16-bit values, or 12-bit ones where none needs more; Pillow's own conversion clips at 255."""
    most = _MAX_OF_12_BITS if values.max() <= _MAX_OF_12_BITS else _MAX_OF_16_BITS
    return Image.fromarray((values.astype(np.uint32) * 255 // most).astype(np.uint8))


def _reason(error: Exception) -> str:
    """Return what a library says of a file, fit for a line of text; its kind where it says nothing."""
    text = "".join(each for each in str(error) if each.isprintable())[:_MAX_REASON]
    return text or f"the decoder failed with {type(error).__name__}"


def _centre_crop(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    if width < size or height < size:
        missing = (max(size - width, 0), max(size - height, 0))
        borders = (missing[0] // 2, missing[1] // 2, (missing[0] + 1) // 2, (missing[1] + 1) // 2)
        image = ImageOps.expand(image, borders)
        width, height = image.size
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def _three_numbers(values: object) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == 3
        and all(type(each) in {int, float} and math.isfinite(each) for each in values)
    )


def _check_names(values: Mapping[str, Any], spec: type[ImageInputSpec | VectorInputSpec]) -> None:
    names = {field.name for field in fields(spec)}
    for name in sorted(names ^ set(values)):
        _check(name in names, name, "is unknown")
        _check(name in values, name, "is missing")


def _check(holds: bool, field: str, rule: str) -> None:  # noqa: FBT001  reads as an assertion
    if not holds:
        raise InvalidManifest(f"input_spec.{field} {rule}")
