"""Versions through files, and weights of one's own, as a person types it."""

from __future__ import annotations

from pathlib import Path

import torch

from maas_client.transfers.publish import publish_base
from maas_client.typed.caller import caller
from model_store.bases.catalogue import load_random
from model_store.names import VersionName
from tests.maas_client.running import Maas, read
from tests.training_service.registry_running import RunningRegistry


def test_a_version_goes_through_a_file(registry: RunningRegistry, maas: Maas, tmp_path: Path) -> None:
    """Exported under one name, imported under another; what is wrong with a file is said in a line."""
    publish_base(registry.client, "flowers", load_random("squeezenet1_1", seed=0, num_labels=3), alias="production")
    file = tmp_path / "flowers.maas"
    code, out, err = maas("store", "export", "flowers", str(file))
    assert (code, err) == (0, "")
    assert out.startswith(f"models/flowers/versions/1 -> {file}: ")
    exported = read(maas, "store", "export", "flowers/1", str(file))
    assert exported["size_bytes"] == file.stat().st_size
    imported = read(maas, "store", "import", str(file), "--model", "roses", "--alias", "live")
    assert imported["name"] == "models/roses/versions/1"
    assert imported["manifest_digest"] == exported["manifest_digest"]
    assert [move.actor for move in registry.client.alias_history("roses", "live")] == [caller()]
    assert "models/roses/versions/1: squeezenet1_1" in maas("store", "import", str(file), "--model", "roses")[1]
    file.write_bytes(file.read_bytes()[:5000])
    code, _, err = maas("store", "import", str(file))
    assert (code, f"{file} cannot be imported: it ends within" in err.replace("\n", "")) == (1, True)
    assert "NOT_FOUND: models/tulips does not exist" in maas("store", "export", "tulips", str(file))[2]


def test_weights_leave_as_torchvision_has_them(registry: RunningRegistry, maas: Maas, tmp_path: Path) -> None:
    """A file of tensors, with a word of advice where there is no head."""
    publish_base(registry.client, "base", load_random("squeezenet1_1", seed=0))
    file = tmp_path / "base.pth"
    code, out, _ = maas("store", "export", "base", str(file), "--format", "torchvision")
    assert (code, "load it with strict=False" in out) == (0, True)
    assert "features.0.weight" in torch.load(file, weights_only=True)


def test_weights_of_ones_own_are_imported_with_what_is_known(
    registry: RunningRegistry, maas: Maas, tmp_path: Path
) -> None:
    """A state dict becomes a version with labels, metrics, tags, a description and a base, in one command."""
    base = load_random("squeezenet1_1", seed=0, num_labels=2)
    publish_base(registry.client, "base", base)
    weights, labels = tmp_path / "w.pth", tmp_path / "labels.txt"
    torch.save(base.chain.state_dict_torchvision(), weights)
    labels.write_text("rose\ntulip\n")
    options = ["--model", "flowers", "--weights", str(weights), "--labels", str(labels), "--base", "base/1"]
    said = ["--metric", "accuracy=0.93", "--metric", "f1=0.9", "--tag", "team=vision", "--description", "Ours."]
    version = read(maas, "import", "squeezenet1_1", *options, *said, "--alias", "staging")
    assert (version["labels"], version["aliases"]) == (["rose", "tulip"], ["models/flowers/aliases/staging"])
    assert (version["metric_values"], version["tags"]) == ({"accuracy": 0.93, "f1": 0.9}, {"team": "vision"})
    assert (version["description"], version["lineage"]["base"]) == ("Ours.", "models/base/versions/1")
    for wrong, text in (("accuracy", "'accuracy' must have the form"), ("accuracy=high", "could not convert")):
        code, _, err = maas("import", "squeezenet1_1", *options, "--metric", wrong)
        assert (code, text in err) == (2, True)
    code, _, err = maas("import", "squeezenet1_1", *options, "--metric", "accuracy=nan")
    assert (code, "INVALID_ARGUMENT: header.metric_values['accuracy']" in err) == (2, True)


def test_a_model_of_numbers_begins_at_random(registry: RunningRegistry, maas: Maas, tmp_path: Path) -> None:
    """An MLP has the widths that are asked for, and ten labels or those of a file; the same seed is the same model."""
    sizes = ["--random", "0", "--widths", "64,256"]
    version = read(maas, "import", "mlp", *sizes)
    assert (version["name"], version["labels"]) == ("models/mlp/versions/1", [str(number) for number in range(10)])
    manifest = registry.store.manifest(registry.store.get_version(VersionName("mlp", 1)))
    assert manifest.arguments == {"widths": [64, 256]}
    assert manifest.input_spec == {"kind": "values", "size": 64, "standardise": True}
    again = read(maas, "import", "mlp", *sizes, "--model", "again", "--num-labels", "10")
    assert again["manifest_digest"] == version["manifest_digest"]
    labels = tmp_path / "labels.txt"
    labels.write_text("no\nyes\n")
    assert read(maas, "import", "mlp", *sizes, "--labels", str(labels))["labels"] == ["no", "yes"]
    backbone = maas("import", "mlp", *sizes, "--num-labels", "0")
    assert (backbone[0], "finetune" in backbone[1]) == (0, True)
    named = read(maas, "import", "squeezenet1_1", "--random", "0", "--labels", str(labels))
    assert named["labels"] == ["no", "yes"]
    for wrong, text in (
        (["mlp"], "`random` (a seed) and `widths`"),
        (["mlp", "--random", "0"], "mlp needs `widths`"),
        (["mlp", "--random", "0", "--widths", "64"], "2 to 64 integers"),
        (["mlp", "--widths", "64,256"], "go with random"),
        (["mlp", *sizes, "--labels", str(labels), "--num-labels", "3"], "there are 2 labels"),
        (["resnet18", *sizes], "widths go with mlp"),
        (["resnet18", "--labels", str(labels)], "labels go with weights or random"),
    ):
        code, _, err = maas("import", *wrong)
        assert (code, text in err) == (2, True), err
