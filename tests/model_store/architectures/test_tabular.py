"""The MLP: a chain that is a plain nn.Sequential, registered with an input spec of rows of numbers."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from model_store.architectures import (
    HEAD,
    Head,
    architecture_names,
    build,
    build_random,
    check_stage_tensors,
    embedding_size,
    stage_names,
    torchvision_architectures,
)
from model_store.bases.tabular import load_random_mlp
from model_store.errors import InvalidInput, InvalidManifest
from model_store.manifest_checks import check_manifest
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import Batch, read_input_spec
from model_store.modalities.image.spec import ImageInputSpec
from model_store.modalities.values.spec import ValuesInputSpec
from model_store.tasks import Classification, MultiLabel

WIDTHS = {"widths": [6, 16, 12]}
HEADED = Head("linear", 5)
MANIFEST = Manifest(
    architecture="mlp",
    arguments=WIDTHS,
    stages=tuple(ManifestStage(name, "0" * 64) for name in ("layer1", "layer2", "head")),
    input_spec={"kind": "values", "size": 6},
    task=Classification(tuple("abcde")),
    head=HEADED.to_json(),
    embedding_size=12,
)


def plain(*widths: int) -> nn.Sequential:
    """Return linear layers with ReLU between them."""
    layers = [layer for sizes in pairwise(widths) for layer in (nn.Linear(*sizes), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def rows(num_rows: int = 3) -> torch.Tensor:
    """Return seeded rows."""
    return torch.randn(num_rows, 6, generator=torch.Generator().manual_seed(0))


def test_the_chain_is_a_plain_sequential() -> None:
    """The same seed gives the same weights, its state dict loads strictly, and both give the same numbers."""
    chain = build_random("mlp", WIDTHS, HEADED, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = plain(6, 16, 12, 5)
    tensors = chain.state_dict_torchvision()
    assert list(tensors) == list(model.state_dict())
    assert all(torch.equal(each, model.state_dict()[name]) for name, each in tensors.items())
    with torch.inference_mode():
        assert torch.equal(chain(Batch.of(rows())), model(rows()))
        assert torch.equal(chain.embed(Batch.of(rows())), model[:-1](rows()))


def test_its_stages_are_the_layers_and_the_head() -> None:
    """One for each hidden width; the embedding is the last hidden layer's output."""
    assert stage_names("mlp", WIDTHS, HEADED) == ("layer1", "layer2", "head")
    assert stage_names("mlp", WIDTHS, Head("none")) == ("layer1", "layer2")
    assert embedding_size("mlp", WIDTHS) == 12
    assert set(architecture_names()) > {*torchvision_architectures(), "mlp", "rows"}


def test_its_stages_are_stored_and_put_together_again() -> None:
    """A chain built without memory and filled stage by stage answers as the one the tensors came from."""
    original, copy = build_random("mlp", WIDTHS, HEADED, seed=0), build("mlp", WIDTHS, HEADED)
    for name in original.stage_names:
        tensors = original.stage_tensors(name)
        forms = {key: (each.shape, each.dtype) for key, each in tensors.items()}
        check_stage_tensors("mlp", WIDTHS, HEADED, name, forms)
        copy.load_stage(name, tensors)
    with torch.inference_mode():
        assert torch.equal(copy(Batch.of(rows())), original(Batch.of(rows())))
    with pytest.raises(InvalidManifest, match=r"lacks the tensor '4\.bias'"):
        check_stage_tensors("mlp", WIDTHS, HEADED, HEAD, {"4.weight": ([5, 12], torch.float32)})


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"widths": [6]},
        {"widths": 6},
        {"widths": "66"},
        {"widths": [6, 0]},
        {"widths": [6, -1]},
        {"widths": [6, 65537]},
        {"widths": [6, 2.0]},
        {"widths": [6, True]},
        {"widths": [1] * 65},
        {"widths": [6, 16], "depth": 2},
    ],
)
def test_widths_that_cannot_be_are_refused(arguments: dict[str, object]) -> None:
    """The message says what they mean."""
    with pytest.raises(InvalidManifest, match=r"mlp"):
        build("mlp", arguments, HEADED)


