"""Small recordings that tests send: tones and noise, encoded as files."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

from model_store.modalities.spec import Numbers

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE, loudness: float = 0.5) -> Numbers:
    """Return a tone, float32 [samples]."""
    times = np.arange(round(seconds * rate)) / rate
    return (loudness * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def noise(seed: int, seconds: float = 1.0, rate: int = RATE, loudness: float = 0.1) -> Numbers:
    """Return white noise, float32 [samples]."""
    random = np.random.default_rng(seed)
    return (loudness * random.standard_normal(round(seconds * rate))).astype(np.float32)


def file_of(samples: Numbers, rate: int = RATE, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """Return a file with samples, float32 [samples] or [samples, channels]."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def wav_header(*, rate: int = RATE, channels: int = 1, data_bytes: int, subtype: int = 1, bits: int = 16) -> bytes:
    """Return the header of a WAV file that promises this number of bytes of samples."""
    frame = channels * bits // 8
    described = struct.pack("<HHIIHH", subtype, channels, rate, (rate * frame) & 0xFFFFFFFF, frame & 0xFFFF, bits)
    total = (36 + data_bytes) & 0xFFFFFFFF
    chunks = b"fmt " + struct.pack("<I", 16) + described + b"data" + struct.pack("<I", data_bytes & 0xFFFFFFFF)
    return b"RIFF" + struct.pack("<I", total) + b"WAVE" + chunks
