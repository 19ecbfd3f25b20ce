"""Datasets of recordings: labels by folders and files, voices in one split, copies found, durations told."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from maas.training.v1 import training_pb2 as pb

from model_store.modalities.audio.resampling import resampled
from tests.model_store.modalities.recordings import RATE, file_of, noise, wav_header
from tests.training_service.making import tar_of
from tests.training_service.modalities.audio.sounds import sound, sounds, table
from tests.training_service.running import TIMEOUT, RunningService, refused, running_service
from training_service.modalities.audio.near_duplicates import fingerprint, group_near_duplicates


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Run a service."""
    with running_service(tmp_path_factory.mktemp("home")) as running:
        yield running


def test_folders_of_recordings_are_found_and_described(service: RunningService) -> None:
    """The modality by the names of files; what is no recording is listed with the reason."""
    files = sounds(6) | {
        "hum/notes.txt": b"what was played",
        "hum/empty.wav": wav_header(data_bytes=0),
        "hum/slow.wav": wav_header(rate=1, data_bytes=4) + bytes(4),
        "hum/silent.wav": file_of(np.zeros((800, 2), np.float32), 8000),
    }
    dataset = service.upload(tar_of(files), "sounds")
    assert (dataset.modality, dataset.example_count) == ("audio", 13)
    about = dataset.audio
    assert (list(about.sample_rates_hertz), about.max_channel_count, about.silent_count) == ([8000, RATE], 2, 1)
    assert about.milliseconds.min == 100
    assert about.total_duration.ToMilliseconds() > 13 * 600
    assert any("1 recordings are silent, such as 'hum/silent.wav'" in remark for remark in dataset.remarks)
    reasons = {each.path: each.reason for each in dataset.rejected_files}
    assert "not a recording in one of the formats" in reasons["hum/notes.txt"]
    assert reasons["hum/empty.wav"] == "the recording has no samples"
    assert "1 Hz is outside" in reasons["hum/slow.wav"]


def test_a_voice_stays_in_one_split(service: RunningService) -> None:
    """By a column `speaker` of the file beside the recordings, or the column that the caller names."""
    files = {f"{number}.wav": file_of(sound("hum", number)) for number in range(24)}
    voices = {path: f"v{number % 8}" for number, path in enumerate(files)}
    cells = [f"{'ab'[number % 2]},{voices[path]}" for number, path in enumerate(files)]
    for header, schema in (
        ("label,speaker", None),
        ("label,who", pb.Schema(columns=[pb.Column(name="who", role=pb.COLUMN_ROLE_GROUP)])),
    ):
        labels = table(list(files), cells, header)
        dataset_id = f"voices-{header[-3:]}"
        service.upload(tar_of(files | {"labels.csv": labels}), dataset_id, schema=schema)
        rows = service.rows(dataset_id)
        splits = {voice: {rows[path].split for path in files if voices[path] == voice} for voice in voices.values()}
        assert all(len(each) == 1 for each in splits.values())
        assert len({each for voice in splits.values() for each in voice}) == 3


def test_a_group_that_no_file_has_is_refused(service: RunningService) -> None:
    """And any role but that of a group."""
    for role, text in ((pb.COLUMN_ROLE_GROUP, "has no column 'who'"), (pb.COLUMN_ROLE_TARGET, "may name one column")):
        schema = pb.Schema(columns=[pb.Column(name="who", role=role)])
        with refused(grpc.StatusCode.INVALID_ARGUMENT, text):
            service.upload(tar_of(sounds(6)), "grouped", schema=schema)


def test_numbers_of_recordings_are_targets(service: RunningService) -> None:
    """In a `targets.csv`; several labels stand in a `labels.csv`."""
    files = {f"{number}.wav": file_of(sound("hum", number)) for number in range(9)}
    numbers = table(list(files), [str(number / 2) for number in range(9)], "pitch")
    dataset = service.upload(tar_of(files | {"targets.csv": numbers}), "pitches")
    assert [each.name for each in dataset.targets] == ["pitch"]
    several = table(list(files), [("a|b", "a", "b")[number % 3] for number in range(9)], "labels")
    dataset = service.upload(tar_of(files | {"labels.csv": several}), "several")
    assert [each.label for each in dataset.labels] == ["a", "b"]


def test_a_preview_is_a_picture_of_each(service: RunningService) -> None:
    """Of the size that was asked for."""
    service.upload(tar_of(sounds(6)), "shown")
    request = pb.PreviewDatasetRequest(name="datasets/shown", example_count=4, edge=64)
    rows = service.training.PreviewDataset(request, timeout=TIMEOUT).rows
    assert len(rows) == 4
    assert all(each.jpeg.startswith(b"\xff\xd8") for each in rows)


def test_copies_of_a_recording_are_near() -> None:
    """Of another rate, quieter, or the same; other recordings are not."""
    originals = [sound("hum", seed) for seed in range(12)] + [noise(seed, 1.0) for seed in range(12)]
    copies = [
        (resampled(originals[0], RATE, 8000), 8000),
        (originals[1] * np.float32(0.2), RATE),
        (originals[12], RATE),
    ]
    recordings = [(each, RATE) for each in originals] + copies
    prints = [fingerprint(*each) for each in recordings]
    lengths = [1000 * samples.size // rate for samples, rate in recordings]
    digests = [f"{number:03}" for number in range(len(recordings))]
    groups = group_near_duplicates(["x"] * len(recordings), digests, prints, lengths).tolist()
    assert groups[:24] == list(range(24))
    assert groups[24:] == [0, 1, 12]
    apart = group_near_duplicates(list("ab"), digests[:2], [prints[0]] * 2, [lengths[0]] * 2).tolist()
    assert apart == [0, 1]
    assert group_near_duplicates([], [], [], []).tolist() == []


def test_copies_in_an_upload_are_left_out_or_kept_in_one_split(service: RunningService) -> None:
    """The same bytes are one example; a quieter copy, or one of another rate, is in the split of its original."""
    files, copies = sounds(12), {}
    for seed in range(6):
        original = sound("hum", seed)
        copies[f"hum/{seed}-quiet.flac"] = file_of(original * np.float32(0.3), kind="FLAC")
        copies[f"hum/{seed}-slow.wav"] = file_of(resampled(original, RATE, 8000), 8000)
    dataset = service.upload(tar_of(files | copies | {"hum/again.wav": files["hum/0.wav"]}), "copies")
    assert dataset.example_count == 24 + 12
    (left_out,) = dataset.rejected_files
    assert "same" in left_out.reason
    assert (dataset.near_duplicate_count, dataset.split_near_duplicate_count) == (18, 0)
    rows = service.rows("copies")
    for seed in range(6):
        names = [f"hum/{seed}.wav", f"hum/{seed}-quiet.flac", f"hum/{seed}-slow.wav"]
        assert len({rows[name].split for name in names if name in rows}) == 1


@pytest.mark.parametrize("samples", [np.zeros(5, np.float32), np.zeros(100_000, np.float32), np.ones(1, np.float32)])
def test_any_recording_has_a_fingerprint(samples: np.ndarray) -> None:
    """Also silence, and one sample."""
    assert len(fingerprint(samples, RATE)) == len(fingerprint(noise(0), 44_100))
