"""Precision: what agrees with float32 on its own rows is served faster, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference_service.batching.queue_entry import Part
from inference_service.execution.executor import Executor
from inference_service.execution.work import Output, Work
from inference_service.models.calibration_check import Calibrator
from inference_service.models.loader import Loader
from inference_service.models.precision import Precision, agreement, candidates
from inference_service.models.resident import ResidentVersion
from model_store.architectures import Chain
from model_store.blobs.local import LocalBlobs
from model_store.calibration import write_calibration, write_logits
from model_store.errors import CorruptBlob
from model_store.modalities import Rows
from model_store.modalities.image.spec import PIXELS
from model_store.names import VersionName
from model_store.records.resources import CalibrationDigests
from model_store.tensors.example_pack import pack_header
from tests.inference_service.making import SPEC, Recipe, chain, expected, flip_a_byte, manifest, photo, pixels

CPU = torch.device("cpu")
NAME = VersionName("flowers", 1)
IMAGES = [pixels(photo(seed)) for seed in range(20)]
ROWS = Rows({PIXELS: np.stack(IMAGES)}, len(IMAGES))
Load = Callable[..., ResidentVersion]


@pytest.fixture
def device_thread() -> Iterator[ThreadPoolExecutor]:
    """A thread for the device."""
    with ThreadPoolExecutor(1) as thread:
        yield thread


def calibrated(blobs: LocalBlobs, recipe: Recipe, answers_of: Chain | None = None) -> tuple[str, CalibrationDigests]:
    """Store a model and what it, or another chain, answers to rows; return the manifest's digest and the rows'."""
    made = manifest(blobs, recipe)
    written = write_calibration(blobs, answers_of or chain(recipe), ROWS, recipe.spec)
    return blobs.put([made.to_json()]).digest, CalibrationDigests(written.rows, written.logits)


def loader(blobs: LocalBlobs, thread: ThreadPoolExecutor, precision: str, digests: CalibrationDigests | None) -> Loader:
    """Return a loader that finds these digests for every version."""
    calibrator = Calibrator(blobs, CPU, thread, lambda _: digests)
    return Loader(blobs, CPU, Executor(CPU).warm_up, calibrator, precision)


@pytest.fixture(autouse=True)
def _runs_bfloat16_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every CPU say that it does: the numbers are the same on all of them."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


def test_auto_serves_in_bfloat16_what_agrees(blobs: LocalBlobs, device_thread: ThreadPoolExecutor) -> None:
    """The backbone is in bfloat16, the head in float32, and the report says how well that agreed."""
    digest, digests = calibrated(blobs, Recipe())
    version = loader(blobs, device_thread, "auto", digests).load(NAME, digest)
    assert version.precision is Precision.BFLOAT16
    assert {stage.precision for stage in version.backbone} == {Precision.BFLOAT16}
    assert version.head is not None
    assert version.head.precision is Precision.FLOAT32
    (found,) = version.agreements
    assert (found.num_rows, found.decision_agreement) == (len(ROWS), 1.0)
    assert 0 < found.max_score_shift < 0.05
    (answer,) = Executor(CPU).run([Part(Work(version, ROWS, frozenset(Output)), 0, len(ROWS))])
    scores, _ = expected(Recipe(), IMAGES)
    assert np.abs(answer[Output.SCORES] - scores).max() < 0.05
    assert all(values.dtype == np.float32 for values in answer.values())


def test_auto_serves_in_float32_what_does_not_agree(blobs: LocalBlobs, device_thread: ThreadPoolExecutor) -> None:
    """Where the stored answers are not what bfloat16 gives, float32 is served, and the trial is told."""
    digest, digests = calibrated(blobs, Recipe(), answers_of=chain(Recipe(backbone=9, head=9)))
    loading = loader(blobs, device_thread, "auto", digests)
    version = loading.load(NAME, digest)
    assert version.precision is Precision.FLOAT32
    (found,) = version.agreements
    assert found.precision is Precision.BFLOAT16
    assert not found.passes
    assert loading.resident_bytes == version.size_bytes


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(head=None)])
def test_auto_serves_in_float32_what_nothing_is_known_of(
    blobs: LocalBlobs, device_thread: ThreadPoolExecutor, recipe: Recipe
) -> None:
    """A version without calibration, or without a head, is not guessed at."""
    digest = blobs.put([manifest(blobs, recipe).to_json()]).digest
    version = loader(blobs, device_thread, "auto", None).load(NAME, digest)
    assert (version.precision, version.agreements) == (Precision.FLOAT32, ())


def test_a_precision_that_is_asked_for_is_served(blobs: LocalBlobs, device_thread: ThreadPoolExecutor) -> None:
    """It needs no calibration, and where there is one it is compared all the same, without a say."""
    digest, digests = calibrated(blobs, Recipe(), answers_of=chain(Recipe(backbone=9, head=9)))
    version = loader(blobs, device_thread, "bfloat16", digests).load(NAME, digest)
    assert version.precision is Precision.BFLOAT16
    assert not version.agreements[0].passes
    assert loader(blobs, device_thread, "bfloat16", None).load(NAME, digest).agreements == ()


def test_float32_stays_float32(blobs: LocalBlobs, device_thread: ThreadPoolExecutor) -> None:
    """What is prepared for the device gives the plain chain's scores and embeddings within 1e-4."""
    digest, digests = calibrated(blobs, Recipe())
    version = loader(blobs, device_thread, "float32", digests).load(NAME, digest)
    (answer,) = Executor(CPU).run([Part(Work(version, ROWS, frozenset(Output)), 0, len(ROWS))])
    scores, embeddings = expected(Recipe(), IMAGES)
    assert np.abs(answer[Output.SCORES] - scores).max() < 1e-4
    assert np.abs(answer[Output.EMBEDDING] - embeddings).max() < 1e-4
    assert version.agreements == ()


def test_probes_on_one_dataset_run_its_rows_through_the_backbone_once(
    blobs: LocalBlobs, device_thread: ThreadPoolExecutor
) -> None:
    """The second probe of a backbone is calibrated by what the backbone gave for the first, and shares its stages."""
    calibrator = Calibrator(blobs, CPU, device_thread, lambda name: digests[name.number])
    loading = Loader(blobs, CPU, Executor(CPU).warm_up, calibrator, "auto")
    (one, digests_1), (two, digests_2) = (calibrated(blobs, Recipe(head=number)) for number in (1, 2))
    digests = {1: digests_1, 2: digests_2}
    first = loading.load(VersionName("flowers", 1), one)
    features = dict(calibrator._features)
    second = loading.load(VersionName("flowers", 2), two)
    assert list(map(id, calibrator._features.values())) == list(map(id, features.values()))
    assert first.backbone == second.backbone
    assert [each.agreements[0].passes for each in (first, second)] == [True, True]


def test_versions_that_normalise_otherwise_are_calibrated_apart(
    blobs: LocalBlobs, device_thread: ThreadPoolExecutor
) -> None:
    """Of one backbone and the same rows: what it gives for one input spec says nothing of the other."""
    calibrator = Calibrator(blobs, CPU, device_thread, lambda name: digests[name.number])
    loading = Loader(blobs, CPU, Executor(CPU).warm_up, calibrator, "auto")
    other = replace(SPEC, mean=(0.0, 0.0, 0.0), std=(0.1, 0.2, 0.4))
    (one, digests_1), (two, digests_2) = (calibrated(blobs, Recipe(spec=spec)) for spec in (SPEC, other))
    digests = {1: digests_1, 2: digests_2}
    assert digests_1.rows == digests_2.rows
    assert digests_1.logits != digests_2.logits
    first, second, third = (
        loading.load(VersionName("flowers", number), digest) for number, digest in ((1, one), (2, two), (1, one))
    )
    assert first.backbone == second.backbone
    assert [each.agreements[0].passes for each in (first, second, third)] == [True, True, True]
    shifts = [each.agreements[0].max_score_shift for each in (first, second, third)]
    assert shifts[0] == shifts[2] != shifts[1]


def test_a_version_is_calibrated_by_a_pack_of_its_dataset(blobs: LocalBlobs, device_thread: ThreadPoolExecutor) -> None:
    """The images are prepared once, by the version's own spec; of the next probe on them the logits alone are read."""
    images = [photo(seed) for seed in range(20)]
    pack = blobs.put([pack_header(list(map(len, images))), *images]).digest
    made = [manifest(blobs, Recipe(head=number)) for number in (1, 2)]
    digests = [write_logits(blobs, chain(Recipe(head=number)), pack, SPEC) for number in (1, 2)]
    calibrator = Calibrator(blobs, CPU, device_thread, lambda name: digests[name.number - 1])
    loading = Loader(blobs, CPU, Executor(CPU).warm_up, calibrator, "auto")
    for number, each in enumerate(made, 1):
        version = loading.load(VersionName("flowers", number), blobs.put([each.to_json()]).digest)
        assert version.precision is Precision.BFLOAT16
        assert (version.agreements[0].num_rows, version.agreements[0].passes) == (20, True)
        if blobs.has(pack):
            blobs.path(pack).unlink()


def test_damaged_rows_fail_the_load(blobs: LocalBlobs, device_thread: ThreadPoolExecutor) -> None:
    """A flipped byte in what a version is calibrated by is found and named, not served around."""
    digest, digests = calibrated(blobs, Recipe())
    path = blobs.path(digests.rows)
    path.write_bytes(flip_a_byte(path.read_bytes()))
    with pytest.raises(CorruptBlob, match=digests.rows):
        loader(blobs, device_thread, "auto", digests).load(NAME, digest)


def test_numbers_that_are_not_finite_agree_with_nothing() -> None:
    """A backbone whose activations overflow in float16 does not pass by chance."""
    logits = np.eye(4, 3, dtype=np.float32)
    found = agreement(Precision.FLOAT16, logits, torch.full((4, 3), torch.nan))
    assert (found.decision_agreement, found.max_score_shift, found.passes) == (0.0, 1.0, False)


@pytest.mark.parametrize("size", [1e-25, 1.0, 6e23])
def test_targets_of_any_size_are_compared_in_their_standard_deviations(size: float) -> None:
    """Squares of such numbers do not fit into float32: wrong answers would pass for large ones, and none for small."""
    values = (np.random.default_rng(0).normal(size=(64, 1)) * size).astype(np.float32)
    right, wrong = (
        agreement(Precision.BFLOAT16, values, torch.from_numpy(values * factor), "identity")
        for factor in (np.float32(1.001), np.float32(-3))
    )
    assert (right.passes, wrong.passes) == (True, False)


def test_a_target_that_is_the_same_in_all_rows_is_compared_by_its_size() -> None:
    """It has no standard deviation, and neither has a single row."""
    wanted = np.full((1, 1), 5, np.float32)
    right, wrong = (
        agreement(Precision.BFLOAT16, wanted, torch.full((1, 1), value), "identity") for value in (5.01, 6.0)
    )
    assert (right.passes, wrong.passes) == (True, False)


def test_a_slow_bfloat16_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU that would emulate it, `auto` is float32; what is asked for by name is done."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    assert list(candidates("auto", CPU)) == [Precision.FLOAT32]
    assert list(candidates("bfloat16", CPU)) == [Precision.BFLOAT16]
