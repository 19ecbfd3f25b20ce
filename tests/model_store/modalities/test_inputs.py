"""Preprocessing equals torchvision's own to the bit, and whatever bytes arrive give an RGB image or InvalidExample."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, PngImagePlugin

from model_store.architectures import torchvision_architectures
from model_store.architectures.torchvision_compat import torchvision
from model_store.errors import InvalidExample, InvalidManifest
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import ImageInputSpec, normalise, spec_of_transforms, to_pixels
from tests.odd_images import PALETTE_WITHOUT_COLOURS

MAX_PIXELS = 1_000_000
SPEC = {
    "kind": "image",
    "resize_size": 256,
    "crop_size": 224,
    "interpolation": "bilinear",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


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


@pytest.mark.parametrize("size", [(331, 217), (217, 331), (23, 17), (500, 40), (256, 256), (224, 224)])
@pytest.mark.parametrize("architecture", torchvision_architectures())
def test_preprocessing_equals_torchvision(architecture: str, size: tuple[int, int]) -> None:
    """Each weight set's own transforms give the same pixels to the bit, and the same tensor."""
    transforms = torchvision.models.get_model_weights(architecture).DEFAULT.transforms()
    spec, image = spec_of_transforms(transforms), photo(*size)
    functional = torchvision.transforms.functional
    resized = functional.resize(image, transforms.resize_size, interpolation=transforms.interpolation)
    expected = np.asarray(functional.center_crop(resized, transforms.crop_size))
    assert np.array_equal(to_pixels(image, spec), expected)
    torch.testing.assert_close(tensor_of(image, spec)[0], transforms(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
@pytest.mark.parametrize("size", [(331, 217), (31, 97), (70, 69)])
def test_odd_specs_equal_torchvision(interpolation: str, size: tuple[int, int]) -> None:
    """A crop larger than the resized image gets torchvision's black borders, by every interpolation."""
    spec = ImageInputSpec(resize_size=69, crop_size=90, interpolation=interpolation)
    transforms = torchvision.transforms._presets.ImageClassification(
        resize_size=69, crop_size=90, interpolation=torchvision.transforms.InterpolationMode(interpolation)
    )
    image = photo(*size)
    torch.testing.assert_close(tensor_of(image, spec)[0], transforms(image), rtol=0, atol=1e-6)


def test_normalise_takes_a_batch() -> None:
    """Rows are independent of the batch they are in, and uint8 input is not written to."""
    spec = ImageInputSpec(resize_size=64, crop_size=64)
    pixels = torch.from_numpy(np.stack([to_pixels(photo(80, 70), spec), to_pixels(photo(64, 64), spec)]))
    before = pixels.clone()
    batch = normalise(pixels, spec)
    assert batch.shape == (2, 3, 64, 64)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[1:], normalise(pixels[1:], spec))
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied(image_format: str, orientation: int) -> None:
    """A photo taken with the camera turned comes out upright, once."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(photo(40, 24), image_format, exif=exif, **lossless)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(np.asarray(decode_image(data, max_pixels=MAX_PIXELS)), expected)


def test_damaged_exif_is_ignored() -> None:
    """A photo whose metadata is broken is still a photo."""
    data = encoded(photo(40, 24), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode_image(data, max_pixels=MAX_PIXELS).size == (40, 24)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_alpha_is_composited_on_white(mode: str) -> None:
    """Transparent pixels turn white, half-transparent ones half white, opaque ones stay."""
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    if mode != "P":
        image.putpixel((2, 0), (0, 0, 0, 128))
    decoded = np.asarray(decode_image(encoded(image.convert(mode)), max_pixels=MAX_PIXELS))
    assert decoded[0, 0].tolist() == [0, 0, 0]
    assert decoded[0, 1].tolist() == [255, 255, 255]
    if mode != "P":
        assert decoded[0, 2].tolist() == [127, 127, 127]


def test_transparent_colour_of_a_png_turns_white() -> None:
    """A PNG that names one colour as transparent is composited too."""
    image = Image.new("RGB", (2, 1), (10, 20, 30))
    image.putpixel((1, 0), (1, 2, 3))
    decoded = np.asarray(decode_image(encoded(image, transparency=(1, 2, 3)), max_pixels=MAX_PIXELS))
    assert decoded[0].tolist() == [[10, 20, 30], [255, 255, 255]]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled(image_format: str) -> None:
    """16-bit shades keep their brightness instead of turning white."""
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(values), image_format), max_pixels=MAX_PIXELS))
    assert decoded[0].tolist() == [[0, 0, 0], [100, 100, 100], [255, 255, 255]]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_twelve_bit_grey_in_sixteen_bits_is_scaled_by_its_own_range(image_format: str) -> None:
    """A camera's 12 bits are not a sixteenth as bright as they were; one value more, and they are 16 bits."""
    values = np.array([[0, 2048, 4095]], dtype=np.uint16)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(values), image_format), max_pixels=MAX_PIXELS))
    assert decoded[0].tolist() == [[0, 0, 0], [127, 127, 127], [255, 255, 255]]
    values[0, 2] = 4096
    decoded = np.asarray(decode_image(encoded(Image.fromarray(values), image_format), max_pixels=MAX_PIXELS))
    assert decoded.max() == 15


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [
        ("L", "PNG"),
        ("1", "PNG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
        ("RGB", "BMP"),
        ("RGB", "WEBP"),
        ("YCbCr", "JPEG"),
    ],
)
def test_modes_and_formats_become_rgb(mode: str, image_format: str) -> None:
    """Grey, black and white, palette and print images come out as RGB that looks like the original."""
    original = photo(40, 24).convert(mode)
    decoded = decode_image(encoded(original, image_format), max_pixels=MAX_PIXELS)
    assert decoded.mode == "RGB"
    difference = np.abs(np.asarray(decoded, dtype=int) - np.asarray(original.convert("RGB"), dtype=int))
    assert difference.mean() < 20


