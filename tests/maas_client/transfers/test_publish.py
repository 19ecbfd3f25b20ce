"""Weights in and out: what was trained elsewhere is published, and torchvision loads what is exported for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from safetensors.torch import load_file

from maas_client.errors import FailedPrecondition
from maas_client.transfers import publish
from maas_client.transfers.publish import publish_base
from maas_client.transfers.version_transfer import export_torchvision
from model_store.architectures import Head, build, initialise_head
from model_store.architectures.torchvision_compat import torchvision
from model_store.bases.catalogue import LoadedBase, load_random
from model_store.bases.tabular import load_random_mlp
from model_store.blobs import BlobStore
from model_store.errors import InvalidInput, InvalidManifest
from model_store.modalities import Batch
from tests.maas_client.running import Maas, read
from tests.training_service.registry_running import RunningRegistry
from tests.training_service.running import refused

ARCHITECTURE = "resnet18"


@pytest.fixture(scope="module")
def base() -> LoadedBase:
    """A network of three labels for small images, with random weights."""
    loaded = load_random("squeezenet1_1", seed=0, num_labels=3)
    return replace(loaded, input_spec=replace(loaded.input_spec, resize_size=72, crop_size=64))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_torchvision_loads_what_is_exported_for_it(registry: RunningRegistry, tmp_path: Path, name: str) -> None:
    """Strictly, into its own model of as many classes, from safetensors or from torch.save."""
    loaded = load_random(ARCHITECTURE, seed=3, num_labels=4)
    version = publish_base(registry.client, "a", loaded)
    export_torchvision(registry.client, version, tmp_path / name, lambda _: None)
    path = tmp_path / name
    tensors = load_file(path) if name.endswith(".safetensors") else torch.load(path, weights_only=True)
    model = torchvision.models.get_model(ARCHITECTURE, num_classes=4)
    model.load_state_dict(tensors, strict=True)
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(model.eval()(x), loaded.chain(Batch.of(x)))
    assert path.stat().st_size < 1.01 * version.size_bytes
    registry.client.publish("b", path, architecture=ARCHITECTURE)
    assert registry.client.version("b").manifest_digest == version.manifest_digest


def test_a_head_that_torchvision_lacks_is_not_exported_for_it(registry: RunningRegistry, tmp_path: Path) -> None:
    """SqueezeNet's own head is a convolution: a linear one is ours."""
    chain = build("squeezenet1_1", {}, Head("linear", 2))
    backbone = load_random("squeezenet1_1", seed=0)
    for stage in backbone.chain.stage_names:
        chain.load_stage(stage, backbone.chain.stage_tensors(stage))
    initialise_head(chain, 0)
    ours = replace(backbone, chain=chain.eval(), head=Head("linear", 2), labels=("a", "b"))
    version = publish_base(registry.client, "a", ours)
    with pytest.raises(FailedPrecondition, match="a linear head, which torchvision's squeezenet1_1 has not"):
        export_torchvision(registry.client, version, tmp_path / "weights.pth", lambda _: None)
    assert not (tmp_path / "weights.pth").exists()


