"""Recordings to look at: pictures of the loudness of each frequency over time."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from model_store.errors import DamagedStore, InvalidExample
from model_store.modalities.audio.decoding import open_recording
from model_store.modalities.spec import Numbers
from training_service.datasets.manifest import DatasetRow
from training_service.datasets.packs import PackedRows

_QUALITY = 85
_FRAME_SECONDS = 0.025
_RANGE_DECIBELS = 80.0
_LEAST_POWER = 1e-10


def preview(packs: PackedRows, row: DatasetRow, edge: int) -> bytes:
    """Return the picture of a row, `edge` wide; raise DamagedStore, naming it, where it cannot be decoded here."""
    most = row.facts["frames"] * row.facts["channels"]
    try:
        recording = open_recording(packs.read(row), max_samples=2 * most)
        return drawn(recording.samples(), recording.rate, edge)
    except InvalidExample as error:
        raise DamagedStore(
            f"the dataset's recording {row.path!r} was decoded when it came, and is not here: {error}"
        ) from error


def drawn(samples: Numbers, rate: int, edge: int) -> bytes:
    """Return a picture, encoded: time to the right, frequency upwards, the loudest 80 dB from black to white."""
    size = max(16, round(_FRAME_SECONDS * rate))
    padded = np.pad(samples, (0, max(0, size - samples.size)))
    starts = np.linspace(0, padded.size - size, edge).astype(np.int64)
    frames = padded[starts[:, None] + np.arange(size)] * np.hanning(size).astype(np.float32)
    decibels = 10 * np.log10(np.square(np.abs(np.fft.rfft(frames, axis=1))) + _LEAST_POWER)
    levels = np.clip((decibels - decibels.max()) / _RANGE_DECIBELS + 1, 0, 1)
    grey = Image.fromarray((255 * levels.T[::-1]).astype(np.uint8)).resize((edge, edge))
    file = io.BytesIO()
    grey.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
