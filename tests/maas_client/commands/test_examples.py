"""What a program may give as an example: files, arrays, and images of Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maas_client import errors
from maas_client.client import Client
from maas_client.settings import ClientSettings
from tests.answers import alike
from tests.inference_service.making import photo
from tests.inference_service.running import RunningService
from tests.maas_client.commands.test_predict import serving


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with one model."""
    with serving(tmp_path_factory.mktemp("home")) as running:
        yield running


def test_arrays_of_pixels_are_examples_and_others_are_none(service: RunningService) -> None:
    """Pixels answer as their file does; an array of another form is refused before anything is sent."""
    encoded = photo(3)
    pixels = np.asarray(Image.open(io.BytesIO(encoded)))
    with Client(ClientSettings("127.0.0.1:1", service.address)) as client:
        by_pixels, by_file = client.predict("flowers", [pixels, encoded]).predictions
        assert alike(by_pixels, by_file)
        assert client.embed("flowers", [pixels]).embeddings
        assert alike(client.predict("flowers", encoded).predictions[0], by_file)
        for odd in (pixels.astype(np.float32), pixels[:, :, 0], 3.5):
            with pytest.raises(TypeError, match="an example is a file, RGB uint8"):
                client.predict("flowers", [odd])  # type: ignore[list-item]


def as_file(picture: Image.Image, **options: Any) -> bytes:
    """Return a PNG."""
    data = io.BytesIO()
    picture.save(data, "PNG", **options)
    return data.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_images_of_pillow_answer_as_their_files_do(service: RunningService, mode: str) -> None:
    """Whatever a pixel is: on white where it is transparent, and 16 bits as the service reads them."""
    rgb = Image.open(io.BytesIO(photo(3)))
    picture = Image.fromarray(np.asarray(rgb.convert("L"), np.uint16) * 16) if mode == "I;16" else rgb.convert(mode)
    if "A" in mode:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    file = as_file(picture.convert("RGB") if mode == "CMYK" else picture)
    with Client(inference=service.address) as client:
        by_picture, by_file = client.predict("flowers", [picture, file]).predictions
    assert alike(by_picture, by_file)


def test_an_image_of_pillow_is_sent_upright(service: RunningService) -> None:
    """As the camera's metadata say."""
    picture = Image.open(io.BytesIO(photo(3))).resize((90, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = as_file(picture, exif=exif)
    with Client(inference=service.address) as client:
        by_picture, by_file = client.predict("flowers", [Image.open(io.BytesIO(file)), file]).predictions
        assert alike(by_picture, by_file)
        with pytest.raises(errors.InvalidArgument, match="no known range"):
            client.predict("flowers", Image.new("F", (8, 8)))
