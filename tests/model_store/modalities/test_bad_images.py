"""Files that are no images are refused, and nothing else is raised."""

from __future__ import annotations

import random

import pytest
from PIL import Image, PngImagePlugin

from model_store.errors import InvalidExample
from model_store.modalities.image.decoding import decode_image
from tests.model_store.modalities.pictures import MAX_PIXELS, encoded, photo, png_header
from tests.odd_images import PALETTE_WITHOUT_COLOURS


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
