"""The input spec of images: fit the image to a square, scale to 0..1, then (x - mean) / std."""

from __future__ import annotations

import io
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from model_store.errors import InvalidExample, InvalidManifest
from model_store.modalities.batch import Batch, X
from model_store.modalities.checks import check, check_names, check_num_rows
from model_store.modalities.image.decoding import check_size, decode_image, decoded, open_image
from model_store.modalities.image.fits import CROP, FITS, Colour, Square
from model_store.modalities.spec import Array, Limits, Rows, TensorForm, check_finite, concatenated_rows

Pixels = NDArray[np.uint8]
Channels = tuple[float, float, float]

KIND = "image"
MAX_EDGE = 4096
LIMITS = Limits(example=50_000_000, request=500_000_000, batch_cost=32, queue_cost=1024)
PIXELS = "pixels"
"""The tensor of rows that are prepared and not normalised: uint8 [n, crop_size, crop_size, 3]."""
_INTERPOLATIONS = {mode.name.lower(): mode for mode in Image.Resampling}
_JPEG_QUALITY = 95
_MAX_NUMBER = float(np.finfo(np.float32).max)
_INPUT_TENSOR, _PIXELS_TENSOR, _IMAGE_TENSOR = "INPUT", "PIXELS", "IMAGE"


@dataclass(frozen=True)
class ImageInputSpec:
    """How an image becomes a tensor; interpolation is the name of one of Pillow's filters, in lower case.

    `fit` is how an image that is not square fills the square of `crop_size`; `resize_size` is the shorter edge before
    a crop, and other fits have no use for it.
    """

    resize_size: int
    crop_size: int
    interpolation: str = "bilinear"
    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)
    fit: str = CROP
    kind: str = KIND

    def __post_init__(self) -> None:
        check(self.kind == KIND, "kind", f"must be {KIND!r}")
        for name in ("resize_size", "crop_size"):
            size = getattr(self, name)
            check(type(size) is int and 0 < size <= MAX_EDGE, name, f"must be an integer in 1..{MAX_EDGE}")
        names = ", ".join(sorted(_INTERPOLATIONS))
        check(str(self.interpolation) in _INTERPOLATIONS, "interpolation", f"must be one of {names}")
        check(str(self.fit) in FITS, "fit", f"must be one of {', '.join(FITS)}")
        check(_three_numbers(self.mean), "mean", "must be three finite numbers")
        check(_three_numbers(self.std) and min(self.std) > 0, "std", "must be three numbers above 0")

    @property
    def unit(self) -> str:
        """What sizes count."""
        return "pixels"

    @property
    def rows_key(self) -> Hashable:
        """The whole spec: rows may have been sent normalised."""
        return self

    @property
    def device_key(self) -> Hashable:
        """The whole spec: rows of another size are others."""
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the form that a manifest holds."""
        return {**asdict(self), "mean": [float(each) for each in self.mean], "std": [float(each) for each in self.std]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what a manifest holds; raise InvalidManifest naming the field that is wrong.

        Manifests that were written before there were other fits have none, and mean `crop`.
        """
        check_names(values, (field.name for field in fields(cls)), optional=("fit",))
        channels = {name: values[name] for name in ("mean", "std")}
        for name, value in channels.items():
            check(isinstance(value, list | tuple), name, "must be a list")
        return cls(**{**values, **{name: tuple(value) for name, value in channels.items()}})

    def stored(self, data: bytes) -> object:
        """Return the encoded image."""
        return data

    def open(self, example: object, max_size: int) -> OpenedImage:
        """Look at an encoded image (bytes) or at raw RGB pixels, uint8 [h, w, 3]; see decode_image for what is refused.

        `max_size` bounds the pixels.
        """
        if isinstance(example, bytes):
            short_edge = self.resize_size if self.fit == CROP else self.crop_size
            return OpenedImage(open_image(example, max_pixels=max_size, short_edge=short_edge), self)
        if not isinstance(example, np.ndarray) or example.dtype != np.uint8 or example.shape[2:] != (3,):
            raise InvalidExample("must be an encoded image, or RGB pixels, uint8 [height, width, 3]")
        image = Image.fromarray(example)
        check_size(image, max_size)
        return OpenedImage(image, self)

    def form(self, rows: Rows) -> Hashable:
        """Return the shape of the normalised rows: (3, h, w)."""
        pixels = rows.arrays.get(PIXELS)
        return rows.arrays[X].shape[1:] if pixels is None else (3, *pixels.shape[1:3])

    def cost(self, _: Rows) -> int:
        """Return 1: all rows of a spec have the same size."""
        return 1

    def collate(self, rows: Sequence[Rows]) -> Rows:
        """Concatenate."""
        return concatenated_rows(rows)

    def to_input(self, batch: Batch) -> Batch:
        """Turn `pixels`, uint8 [n, h, w, 3], into `x`, float32 [n, 3, h, w] channels last, normalised.

        `x` that was sent normalised is copied into that layout, which convolutions prefer.
        """
        pixels = batch.tensors.get(PIXELS)
        x = normalise(pixels, self) if pixels is not None else batch.x.clone(memory_format=torch.channels_last)
        return Batch({X: x}, batch.num_rows)

    def blank(self) -> Rows:
        """Return one black image, uint8 [1, crop_size, crop_size, 3]."""
        return Rows({PIXELS: np.zeros((1, self.crop_size, self.crop_size, 3), np.uint8)}, 1)

    def tensors(self) -> tuple[TensorForm, ...]:
        """Return INPUT (normalised, float32), or PIXELS (uint8 RGB of any size), or IMAGE (encoded)."""
        edge = self.crop_size
        return (
            TensorForm(_INPUT_TENSOR, "float32", (3, edge, edge), layout="nchw", alternative=0),
            TensorForm(_PIXELS_TENSOR, "uint8", (-1, -1, 3), layout="nhwc", alternative=1),
            TensorForm(_IMAGE_TENSOR, "bytes", (), alternative=2),
        )

    def read_tensors(self, tensors: Mapping[str, Array]) -> Rows | Sequence[object]:
        """Return rows where INPUT is given, or PIXELS of the crop's size; else images to be prepared."""
        if _INPUT_TENSOR in tensors:
            rows = tensors[_INPUT_TENSOR]
            check_finite(rows)
            return Rows({X: rows}, len(rows))
        if _IMAGE_TENSOR in tensors:
            return list(tensors[_IMAGE_TENSOR])
        pixels = tensors[_PIXELS_TENSOR]
        if pixels.shape[1:3] == (self.crop_size, self.crop_size):
            return Rows({PIXELS: pixels}, len(pixels))
        return list(pixels)

    def to_blob(self, rows: Rows) -> dict[str, Tensor]:
        """Return one tensor for each row with its JPEG, `000`, `001`, …: uint8 [bytes]."""
        return {f"{position:03}": _jpeg(row) for position, row in enumerate(rows.arrays[PIXELS])}

    def from_blob(self, tensors: Mapping[str, Tensor], max_rows: int) -> Rows:
        """Read `to_blob`'s tensors; raise InvalidManifest for any other form."""
        check_num_rows(len(tensors), max_rows)
        names = [f"{position:03}" for position in range(len(tensors))]
        if sorted(tensors) != names:
            raise InvalidManifest(f"must be named {names[0]} to {names[-1]}")
        pixels = np.stack([self._image(name, tensors[name]) for name in names])
        return Rows({PIXELS: pixels}, len(pixels))

    def _image(self, name: str, encoded: Tensor) -> Pixels:
        if encoded.dtype != torch.uint8 or encoded.ndim != 1:
            raise InvalidManifest(f"{name} must be bytes, uint8 [n]")
        size = self.crop_size
        try:
            image = decode_image(encoded.numpy().tobytes(), max_pixels=size * size)
        except InvalidExample as error:
            raise InvalidManifest(f"{name} is no image that can be used: {error}") from error
        if image.size != (size, size):
            found = f"{image.width} x {image.height}"
            raise InvalidManifest(f"{name} must have {size} x {size} pixels, not {found}")
        return np.asarray(image, np.uint8)


