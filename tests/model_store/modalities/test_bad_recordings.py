"""What is no recording, or too large a one, is refused by its fault before memory is taken; silence is a recording."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from model_store.errors import InvalidExample
from model_store.modalities import prepared
from model_store.modalities.audio.spec import LIMITS, WINDOWS, AudioInputSpec
from model_store.modalities.batch import MASK
from tests.model_store.modalities.recordings import RATE, file_of, noise, tone, wav_header

SPEC = AudioInputSpec(rate=RATE, window=8000, hop=8000)
NAN = np.array([0.0, np.nan], np.float32)
FLAC_FRAMES_AT = 21


TEN_HOURS = 10 * 3600 * RATE


def long_flac(num_samples: int) -> bytes:
    """Return a small FLAC file whose header promises this number of samples, in 36 bits."""
    data = bytearray(file_of(noise(0), kind="FLAC"))
    data[FLAC_FRAMES_AT] = data[FLAC_FRAMES_AT] & 0xF0 | num_samples >> 32
    data[FLAC_FRAMES_AT + 1 : FLAC_FRAMES_AT + 5] = (num_samples & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (b"", "not a recording in one of the formats WAV, FLAC, OGG, MP3, AIFF"),
        (b"once upon a time", "not a recording"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a recording"),
        (b"RIFF\x00\x00\x00\x00WAVEnothing", "damaged or unsupported recording"),
        (b"OggS" + bytes(100), "damaged or unsupported recording"),
        (file_of(tone(440), kind="AU"), "not a recording"),
        (wav_header(data_bytes=0), "the recording has no samples"),
        (wav_header(rate=1, data_bytes=4) + bytes(4), "a sample rate of 1 Hz is outside of 1000 to 384000 Hz"),
        (wav_header(rate=10**9, data_bytes=4) + bytes(4), "a sample rate of 1000000000 Hz is outside of"),
        ((10**9, np.zeros(9, np.float32)), "a sample rate of 1000000000 Hz is outside of"),
        (wav_header(channels=1000, data_bytes=4000) + bytes(4000), "1000 channels are over the limit of 32"),
        (wav_header(channels=2000, data_bytes=4000) + bytes(4000), "damaged or unsupported recording"),
        (file_of(NAN, subtype="FLOAT"), "sample 1 is not finite"),
        (file_of(np.array([np.inf, 0.0], np.float32), subtype="FLOAT"), "sample 0 is not finite"),
        ((RATE, np.zeros(0, np.float32)), "the recording has no samples"),
        ((1, np.zeros(9, np.float32)), "a sample rate of 1 Hz"),
        ((RATE, NAN), "sample 1 is not finite"),
        ("a text", "must be a recording"),
        (np.zeros((4, 4, 3), np.uint8), "must be a recording"),
    ],
    ids=lambda value: value if isinstance(value, str) else "example",  # libsndfile writes the time into some
)
def test_what_is_no_recording_is_refused(example: object, reason: str) -> None:
    """With a reason that says what to change."""
    with pytest.raises(InvalidExample, match=reason):
        prepared(SPEC, [example], LIMITS.example)


@pytest.mark.parametrize("num_samples", [TEN_HOURS, 2**36 - 1])
def test_a_header_that_promises_too_much_is_refused_before_it_is_decoded(num_samples: int) -> None:
    """A few bytes take no gigabytes."""
    tracemalloc.start()
    with pytest.raises(
        InvalidExample, match=f"{num_samples} samples are over the limit of 50000000: cut the recording"
    ):
        SPEC.open(long_flac(num_samples), LIMITS.example)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_a_wav_file_that_promises_more_than_it_has_is_read_to_its_end() -> None:
    """A recorder that was switched off leaves one."""
    whole = file_of(tone(440, seconds=0.25), subtype="PCM_16")
    cut = wav_header(data_bytes=2**31) + whole[44:]
    rows = prepared(SPEC, [cut], LIMITS.example)
    assert np.array_equal(rows.arrays[WINDOWS], prepared(SPEC, [whole], LIMITS.example).arrays[WINDOWS])


def test_a_cut_file_is_read_as_far_as_it_goes_or_refused() -> None:
    """Never anything else."""
    whole = file_of(noise(0), kind="FLAC")
    for size in range(0, len(whole), 997):
        try:
            rows = prepared(SPEC, [whole[:size]], LIMITS.example)
        except InvalidExample:
            continue
        assert rows.arrays[MASK].any()


def test_silence_is_a_recording() -> None:
    """Data sets have a label for it."""
    rows = prepared(SPEC, [file_of(np.zeros(RATE, np.float32))], LIMITS.example)
    assert not rows.arrays[WINDOWS].any()
    assert rows.arrays[MASK].tolist() == [[True, True]]
