"""Preprocessing equals torchvision's own to the bit, and whatever bytes arrive give an RGB image or InvalidExample."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from model_store.architectures import torchvision_architectures
from model_store.architectures.torchvision_compat import torchvision
from model_store.modalities.image.decoding import decode_image
from model_store.modalities.image.spec import ImageInputSpec, normalise, spec_of_transforms, to_pixels
from tests.model_store.modalities.pictures import MAX_PIXELS, encoded, photo, tensor_of


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


@pytest.mark.parametrize("interpolation", ["bilinear", "lanczos"])
@pytest.mark.parametrize("size", [(331, 217), (31, 97), (90, 90)])
def test_a_squash_equals_torchvision(size: tuple[int, int], interpolation: str) -> None:
    """Both edges are resized to the square's, as torchvision's `resize` does for two edges."""
    spec = ImageInputSpec(resize_size=100, crop_size=90, interpolation=interpolation, fit="squash")
    mode = torchvision.transforms.InterpolationMode(interpolation)
    expected = torchvision.transforms.functional.resize(photo(*size), [90, 90], interpolation=mode)
    assert np.array_equal(to_pixels(photo(*size), spec), np.asarray(expected))


@pytest.mark.parametrize(("size", "inner"), [((331, 217), (90, 59)), ((31, 97), (29, 90)), ((640, 10), (90, 1))])
def test_a_pad_keeps_the_whole_image(size: tuple[int, int], inner: tuple[int, int]) -> None:
    """The longer edge is the square's, the image is in the middle, and around it all numbers are about 0."""
    spec = ImageInputSpec(resize_size=100, crop_size=90, fit="pad")
    width, height = inner
    left, top = (90 - width) // 2, (90 - height) // 2
    pixels = to_pixels(photo(*size), spec)
    resized = np.asarray(photo(*size).resize(inner, Image.Resampling.BILINEAR))
    assert np.array_equal(pixels[top : top + height, left : left + width], resized)
    around = np.ones((90, 90), bool)
    around[top : top + height, left : left + width] = False
    numbers = tensor_of(photo(*size), spec)[0].permute(1, 2, 0)[torch.from_numpy(around)]
    assert numbers.abs().max() < 0.01


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_a_square_image_is_only_resized(fit: str) -> None:
    """An image that is square has nothing to fit: both ways give what resizing gives."""
    spec = ImageInputSpec(resize_size=100, crop_size=90, fit=fit)
    assert np.array_equal(to_pixels(photo(70, 70), spec), np.asarray(photo(70, 70).resize((90, 90), 2)))


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