def test_animation_gives_its_first_frame() -> None:
    """A moving GIF is its first frame."""
    red, blue = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    decoded = decode_image(encoded(red, "GIF", save_all=True, append_images=[blue]), max_pixels=MAX_PIXELS)
    assert decoded.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an image"),
        (b"hello, world", "not an image"),
        (encoded(photo(40, 24), "PPM"), "not an image"),
        (encoded(photo(40, 24))[:-200], "damaged"),
        (encoded(photo(40, 24), "JPEG")[:-200], "damaged"),
        (encoded(photo(40, 24), "WEBP")[:-200], "damaged|not an image"),
        (encoded(Image.new("F", (8, 8)), "TIFF"), "8 or 16 bits"),
        # No pixels follow these headers: a refusal that names the size came before decoding.
        (png_header(1001, 1000), "1001 x 1000 pixels are over the limit of 1000000"),
        (png_header(65000, 65000), "exceeds limit|over the limit"),
        (png_header(1, 65), "over 64 times"),
        (PALETTE_WITHOUT_COLOURS, "damaged or unsupported image: the decoder failed with AssertionError"),
    ],
)
def test_bad_images_are_refused(data: bytes, reason: str) -> None:
    """Anything else than a whole image of a fair size is refused with a reason."""
    with pytest.raises(InvalidExample, match=reason):
        decode_image(data, max_pixels=MAX_PIXELS)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_pillows_own_warning_is_the_same_error() -> None:
    """Where warnings are errors, Pillow's own about a bomb is InvalidExample as well."""
    with pytest.raises(InvalidExample, match=r"decompression bomb|over the limit"):
        decode_image(png_header(10_000, 10_000), max_pixels=MAX_PIXELS)


