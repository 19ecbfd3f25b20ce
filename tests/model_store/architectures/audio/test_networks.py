"""Log-mel pictures run through image networks, whose stages stay those of images; a recurrent network needs none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model_store.architectures import Head, build, build_random, check_input, keeps_dtype
from model_store.architectures.audio import pictures, recurrent
from model_store.blobs.local import LocalBlobs
from model_store.errors import InvalidManifest
from model_store.modalities import Batch
from model_store.modalities.audio.spec import AudioInputSpec
from model_store.tensors.stages import write_stage
from tests.model_store.modalities.recordings import RATE, noise

NETWORKS = ("squeezenet1_1", "mobilenet_v2", "resnet18", "vit_b_16", "swin_t")


def rows(num_windows: int, num_samples: int = 8000) -> Batch:
    """Return two rows of noise, of which the second has one window."""
    x = torch.from_numpy(noise(0, 2 * num_windows * num_samples / RATE)).view(2, num_windows, num_samples)
    mask = torch.ones(2, num_windows, dtype=torch.bool)
    mask[1, 1:] = False
    return Batch({"x": x, "mask": mask}, 2)


def test_an_image_networks_stages_are_kept_once(tmp_path: Path) -> None:
    """Their tensors have the names and the digests that they have for images."""
    blobs = LocalBlobs(tmp_path)
    image = build_random("squeezenet1_1", {}, Head("none"), seed=0)
    sound = build("log_mel_pictures", {"network": "squeezenet1_1", "edge": 64}, Head("none"))
    for name in image.stage_names:
        sound.load_stage(name, image.stage_tensors(name))
        digests = {write_stage(blobs, chain.stage_tensors(name)).digest for chain in (image, sound)}
        assert len(digests) == 1
    assert sound.stage_names == ("log_mel", *image.stage_names, "windows")
    assert [name for name in sound.stage_names if keeps_dtype(sound.stage(name))] == ["log_mel"]


@pytest.mark.parametrize("network", NETWORKS)
def test_any_image_network_takes_the_pictures(network: str) -> None:
    """A row's answer is the mean over its windows; filling counts nothing."""
    arguments = {"network": network, "edge": 64 if network != "vit_b_16" else 32}
    chain = build_random(pictures.NAME, arguments, Head("linear", 3), seed=0).eval()
    batch = rows(2)
    with torch.inference_mode():
        both, second = chain(batch), chain(Batch({name: each[1:, :1] for name, each in batch.tensors.items()}, 1))
    assert both.shape == (2, 3)
    torch.testing.assert_close(both[1:], second, rtol=1e-4, atol=1e-5)


def test_a_recurrent_network_answers() -> None:
    """Of the width that is asked for."""
    chain = build_random(recurrent.NAME, {"width": 8}, Head("linear", 3), seed=0).eval()
    with torch.inference_mode():
        assert chain(rows(3)).shape == (2, 3)
    assert chain.embedding_size == 16


@pytest.mark.parametrize(
    ("architecture", "arguments", "text"),
    [
        (pictures.NAME, {}, "network must be one of"),
        (pictures.NAME, {"network": "mlp"}, "network must be one of"),
        (pictures.NAME, {"network": "resnet18", "edge": 100}, "edge must be a multiple of 16"),
        (pictures.NAME, {"network": "resnet18", "size": 1}, "no argument size"),
        (recurrent.NAME, {"width": 0}, "width must be an integer"),
        (recurrent.NAME, {"height": 8}, "no argument height"),
    ],
)
def test_impossible_arguments_are_refused(architecture: str, arguments: dict[str, object], text: str) -> None:
    """By their names."""
    with pytest.raises(InvalidManifest, match=text):
        build(architecture, arguments, Head("none"))


@pytest.mark.parametrize("network", [pictures, recurrent])
def test_windows_must_hold_a_frame(network: object) -> None:
    """And have the front end's rate."""
    name, arguments = network.NAME, {"network": "resnet18"} if network is pictures else {}  # type: ignore[attr-defined]
    check_input(name, arguments, AudioInputSpec(rate=RATE, window=8000, hop=8000))
    for spec in (AudioInputSpec(rate=8000, window=8000, hop=8000), AudioInputSpec(rate=RATE, window=100, hop=100)):
        with pytest.raises(InvalidManifest, match=r"input_spec\.(rate|window) must be"):
            check_input(name, arguments, spec)