def test_a_head_of_convolutions_is_refused() -> None:
    """There is no feature map."""
    with pytest.raises(InvalidManifest, match="squeezenet1_1's own"):
        build("mlp", WIDTHS, Head("conv", 3))


def test_a_random_base_is_seeded() -> None:
    """The same seed is the same base; labels make a head, and the input spec follows the widths."""
    one, again, other = (load_random_mlp([6, 16], ["a", "b"], seed) for seed in (1, 1, 2))
    states = [base.chain.state_dict_torchvision() for base in (one, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["0.weight"], states[2]["0.weight"])
    assert (one.head, one.labels, one.input_spec) == (
        Head("linear", 2),
        ("a", "b"),
        ValuesInputSpec(6, standardise=True),
    )
    assert load_random_mlp([6, 16], [], 0).head == Head("none")
    with pytest.raises(InvalidInput, match="label 2 is blank"):
        load_random_mlp([6, 16], ["a", " "], 0)
    with pytest.raises(InvalidManifest, match="widths"):
        load_random_mlp([], ["a", "b"], 0)


def test_a_spec_survives_json() -> None:
    """A spec is what its JSON says, and the kind tells which it is."""
    values = {"kind": "values", "size": 64}
    assert read_input_spec(values) == ValuesInputSpec(64)
    assert ValuesInputSpec(64).to_json() == values
    unfitted = ValuesInputSpec(2, standardise=True)
    assert unfitted.to_json() == {"kind": "values", "size": 2, "standardise": True}
    fitted = replace(unfitted, mean=(1.5, -2.0), std=(0.5, 1e4))
    assert fitted.to_json() == {**unfitted.to_json(), "mean": [1.5, -2.0], "std": [0.5, 1e4]}
    named = replace(fitted, columns=("width", "height"))
    assert named.to_json() == {**fitted.to_json(), "columns": ["width", "height"]}
    assert named.device_key == fitted.device_key
    for spec in (unfitted, fitted, named):
        again = read_input_spec(json.loads(json.dumps(spec.to_json())))
        assert (again, hash(again)) == (spec, hash(spec))
    assert len({ValuesInputSpec(2), unfitted, fitted, named}) == 4
    for columns in (("width",), ("width", "width"), (1, 2)):
        with pytest.raises(InvalidManifest, match="columns"):
            replace(fitted, columns=columns)
    image = ImageInputSpec(resize_size=72, crop_size=64)
    assert read_input_spec(image.to_json()) == image


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"size": 3}, "kind"),
        ({"kind": "sound", "size": 3}, "kind"),
        ({"kind": ["values"], "size": 3}, "kind"),
        ({"kind": "values"}, "size is missing"),
        ({"kind": "values", "size": 3, "median": 0}, "median is unknown"),
        ({"kind": "values", "size": 1, "standardise": 1}, "standardise must be true or false"),
        ({"kind": "values", "size": 1, "standardise": True, "mean": 0}, "mean must be a list"),
        ({"kind": "values", "size": 1, "mean": [0], "std": [1]}, "mean must be left out"),
        ({"kind": "values", "size": 2, "standardise": True, "mean": [0], "std": [1]}, "mean must be 2 numbers"),
        ({"kind": "values", "size": 1, "standardise": True, "mean": [0]}, "std must be as many"),
        ({"kind": "values", "size": 1, "standardise": True, "std": [1]}, "std must be as many"),
        ({"kind": "values", "size": 1, "standardise": True, "mean": ["0"], "std": [1]}, "mean must be finite"),
        ({"kind": "values", "size": 1, "standardise": True, "mean": [10**400], "std": [1]}, "mean must be finite"),
        ({"kind": "values", "size": 1, "standardise": True, "mean": [0], "std": [True]}, "std must be finite"),
        ({"kind": "values", "size": 1, "standardise": True, "mean": [0], "std": [math.nan]}, "std must be finite"),
        ({"kind": "values", "size": 1, "standardise": True, "mean": [0], "std": [0]}, "std must be at least"),
        ({"kind": "values", "size": 1, "standardise": True, "mean": [0], "std": [1e-50]}, "std must be at least"),
        ({"kind": "values", "size": 0}, "size"),
        ({"kind": "values", "size": True}, "size"),
        ({"kind": "values", "size": 65537}, "size"),
        ({"kind": "image", "size": 3}, "crop_size is missing"),
        ({**ImageInputSpec(8, 8).to_json(), "mean": [10**400, 0, 0]}, "mean must be three finite numbers"),
        ({**ImageInputSpec(8, 8).to_json(), "std": [1, 1, 10**400]}, "std must be three numbers above 0"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(values: dict[str, object], field: str) -> None:
    """The field is named."""
    with pytest.raises(InvalidManifest, match=rf"input_spec\.{field}"):
        read_input_spec(values)


def test_columns_are_standardised_where_a_spec_has_their_numbers() -> None:
    """(x - mean) / std, in training and in serving; the rows themselves stay as they are."""
    rows = Batch.of(torch.tensor([[2.0, -2.0], [1.0, 9998.0]]))
    assert ValuesInputSpec(2, standardise=True).to_input(rows) is rows
    spec = ValuesInputSpec(2, standardise=True, mean=(1.5, -2.0), std=(0.5, 1e4))
    with torch.inference_mode():
        served = spec.to_input(rows).x
    trained = spec.to_input(rows).x
    torch.testing.assert_close(served, torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    torch.testing.assert_close(trained, served)
    assert rows.x.tolist() == [[2.0, -2.0], [1.0, 9998.0]]
    nn.Linear(2, 1)(trained).sum().backward()  # what inference had made could not be kept for this
    assert (spec.blank().arrays["x"].tolist(), spec.rows_key) == ([[1.5, -2.0]], ValuesInputSpec(2).rows_key)


def test_a_blank_row_has_the_form_that_a_spec_prepares() -> None:
    """What a warm-up runs."""
    values, image = ValuesInputSpec(6).blank(), ImageInputSpec(resize_size=9, crop_size=8).blank()
    assert values.form == (("x", "<f4", (6,)),)
    assert image.form == (("pixels", "|u1", (8, 8, 3)),)


def test_a_manifest_must_take_what_its_architecture_takes() -> None:
    """Rows of as many numbers as the first width for an MLP, images for the others; and say its embedding's size."""
    with pytest.raises(InvalidManifest, match="embedding_size of mlp must be 12, not 13"):
        check_manifest(replace(MANIFEST, embedding_size=13))
    with pytest.raises(InvalidManifest, match=r"head\.activation must be 'identity' without a head"):
        check_manifest(replace(MANIFEST, head={"kind": "none", "outputs": 0, "activation": "softmax"}, task=None))
    for outputs in (2**62, 2**70):
        with pytest.raises(InvalidManifest, match=f"task must name {outputs} outputs"):
            check_manifest(replace(MANIFEST, head={**MANIFEST.head, "outputs": outputs}))
    with pytest.raises(InvalidManifest, match=r"head\.activation must be 'sigmoid' for multi_label"):
        check_manifest(replace(MANIFEST, task=MultiLabel(tuple("abcde"))))
    assert check_manifest(MANIFEST) == HEADED
    for spec, message in (
        (ImageInputSpec(8, 8).to_json(), "input_spec.kind must be 'values' for mlp, not 'image'"),
        ({"kind": "values", "size": 7}, "input_spec.size must be 6"),
    ):
        with pytest.raises(InvalidManifest, match=message):
            check_manifest(replace(MANIFEST, input_spec=spec))
    resnet = replace(
        MANIFEST,
        architecture="resnet18",
        arguments={},
        embedding_size=512,
        stages=tuple(ManifestStage(name, "0" * 64) for name in stage_names("resnet18", {}, HEADED)),
    )
    with pytest.raises(InvalidManifest, match=r"input_spec\.kind must be 'image' for resnet18"):
        check_manifest(resnet)
