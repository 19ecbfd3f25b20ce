"""Recordings become windows: any format, rate and number of channels, the same from a file and from samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_store.calibration import batch_of
from model_store.errors import InvalidManifest
from model_store.modalities import prepared, read_input_spec
from model_store.modalities.audio.resampling import resampled, resampled_size
from model_store.modalities.audio.spec import WINDOWS, AudioInputSpec
from model_store.modalities.batch import MASK
from tests.model_store.modalities.recordings import RATE, file_of, noise, tone

SPEC = AudioInputSpec(rate=RATE, window=8000, hop=4000, max_windows=16)
LARGE = 10**9
LONGEST = 60.0


def row(example: object, spec: AudioInputSpec = SPEC) -> dict[str, np.ndarray]:
    """Return the arrays of one example."""
    return dict(prepared(spec, [example], LARGE).arrays)


def samples_of(windows: np.ndarray) -> np.ndarray:
    """Return the first window as numbers of -1 to 1."""
    return windows[0, 0].astype(np.float32) / 32768


def test_a_file_and_its_samples_give_the_same_row() -> None:
    """Samples of 16 bits are kept as they are; the wire carries them as floats."""
    given_samples = (noise(0) * 32768).round().astype(np.float32) / 32768
    by_file, by_samples = row(file_of(given_samples, subtype="PCM_16")), row((RATE, given_samples))
    for name in (WINDOWS, MASK):
        assert np.array_equal(by_file[name], by_samples[name])
    assert np.array_equal(samples_of(by_file[WINDOWS]), given_samples[:8000])


@pytest.mark.parametrize(
    ("kind", "subtype"), [("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None), ("AIFF", None)]
)
def test_formats_that_lose_nothing_or_little_are_read(kind: str, subtype: str | None) -> None:
    """A tone of 440 Hz is the loudest frequency, whatever the file is."""
    found = samples_of(row(file_of(tone(440), kind=kind, subtype=subtype))[WINDOWS])
    assert abs(np.abs(np.fft.rfft(found)).argmax() * RATE / found.size - 440) <= 2


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 44_100, 48_000, 96_000])
def test_any_rate_is_resampled(rate: int) -> None:
    """A tone keeps its frequency and loudness, and the recording its length."""
    found = row(file_of(tone(440, seconds=0.5, rate=rate), rate))
    assert found[WINDOWS].shape == (1, 1, 8000)
    middle = samples_of(found[WINDOWS])[2000:6000]
    assert np.abs(middle - tone(440, seconds=0.5)[2000:6000]).max() < 0.01


@given(st.integers(1, 5000), st.integers(1000, 50_000), st.integers(1000, 50_000))
@settings(max_examples=25, deadline=None)
def test_the_number_of_resampled_samples_is_known_before(count: int, rate: int, wanted: int) -> None:
    """Windows are counted by it before anything is decoded."""
    assert resampled(np.zeros(count, np.float32), rate, wanted).size == resampled_size(count, rate, wanted)


def test_channels_are_mixed_by_their_mean() -> None:
    """Two channels that cancel are silence."""
    left = tone(440)
    assert not row(file_of(np.stack([left, -left], axis=1)))[WINDOWS].any()
    assert np.array_equal(row(file_of(np.stack([left] * 3, axis=1)))[WINDOWS], row(file_of(left))[WINDOWS])


@pytest.mark.parametrize(
    ("num_samples", "num_windows", "num_padded"),
    [(1, 1, 1), (8000, 1, 1), (8001, 2, 2), (12_000, 2, 2), (24_000, 5, 6), (68_000, 16, 16), (600_000, 16, 16)],
)
def test_a_window_begins_every_hop(num_samples: int, num_windows: int, num_padded: int) -> None:
    """The last one is filled up, and further ones are masked; a very long recording is sampled from start to end."""
    samples = np.linspace(-0.5, 0.5, num_samples, dtype=np.float32)
    found = row((RATE, samples))
    assert found[WINDOWS].shape == (1, num_padded, 8000)
    assert found[MASK].tolist() == [[True] * num_windows + [False] * (num_padded - num_windows)]
    assert SPEC.num_windows(num_samples, RATE) == num_windows
    assert abs(samples_of(found[WINDOWS])[0] - samples[0]) < 1e-4
    ends = found[WINDOWS][0, num_windows - 1]
    assert abs(float(ends[ends != 0][-1]) / 32768 - samples[-1]) < 1e-4


@pytest.mark.parametrize("around", [(0, 0), (4000, 0), (0, 30_000), (20_000, 9_000)])
def test_centred_windows_leave_silence_out(around: tuple[int, int]) -> None:
    """A word is in the middle of its window wherever it is in the recording; silence alone is one, too."""
    spec = replace(SPEC, centred=True)
    word = noise(0, 0.2)
    found = row((RATE, np.pad(word, around)), spec)
    assert found[WINDOWS].shape == (1, 1, 8000)
    (loud,) = np.nonzero(found[WINDOWS][0, 0])
    assert abs((loud[0] + loud[-1]) // 2 - 4000) < 100
    assert loud.size > 0.99 * word.size
    longer = row((RATE, np.pad(noise(1, 1.0), around)), spec)
    assert longer[MASK].sum() in {3, 4}
    assert row((RATE, np.zeros(9_000, np.float32)), spec)[MASK].sum() == 2


def test_rows_of_several_lengths_go_together() -> None:
    """Shorter ones are filled up with masked windows; the cost of a row is that of its form."""
    rows = prepared(SPEC, [(RATE, tone(440)), (RATE, tone(440, seconds=2.0))], LARGE)
    assert rows.arrays[MASK].sum(axis=1).tolist() == [3, 7]
    assert (SPEC.form(rows), SPEC.cost(rows)) == ((8, 8000), 64_000)
    inputs = SPEC.to_input(batch_of(rows, torch.device("cpu")))
    assert inputs.x.shape == (2, 8, 8000)
    assert inputs.x.dtype == torch.float32
    assert float(inputs.x.abs().max()) == pytest.approx(0.5, abs=1e-3)


def test_louder_samples_are_clipped() -> None:
    """A file of floats may have them."""
    found = row(file_of(np.array([3.0, -3.0], np.float32), subtype="FLOAT"))
    assert found[WINDOWS][0, 0, :2].tolist() == [32767, -32768]


def test_a_spec_and_its_rows_come_back() -> None:
    """From a manifest, and from the blob of a calibration."""
    assert read_input_spec(SPEC.to_json()) == SPEC
    rows = prepared(SPEC, [(RATE, tone(440, seconds=2.0)), (RATE, tone(500))], LARGE)
    back = SPEC.from_blob(SPEC.to_blob(rows), max_rows=2)
    assert all(np.array_equal(back.arrays[name], rows.arrays[name]) for name in (WINDOWS, MASK))
    blob = SPEC.to_blob(rows)
    for wrong in (
        {WINDOWS: blob[WINDOWS]},
        {**blob, WINDOWS: blob[WINDOWS].float()},
        {**blob, WINDOWS: blob[WINDOWS][..., :-1]},
        {**blob, MASK: torch.zeros_like(blob[MASK])},
        {**blob, WINDOWS: torch.zeros(2, 17, 8000, dtype=torch.int16)},
    ):
        with pytest.raises(InvalidManifest):
            SPEC.from_blob(wrong, max_rows=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 1},
        {"rate": True},
        {"window": 0},
        {"hop": 0},
        {"hop": 8001},
        {"max_windows": 0},
        {"max_windows": 10**6},
        {"centred": 1},
    ],
)
def test_an_impossible_spec_is_refused(wrong: dict[str, int]) -> None:
    """By the name of its field."""
    with pytest.raises(InvalidManifest, match=f"input_spec.{next(iter(wrong))}"):
        read_input_spec({**SPEC.to_json(), **wrong})
