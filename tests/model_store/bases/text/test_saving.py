"""Text versions as folders that transformers loads without us, its tokenizer too, and that answer as the version."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import model_store.architectures.torchvision_compat  # noqa: F401  transformers imports torchvision, which needs it
from model_store.architectures import Head, build_random
from model_store.architectures.text.families import FAMILIES
from model_store.bases.base import LoadedBase
from model_store.bases.folders import load_folder, save_folder
from model_store.calibration import batch_of
from model_store.errors import InvalidInput
from model_store.manifests import Manifest, ManifestStage
from model_store.modalities import prepared
from tests.model_store.text_models import TOPICS, arguments, text_base, tokenizer_json

transformers = pytest.importorskip("transformers")

TEXTS = [*TOPICS["sea"], *TOPICS["farm"], "sail over the sea " * 20]
LABELS = ("farm", "sea", "other")


def encoder(kind: str, head: Head, **more: Any) -> LoadedBase:
    """Return a small encoder of a family with random weights."""
    given = arguments(**more)
    family = FAMILIES[kind]
    if not family.has_token_types:
        del given["token_types"]
    if family.counts_from_padding:
        given |= {"padding_id": 1, "first_position": 2}  # as RoBERTa and MPNet have them
    if family.relative_buckets:
        given["relative_buckets"] = 32  # the library knows no other number
    chain = build_random(kind, given, head, seed=3).eval()
    if family.relative_buckets:  # one bias for all layers, as the library has it
        biases = [tensor for name, tensor in chain.state_dict().items() if "relative_attention_bias" in name]
        for each in biases[1:]:
            each.copy_(biases[0])
    names = LABELS if head.outputs else ()
    base = text_base()
    spec = replace(base.input_spec, padding_id=given["padding_id"])  # type: ignore[type-var]
    return replace(base, architecture=kind, arguments=given, chain=chain, head=head, input_spec=spec, labels=names)


def manifest_of(base: LoadedBase) -> Manifest:
    """Return its manifest."""
    return base.manifest([ManifestStage(name, "0" * 64) for name in base.chain.stage_names])


def answered(base: LoadedBase) -> Tensor:
    """Return what the version answers."""
    rows = batch_of(prepared(base.input_spec, TEXTS, 1000), torch.device("cpu"))
    with torch.no_grad():
        return base.chain(base.input_spec.to_input(rows))


def by_transformers(folder: Path) -> Tensor:
    """Return what a stranger gets by transformers, from texts: the steps in modules.json by hand."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    assert set(tokens) == {"input_ids", "attention_mask"}
    with torch.no_grad():
        x = model(**tokens).last_hidden_state
        for module in json.loads((folder / "modules.json").read_text())[1:]:
            kind, path = module["type"].rpartition(".")[2], folder / module["path"]
            config = json.loads((path / "config.json").read_text()) if kind != "Normalize" else {}
            if kind == "Pooling":
                weights = tokens["attention_mask"][:, :, None].float()
                x = (x * weights).sum(1) / weights.sum(1) if config["pooling_mode_mean_tokens"] else x[:, 0]
            elif kind == "Normalize":
                x = torch.nn.functional.normalize(x, dim=1)
            else:
                assert config["activation_function"].endswith("Identity")
                tensors = load_file(path / "model.safetensors")
                x = x @ tensors["linear.weight"].T + tensors["linear.bias"]
    return x


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("bert", {"pooling": "mean", "normalise": True}),
        ("roberta", {"pooling": "cls"}),
        ("distilbert", {"pooling": "mean"}),
        ("mpnet", {"pooling": "cls", "normalise": True}),
    ],
)
def test_a_classifier_is_what_transformers_loads(kind: str, more: dict[str, Any], tmp_path: Path) -> None:
    """From texts to logits within 1e-5, texts too long among them; the labels are those of the version."""
    base = encoder(kind, Head("linear", 3), **more)
    save_folder(tmp_path / "out", manifest_of(base), base.chain, {"tokenizer": tokenizer_json()})
    torch.testing.assert_close(by_transformers(tmp_path / "out"), answered(base), rtol=0, atol=1e-5)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "out")
    assert config.id2label == dict(enumerate(LABELS))


def test_an_encoder_alone_comes_back(tmp_path: Path) -> None:
    """What is written is imported again as the same base."""
    base = encoder("distilbert", Head("none"), normalise=True)
    save_folder(tmp_path / "out", manifest_of(base), base.chain, {"tokenizer": tokenizer_json()})
    found = load_folder(str(tmp_path / "out"))
    assert (found.architecture, found.arguments, found.input_spec) == ("distilbert", base.arguments, base.input_spec)
    assert torch.equal(answered(found), answered(base))


def test_what_the_layout_has_not_is_refused(tmp_path: Path) -> None:
    """The error says how else a version leaves."""
    pooler = encoder("bert", Head("linear", 3), pooling="pooler")
    fitted = replace(manifest_of(pooler), head={"kind": "gaussian_nb", "outputs": 3, "activation": "softmax"})
    for manifest, told in ((manifest_of(pooler), "own pooler"), (fitted, "a gaussian_nb head")):
        with pytest.raises(InvalidInput, match=rf"{told}.*--format onnx or torch-export"):
            save_folder(tmp_path / "out", manifest, pooler.chain, {"tokenizer": tokenizer_json()})
    assert not (tmp_path / "out").exists()
