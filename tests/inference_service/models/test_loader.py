"""The loader, on real blobs that are sometimes damaged."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from inference_service.models.loader import Loader
from inference_service.models.resident import ResidentVersion
from model_store.blobs.local import LocalBlobs
from model_store.errors import CorruptBlob, InvalidManifest, MissingBlob
from model_store.manifests import Manifest
from model_store.modalities import Batch
from model_store.modalities.image.spec import ImageInputSpec
from model_store.modalities.values.spec import ValuesInputSpec
from model_store.names import VersionName
from model_store.tasks import Classification
from model_store.tensors.stages import write_stage
from tests.inference_service.making import (
    LABELS,
    SPEC,
    Recipe,
    chain,
    check_features,
    flip_a_byte,
    manifest,
    mlp,
    mlp_manifest,
)

Load = Callable[..., ResidentVersion]
NAME = VersionName("flowers", 1)


def put(blobs: LocalBlobs, made: Manifest) -> str:
    """Store a manifest and return its digest."""
    return blobs.put([made.to_json()]).digest


def blob_of(made: Manifest, stage: str) -> str:
    """Return the digest of a stage's blob."""
    return next(each.digest for each in made.stages if each.name == stage)


def test_a_loaded_version_has_the_stored_tensors_ready_to_run(load: Load) -> None:
    """Every stage is in eval mode, takes no gradients, and none of it is left on the meta device."""
    version = load(Recipe())
    stored = chain(Recipe())
    assert (version.names, version.input_spec) == (LABELS, SPEC)
    assert version.size_bytes == sum(tensor.nbytes for tensor in stored.state_dict().values())
    for stage in version.stages:
        assert not any(module.training for module in stage.module.modules())
        assert not any(parameter.requires_grad for parameter in stage.module.parameters())
        assert not any(tensor.is_meta for tensor in stage.module.state_dict().values())
    check_features(version, stored)


def test_versions_with_one_backbone_share_its_memory(load: Load, loader: Loader) -> None:
    """Two heads on one backbone are one backbone and two heads in memory; another backbone shares nothing."""
    one, two = load(Recipe(head=1), 1), load(Recipe(head=2), 2)
    assert one.backbone == two.backbone
    assert one.head is not two.head
    assert two.head is not None
    head_bytes = two.head.size_bytes
    assert (two.shared_bytes, one.shared_bytes) == (two.size_bytes - head_bytes, one.size_bytes - head_bytes)
    assert loader.resident_bytes == one.size_bytes + head_bytes
    other = load(Recipe(backbone=1, head=3), 3)
    assert other.shared_bytes == 0


def test_a_backbone_only_shares_with_its_fine_tunes(load: Load) -> None:
    """The base of a linear probe and the probe have the same stages but for the head."""
    base, probe = load(Recipe(head=None), 1), load(Recipe(), 2)
    assert base.head is None
    assert (base.task, base.names) == (None, ())
    assert base.backbone == probe.backbone


def test_memory_is_free_when_the_last_user_is_gone(load: Load, loader: Loader) -> None:
    """A shared stage lives as long as one version uses it; then its tensors are gone."""
    one, two = load(Recipe(head=1), 1), load(Recipe(head=2), 2)
    tensors = [weakref.ref(next(stage.module.parameters())) for stage in two.stages if stage.size_bytes]
    *backbone, head = tensors
    del two
    assert head() is None
    assert all(tensor() is not None for tensor in backbone)
    assert one.shared_bytes == 0
    del one
    assert all(tensor() is None for tensor in backbone)
    assert loader.resident_bytes == 0


def test_the_memory_does_not_depend_on_the_file(load: Load, blobs: LocalBlobs) -> None:
    """A blob that is cut short afterwards does not pull the weights from under a loaded version."""
    version = load(Recipe())
    for stage in version.stages:
        path = blobs.path(stage.key.digest)
        path.chmod(0o644)
        path.write_bytes(b"")
    check_features(version, chain(Recipe()))


def test_tensors_are_copied_only_where_the_device_wants_another_layout(load: Load) -> None:
    """The head's stay in the buffer that was read; convolutions are channels last, away from theirs."""
    version = load(Recipe())
    assert version.head is not None
    for stage in (*version.stages, version.head):
        for tensor in stage.module.state_dict().values():
            assert tensor.ndim != 4 or tensor.is_contiguous(memory_format=torch.channels_last)
    first, second = sorted(version.head.module.state_dict().values(), key=torch.Tensor.data_ptr)
    assert second.data_ptr() == first.data_ptr() + first.nbytes


def test_one_flipped_byte_in_any_blob_is_named_and_nothing_stays_loaded(loader: Loader, blobs: LocalBlobs) -> None:
    """The manifest or any stage, one at a time; the stages that were read before it are freed again."""
    made = manifest(blobs, Recipe())
    digest = put(blobs, made)
    for damaged in (blobs.path(each) for each in {digest, *(stage.digest for stage in made.stages)}):
        whole = damaged.read_bytes()
        damaged.chmod(0o644)
        damaged.write_bytes(flip_a_byte(whole))
        with pytest.raises(CorruptBlob, match=damaged.name):
            loader.load(NAME, digest)
        assert loader.resident_bytes == 0
        damaged.write_bytes(whole)
    assert loader.load(NAME, digest).size_bytes == loader.resident_bytes