@pytest.mark.parametrize("error", [AssertionError(), MemoryError(), RuntimeError("of\x1b[2J a plugin " + "x" * 1000)])
def test_whatever_a_decoder_raises_is_the_files_fault(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only the errors that were seen so far, and in a line that a terminal can show."""

    def load(_: Image.Image) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(InvalidExample) as caught:
        decode_image(encoded(photo(40, 24)), max_pixels=MAX_PIXELS)
    assert str(caught.value).startswith("damaged or unsupported image: ")
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_files_raise_nothing_else() -> None:
    """Random damage to files of every format gives an RGB image or InvalidExample, never another error."""
    chosen = random.Random(0)
    originals = [encoded(photo(40, 24), each) for each in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")]
    originals.append(encoded(photo(40, 24), "TIFF", compression="tiff_lzw"))
    for _ in range(2000):
        data = bytearray(chosen.choice(originals))
        for _ in range(chosen.randrange(1, 6)):
            data[chosen.randrange(min(len(data), 300))] = chosen.randrange(256)
        try:
            assert decode_image(bytes(data), max_pixels=MAX_PIXELS).mode == "RGB"
        except InvalidExample:
            continue


def test_spec_survives_json() -> None:
    """A spec is what its JSON says."""
    spec = ImageInputSpec.from_json(SPEC)
    assert spec.to_json() == SPEC
    assert ImageInputSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "audio"),
        ("resize_size", 0),
        ("resize_size", 5000),
        ("crop_size", 224.0),
        ("crop_size", True),
        ("crop_size", "224"),
        ("interpolation", "cubic"),
        ("interpolation", ["bilinear"]),
        ("mean", [0.5, 0.5]),
        ("mean", "abc"),
        ("mean", [0.5, float("nan"), 0.5]),
        ("std", [0.5, 0.0, 0.5]),
        ("std", None),
        ("gamma", 2.2),
    ],
)
def test_spec_is_validated(field: str, value: object) -> None:
    """A field that is wrong or unknown is refused by name."""
    with pytest.raises(InvalidManifest, match=rf"input_spec\.{field}"):
        ImageInputSpec.from_json({**SPEC, field: value})


@pytest.mark.parametrize("field", SPEC)
def test_every_field_is_required(field: str) -> None:
    """A field that is missing is named."""
    with pytest.raises(InvalidManifest, match=rf"input_spec\.{field} is missing"):
        ImageInputSpec.from_json({name: value for name, value in SPEC.items() if name != field})


@pytest.mark.parametrize(
    ("size", "reduced"), [((1023, 2000), (1023, 2000)), ((1030, 2000), (515, 1000)), ((4200, 5600), (525, 700))]
)
def test_a_large_jpeg_is_decoded_at_a_reduced_size(size: tuple[int, int], reduced: tuple[int, int]) -> None:
    """Never below twice what it is resized to, so that hardly any pixel is another one than of the whole image."""
    spec = ImageInputSpec(resize_size=256, crop_size=224)
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8))
    data = encoded(coarse.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=90)
    whole = decode_image(data, max_pixels=10**8)
    small = decode_image(data, max_pixels=10**8, short_edge=spec.resize_size)
    assert (whole.size, small.size) == (size, reduced)
    difference = np.abs(to_pixels(small, spec).astype(int) - to_pixels(whole, spec))
    assert difference.mean() < 0.5
    assert difference.max() <= 4
    assert (difference == 0).all() or size != reduced


def test_a_large_image_with_alpha_is_composited_in_strips() -> None:
    """With the bits that it has as a whole."""
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (600, 40, 4), np.uint8), "RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    expected = Image.alpha_composite(white, image).convert("RGB")
    assert np.array_equal(np.asarray(decode_image(encoded(image), max_pixels=10**6)), np.asarray(expected))
    palette = image.quantize(16)
    composited = Image.alpha_composite(white, palette.convert("RGBA")).convert("RGB")
    assert np.array_equal(np.asarray(decode_image(encoded(palette), max_pixels=10**6)), np.asarray(composited))
