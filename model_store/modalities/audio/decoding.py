"""Decodes recordings into samples of one channel, bounded before any sample is decoded; faults are the file's."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_store.errors import InvalidExample
from model_store.modalities.spec import Numbers

FORMATS = ("WAV", "FLAC", "OGG", "MP3", "AIFF")
MIN_RATE, MAX_RATE = 1_000, 384_000
"""Limits of a recording's sample rate in hertz: far outside of them a few bytes are hours, or a header is damaged."""
MAX_CHANNELS = 32
_BLOCK_FRAMES = 65536
_MAX_REASON = 200
_WAV_KINDS = {"WAVEX": "WAV", "RF64": "WAV", "W64": "WAV"}
_RIFF, _WAVE_AT, _WAVE = (b"RIFF", b"RF64", b"FORM"), slice(8, 12), (b"WAVE", b"AIFF", b"AIFC")
_OTHER_STARTS = (b"fLaC", b"OggS", b"ID3")
_MP3_SYNC = 0xFFE0  # eleven set bits begin a frame of an MP3 file without tags


@dataclass(frozen=True)
class Recording:
    """A recording that was looked at and is not decoded: its sample rate, channels, and frames (samples a channel)."""

    data: bytes
    rate: int
    num_channels: int
    num_frames: int

    @property
    def num_samples(self) -> int:
        """Samples of all channels."""
        return self.num_frames * self.num_channels

    def samples(self) -> Numbers:
        """Decode, and mix the channels to one by their mean: float32 [frames], about -1 to 1.

        Raises InvalidExample for a damaged file, and for a number that is not finite. A file that holds more frames
        than its header says is read up to there: memory is bounded by what `open_recording` has checked.
        """
        with _naming_faults(), _opened(self.data) as file:
            mixed = np.empty(self.num_frames, np.float32)
            num_read = 0
            while num_read < self.num_frames:
                block = file.read(min(_BLOCK_FRAMES, self.num_frames - num_read), dtype="float32", always_2d=True)
                if not len(block):
                    break
                mixed[num_read : num_read + len(block)] = block.mean(axis=1)
                num_read += len(block)
        return checked_samples(mixed[:num_read])


def open_recording(data: bytes, *, max_samples: int) -> Recording:
    """Return a WAV, FLAC, Ogg (Vorbis, Opus), MP3 or AIFF file of which no sample is decoded.

    Raise InvalidExample, with the reason, for anything else, for a file without samples, for a sample rate outside of
    MIN_RATE to MAX_RATE, for more than MAX_CHANNELS, and for more than `max_samples` in all channels.
    """
    if not _may_be_sound(data):  # libsndfile would try two dozen formats, of which some are rare and little tested
        raise InvalidExample(f"not a recording in one of the formats {', '.join(FORMATS)}")
    with _naming_faults(), _opened(data) as file:
        rate, num_channels, num_frames = int(file.samplerate), int(file.channels), int(file.frames)
        kind = _WAV_KINDS.get(file.format, file.format)
    if kind not in FORMATS:
        raise InvalidExample(f"not a recording in one of the formats {', '.join(FORMATS)}")
    check_rate(rate)
    if num_channels > MAX_CHANNELS:
        raise InvalidExample(f"{num_channels} channels are over the limit of {MAX_CHANNELS}")
    check_size(num_frames * num_channels, max_samples)
    return Recording(data, rate, num_channels, num_frames)


def check_rate(rate: int) -> None:
    """Raise InvalidExample for a sample rate that no recording has."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidExample(f"a sample rate of {rate} Hz is outside of {MIN_RATE} to {MAX_RATE} Hz")


def check_size(num_samples: int, max_samples: int) -> None:
    """Raise InvalidExample for a recording without samples, or of too many."""
    if num_samples < 1:
        raise InvalidExample("the recording has no samples")
    if num_samples > max_samples:
        raise InvalidExample(f"{num_samples} samples are over the limit of {max_samples}: cut the recording")


def checked_samples(samples: Numbers) -> Numbers:
    """Return samples, float32 [n]; raise InvalidExample where there is none, and naming one that is not finite."""
    if not samples.size:
        raise InvalidExample("the recording has no samples")
    if not np.isfinite(samples).all():
        raise InvalidExample(f"sample {int(np.isfinite(samples).argmin())} is not finite")
    return samples


def _may_be_sound(data: bytes) -> bool:
    if data.startswith(_RIFF):
        return data[_WAVE_AT] in _WAVE
    is_mp3_frame = int.from_bytes(data[:2], "big") & _MP3_SYNC == _MP3_SYNC
    return data.startswith(_OTHER_STARTS) or is_mp3_frame


def _opened(data: bytes) -> Any:  # noqa: ANN401  soundfile carries no types
    import soundfile  # noqa: PLC0415  late: a service that reads no recording needs no libsndfile

    return soundfile.SoundFile(io.BytesIO(data))


@contextmanager
def _naming_faults() -> Iterator[None]:
    """Raise InvalidExample for the errors of libsndfile: they are all about the file."""
    import soundfile  # noqa: PLC0415  as above

    try:
        yield
    except (soundfile.SoundFileError, ValueError, OverflowError) as error:
        text = "".join(each for each in str(error) if each.isprintable())[:_MAX_REASON]
        raise InvalidExample(f"damaged or unsupported recording: {text or type(error).__name__}") from error