def test_a_model_of_numbers_standardises_rows_as_its_manifest_says(loader: Loader, blobs: LocalBlobs) -> None:
    """What its backbone gives is that of the same rows, standardised before, by one without these numbers."""
    made = mlp_manifest(blobs, mlp(3))
    fitted = {**made.input_spec, "mean": [0, 1, 2, 3, 4, 5e6], "std": [1, 1, 2, 2, 3, 1e6]}
    plain = loader.load(VersionName("numbers", 1), put(blobs, made))
    version = loader.load(VersionName("numbers", 2), put(blobs, replace(made, input_spec=fitted)))
    rows = torch.tensor([[1, 1, 4, 1, 4, 7e6]], dtype=torch.float32)
    with torch.inference_mode():
        found = version.features(Batch.of(rows)).x
        expected = plain.features(Batch.of(torch.tensor([[1.0, 0, 1, -1, 0, 2]]))).x
    torch.testing.assert_close(found, expected)
    assert version.backbone_key != plain.backbone_key


def test_a_model_of_numbers_is_loaded(loader: Loader, blobs: LocalBlobs) -> None:
    """Its input spec is no image's, and two heads share its layers like any other backbone."""
    versions = [
        loader.load(VersionName("numbers", number), put(blobs, mlp_manifest(blobs, mlp(num_labels))))
        for number, num_labels in ((1, 3), (2, 4), (3, 0))
    ]
    assert {each.input_spec for each in versions} == {ValuesInputSpec(6, standardise=True)}
    assert [(each.architecture, each.embedding_size) for each in versions] == [("mlp", 12)] * 3
    assert versions[0].backbone == versions[1].backbone == versions[2].backbone
    assert versions[2].head is None


def test_nothing_is_kept_for_each_number_of_labels(load: Load) -> None:
    """What one head of a kind was found to need, another one of that kind is taken to need, whatever its size."""
    load(Recipe())
    num_frozen = gc.get_freeze_count()
    for num_labels in range(4, 8):
        load(Recipe(labels=tuple("abcdefgh"[:num_labels])))
    assert gc.get_freeze_count() <= num_frozen  # what others froze may go meanwhile


def test_a_missing_blob_is_named(loader: Loader, blobs: LocalBlobs) -> None:
    """The digest is in the message."""
    made = manifest(blobs, Recipe())
    missing = blobs.path(blob_of(made, "head"))
    missing.unlink()
    with pytest.raises(MissingBlob, match=missing.name):
        loader.load(NAME, put(blobs, made))


def test_a_manifest_that_does_not_fit_its_architecture_is_refused(loader: Loader, blobs: LocalBlobs) -> None:
    """Wrong stages, labels, input specs and unknown architectures each say what is wrong."""
    made = manifest(blobs, Recipe())
    wrong = {
        "unknown architecture": replace(made, architecture="perceptron"),
        "stages of squeezenet1_1 must be": replace(made, stages=made.stages[::-1]),
        "task must name 3": replace(made, task=Classification(("a", "b"))),
        "input_spec.crop_size": replace(made, input_spec={**made.input_spec, "crop_size": 0}),
    }
    for message, each in wrong.items():
        with pytest.raises(InvalidManifest, match=message):
            loader.load(NAME, put(blobs, each))


def test_an_input_that_the_stages_cannot_take_is_found_before_serving(load: Load) -> None:
    """The warm-up runs one image: eight pixels are too few for this network."""
    with pytest.raises(InvalidManifest, match="does not run through models/flowers/versions/1"):
        load(Recipe(spec=ImageInputSpec(8, 8)))


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_diverged_training_is_found_before_serving(
    loader: Loader, blobs: LocalBlobs, place: int, number: float
) -> None:
    """One such number anywhere: in the head answers would be no numbers, before an activation they would look sound."""
    made = manifest(blobs, Recipe())
    stages = list(made.stages)
    tensors = {name: tensor.clone() for name, tensor in chain(Recipe()).stage_tensors(stages[place].name).items()}
    next(iter(tensors.values())).view(-1)[3] = number
    stages[place] = replace(stages[place], digest=write_stage(blobs, tensors).digest)
    with pytest.raises(InvalidManifest, match=f"of stage {stages[place].name} has numbers that are not finite"):
        loader.load(NAME, put(blobs, replace(made, stages=tuple(stages))))
    assert loader.resident_bytes == 0


def test_answers_that_overflow_are_found_before_serving(loader: Loader, blobs: LocalBlobs) -> None:
    """Every number of the head is finite, and what it makes of a row is not."""
    made = manifest(blobs, Recipe())
    tensors = {name: torch.full_like(tensor, 3e38) for name, tensor in chain(Recipe()).stage_tensors("head").items()}
    head = replace(made.stages[-1], digest=write_stage(blobs, tensors).digest)
    with pytest.raises(InvalidManifest, match="answers with numbers that are not finite"):
        loader.load(NAME, put(blobs, replace(made, stages=(*made.stages[:-1], head))))
