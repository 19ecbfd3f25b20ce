"""Reads an archive of recordings: each is decoded once, and its length, loudness and fingerprint are taken."""

from __future__ import annotations

from functools import partial

import numpy as np

from model_store.modalities.audio.decoding import open_recording
from training_service.datasets.examples import ReadExamples
from training_service.datasets.labelled.checked_files import CheckedExample
from training_service.datasets.labelled.reading import read_labelled
from training_service.datasets.reading import Reading
from training_service.modalities.audio.near_duplicates import fingerprint

GROUPS = ("group", "speaker", "voice")
"""Names of a column, in a file of targets, whose equal cells stay in one split."""
_SILENT = 1 / 32768  # nothing of a file of 16 bits is louder


def read_recordings(reading: Reading) -> ReadExamples:
    """Return the recordings of an archive, their files in the spool; raise InvalidInput for an unreadable upload."""
    return read_labelled(reading, "recording", partial(_checked, max_samples=reading.max_size), GROUPS)


def _checked(data: bytes, *, max_samples: int) -> CheckedExample:
    recording = open_recording(data, max_samples=max_samples)
    samples = recording.samples()
    facts = {
        "rate": recording.rate,
        "channels": recording.num_channels,
        "frames": samples.size,
        "milliseconds": round(1000 * samples.size / recording.rate),
        "fingerprint": fingerprint(samples, recording.rate),
    }
    return CheckedExample(facts, bool(np.abs(samples).max() <= _SILENT))