def test_weights_that_cannot_be_calibrated_are_refused(
    registry: RunningRegistry, base: LoadedBase, tmp_path: Path
) -> None:
    """Each with what is wrong, before anything is sent."""
    backbone, numbers = load_random("squeezenet1_1", seed=0), load_random_mlp([4, 8], ["a", "b"], seed=0)
    for weights, reason in (
        (backbone, "these are a backbone only: leave it out"),
        (numbers, f"must be a CSV file of numbers, which {tmp_path} is not"),
        (base, f"there are no images below {tmp_path}"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            publish_base(registry.client, "a", weights, calibrate_by=tmp_path)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InvalidInput, match=r"a\.png: not an image"):
        publish_base(registry.client, "a", base, calibrate_by=tmp_path)
    assert list(registry.client.models()) == []


def test_weights_of_rows_of_numbers_are_calibrated_by_a_csv_file(registry: RunningRegistry, tmp_path: Path) -> None:
    """Up to 64 of its rows are kept with the version; a row that is none is named by its line."""
    numbers, file = load_random_mlp([2, 8], ["a", "b"], seed=0), tmp_path / "rows.csv"
    file.write_text("x,y\n" + "".join(f"{number},{number / 7}\n" for number in range(100)))
    version = publish_base(registry.client, "numbers", numbers, calibrate_by=file)
    assert version.calibration.rows_size_bytes >= 64 * 2 * 4
    assert version.calibration.logits_size_bytes >= 64 * 2 * 4
    file.write_text("x,y\n1,2\n1,one\n")
    with pytest.raises(InvalidInput, match=r"rows\.csv:3: must have a number in each cell, not 'one' in column 'y'"):
        publish_base(registry.client, "numbers", numbers, calibrate_by=file)


def test_weights_that_were_trained_elsewhere_are_published(registry: RunningRegistry, base: LoadedBase) -> None:
    """A state dict in memory becomes a version with all that its team knows of it."""
    publish_base(registry.client, "base", base, alias="production")
    tensors = {name: each.half() for name, each in base.chain.state_dict_torchvision().items()}
    content: dict[str, Any] = {"labels": ["a", "b", "cafe\u0301"], "input_spec": base.input_spec, "request_id": "once"}
    version = registry.client.publish(
        "flowers",
        tensors,
        architecture="squeezenet1_1",
        recipe={"optimiser": "adam", "rate": 0.001},
        base="base",
        metric_values={"accuracy": 0.93},
        tags={"team": "vision"},
        description="Trained on the cluster.",
        alias="staging",
        **content,
    )
    assert (list(version.labels), list(version.aliases)) == (
        ["a", "b", "caf\u00e9"],
        ["models/flowers/aliases/staging"],
    )
    assert (version.lineage.base, version.lineage.recipe["optimiser"]) == ("models/base/versions/1", "adam")
    assert version.lineage.recipe["source"] == "memory"
    assert (dict(version.metric_values), dict(version.tags)) == ({"accuracy": 0.93}, {"team": "vision"})
    assert json.loads(version.manifest_json)["input_spec"]["crop_size"] == 64
    assert registry.client.publish("flowers", tensors, architecture="squeezenet1_1", **content) == version


def test_a_blob_that_cannot_be_read_is_the_error(
    registry: RunningRegistry, base: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that iterating requests failed; nothing is registered of what was sent before."""
    sent = iter(range(2))

    def failing(blobs: BlobStore, digest: str) -> Iterator[bytes]:
        if next(sent, None) is None:
            raise OSError("the disk does not answer")
        yield bytes(blobs.read(digest))

    monkeypatch.setattr(publish, "_file_chunks", failing)
    with pytest.raises(OSError, match="the disk does not answer"):
        publish_base(registry.client, "a", base)
    assert list(registry.client.models()) == []


def diverged(base: LoadedBase) -> LoadedBase:
    """Return the network with one number that is none, before an activation that hides it."""
    chain = build(base.architecture, {}, base.head)
    tensors = {name: each.clone() for name, each in base.chain.state_dict_torchvision().items()}
    tensors["features.0.bias"][0] = torch.nan
    chain.load_state_dict_torchvision(tensors)
    return replace(base, chain=chain.eval())


def test_weights_that_diverged_are_refused_by_client_and_service(
    registry: RunningRegistry, base: LoadedBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client names the tensor before it sends anything; the service trusts no client."""
    with pytest.raises(InvalidManifest, match=r"features\.0\.bias of stage stem has numbers that are not finite"):
        publish_base(registry.client, "a", diverged(base))
    monkeypatch.setattr("maas_client.transfers.publish.check_finite", lambda *_: None)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "not finite: its training diverged"):
        publish_base(registry.client, "a", diverged(base))
    assert list(registry.client.models()) == []


def test_labels_come_from_files_as_people_have_them(maas: Maas, base: LoadedBase, tmp_path: Path) -> None:
    """With a byte order mark and Windows' ends of lines; what cannot be read is one line, and nothing is published."""
    weights, labels = tmp_path / "ours.pth", tmp_path / "labels.txt"
    torch.save({"model": base.chain.state_dict_torchvision()}, weights)
    options = ("import", base.architecture, "--weights", str(weights), "--labels", str(labels), "--model", "shapes")
    for data, said in (
        ("größer\nb\nc\n".encode("latin-1"), "labels.txt is not UTF-8 in line 1: it may be Latin-1"),
        (b"a\nb\na\n", "label 1 and label 3 are both 'a'"),
        (b"a\nb\n", "there are 2 labels for a head of 3 outputs"),
    ):
        labels.write_bytes(data)
        code, out, err = maas(*options)
        assert (code, out) == (2, "")
        assert said in " ".join(err.split())
        assert "Traceback" not in err
    labels.write_bytes("\ufeffcircle  \r\nsquare\r\n\r\ntriangle\r\n".encode("utf-16"))
    assert read(maas, *options)["labels"] == ["circle", "square", "triangle"]