@dataclass(frozen=True)
class OpenedImage:
    """An image of which no pixel is decoded yet; `size` is the number of pixels that it will have then."""

    image: Image.Image
    spec: ImageInputSpec

    @property
    def size(self) -> int:
        """The number of pixels."""
        return self.image.width * self.image.height

    def prepare(self) -> Rows:
        """Decode, and fit to the square: uint8 [1, crop_size, crop_size, 3]."""
        return Rows({PIXELS: to_pixels(decoded(self.image), self.spec)[None]}, 1)


def spec_of_transforms(transforms: Any) -> ImageInputSpec:  # noqa: ANN401  torchvision carries no types
    """Return the spec that equals a torchvision weight set's `transforms()`."""
    return ImageInputSpec(
        resize_size=transforms.resize_size[0],
        crop_size=transforms.crop_size[0],
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )


def to_pixels(image: Image.Image, spec: ImageInputSpec) -> Pixels:
    """Fit an RGB image to the square by the spec's fit: uint8 [crop_size, crop_size, 3]."""
    square = Square(spec.crop_size, spec.resize_size, _INTERPOLATIONS[spec.interpolation], mean_colour(spec))
    return np.array(FITS[spec.fit](image, square), dtype=np.uint8)


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


def mean_colour(spec: ImageInputSpec) -> Colour:
    """Return the colour that is about 0 once it is normalised: what a convolution pads with, too."""
    red, green, blue = (round(min(max(mean, 0.0), 1.0) * 255) for mean in spec.mean)
    return (red, green, blue)


def _jpeg(row: Pixels) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(row).save(file, "JPEG", quality=_JPEG_QUALITY)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def _three_numbers(values: object) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == 3
        and all(type(each) in {int, float} and abs(each) <= _MAX_NUMBER for each in values)
    )
