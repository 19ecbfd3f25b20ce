"""Small text models: a tokenizer of whole words, encoders of random weights on it, and texts of two topics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from model_store.architectures import Head, build_random
from model_store.architectures.text.families import FAMILIES
from model_store.bases.base import LoadedBase
from model_store.modalities.text.spec import TextInputSpec
from model_store.modalities.text.tokenizer import tokenizer_of

WORDS = ("ships", "sail", "over", "the", "sea", "wheat", "grows", "in", "a", "field", "wind", "rain")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
TOPICS = {
    "sea": ["ships sail over the sea", "the sea wind", "ships in the wind", "sail the sea", "ships over the sea wind"],
    "farm": ["wheat grows in a field", "rain in the field", "a field grows", "wheat in rain", "a wheat field in rain"],
}


def tokenizer_json() -> bytes:
    """Return a tokenizer of whole words that puts [CLS] before and [SEP] behind a text."""
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106  no password
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer.to_str().encode()


def arguments(**more: Any) -> dict[str, Any]:
    """Return the sizes of a tiny BERT."""
    return {
        "vocabulary": 20,
        "width": 16,
        "layers": 2,
        "heads": 2,
        "hidden": 32,
        "positions": 64,
        "token_types": 2,
        "activation": "gelu",
        "epsilon": 1e-12,
        "dropout": 0.1,
        "padding_id": 0,
        "pooling": "mean",
        "normalise": False,
        **more,
    }


def text_spec(max_tokens: int = 32) -> TextInputSpec:
    """Return the input spec of the tiny models."""
    return TextInputSpec.of(tokenizer_of(tokenizer_json()), max_tokens, 20, 0)


def text_base(labels: tuple[str, ...] = (), seed: int = 0, max_tokens: int = 32) -> LoadedBase:
    """Return a tiny BERT with random weights."""
    head = Head("linear", len(labels)) if labels else Head("none")
    return LoadedBase(
        architecture="bert",
        arguments=arguments(),
        chain=build_random("bert", arguments(), head, seed).eval(),
        head=head,
        input_spec=text_spec(max_tokens),
        labels=labels,
        origin={"source": "random"},
        files=(tokenizer_json(),),
    )


def save_folder(folder: Path, base: LoadedBase) -> Path:
    """Write a base without a head in Hugging Face's layout, pooled as sentence-transformers says it."""
    config = {"model_type": "bert", "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
    files = {
        "config.json": config,
        "modules.json": [
            {"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
        ],
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
        "sentence_bert_config.json": {"max_seq_length": 32},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    (folder / "tokenizer.json").write_bytes(tokenizer_json())
    tensors = FAMILIES["bert"].to_huggingface(base.chain.state_dict_torchvision())
    save_file({f"bert.{name}": tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder
