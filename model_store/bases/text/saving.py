"""Writes an encoder of the BERT family in the layout of transformers and sentence-transformers.

https://www.sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from model_store.architectures import HEAD, Chain, Head
from model_store.architectures.libraries.needed import needed
from model_store.architectures.text.families import FAMILIES, config_of
from model_store.architectures.text.modules import Pool
from model_store.bases.folder_files import CONFIG, TOKENIZER, WEIGHTS
from model_store.errors import InvalidInput
from model_store.manifests import Manifest
from model_store.modalities import IDS, MASK, Batch
from model_store.modalities.text.spec import TextInputSpec
from model_store.modalities.text.tokenizer import tokenizer_of

_MODULES = "sentence_transformers.models"
_POOLING, _NORMALISE, _DENSE = "1_Pooling", "2_Normalize", "3_Dense"
_ELSEWHERE = "export it with --format onnx or torch-export"
_PROBLEMS = {"softmax": "single_label_classification", "sigmoid": "multi_label_classification"}


def save_text_encoder(folder: Path, manifest: Manifest, chain: Chain, tokenizer: bytes) -> None:
    """Write an encoder, its tokenizer, its pooling, and its linear head as sentence-transformers' last module.

    The head is linear or none. Raise InvalidInput for a pooling that the layout has not.
    """
    arguments, head = manifest.arguments, Head.from_json(manifest.head)
    if arguments["pooling"] == "pooler":
        raise InvalidInput.of("architecture", f"BERT's own pooler is no pooling of sentence-transformers: {_ELSEWHERE}")
    (folder / _POOLING).mkdir(parents=True)
    backbone = {
        name: tensor
        for stage in chain.stage_names
        if stage != HEAD
        for name, tensor in chain.stage_tensors(stage).items()
    }
    _save(folder / WEIGHTS, FAMILIES[manifest.architecture].to_huggingface(backbone))
    modules = ["", _POOLING]
    if arguments["normalise"]:
        modules.append(_NORMALISE)
        (folder / _NORMALISE).mkdir()
    if head.outputs:
        modules.append(_DENSE)
        (folder / _DENSE).mkdir()
        weight, bias = (chain.stage_tensors(HEAD)[f"classifier.{kind}"] for kind in ("weight", "bias"))
        _save(folder / _DENSE / WEIGHTS, {"linear.weight": weight, "linear.bias": bias})
    spec = TextInputSpec.from_json(manifest.input_spec)
    (folder / TOKENIZER).write_bytes(tokenizer)
    for name, values in _texts(
        manifest, head, spec, tokenizer_of(tokenizer).token_of(spec.padding_id), modules
    ).items():
        if (folder / name).parent.is_dir():
            (folder / name).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def saved_text_encoder(folder: Path, manifest: Manifest) -> Callable[[Batch], Tensor]:
    """Return what `save_text_encoder` wrote as transformers loads it: from ids and mask to logits, or to embeddings.

    Raise ExtraMissing without the extra `huggingface`.
    """
    own = needed("transformers", manifest.architecture).AutoModel.from_pretrained(
        str(folder), use_safetensors=True, local_files_only=True, trust_remote_code=False, dtype=torch.float32
    )
    own.eval()
    pool = Pool(manifest.arguments["pooling"], normalises=manifest.arguments["normalise"])
    dense = load_file(folder / _DENSE / WEIGHTS) if (folder / _DENSE).is_dir() else {}

    def run(batch: Batch) -> Tensor:
        ids, mask = batch.tensors[IDS], batch.tensors[MASK]
        pooled: Tensor = pool(own(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask)
        return functional.linear(pooled, dense["linear.weight"], dense["linear.bias"]) if dense else pooled

    return run


def _texts(
    manifest: Manifest, head: Head, spec: TextInputSpec, padding: str, modules: list[str]
) -> dict[str, dict[str, Any] | list[Any]]:
    """Return the files of JSON by name."""
    arguments = manifest.arguments
    names = dict(enumerate(manifest.names))
    labels = {
        "id2label": {str(number): name for number, name in names.items()},
        "label2id": {name: number for number, name in names.items()},
        "problem_type": _PROBLEMS.get(head.activation, "regression"),
    }
    kinds = {"": "Transformer", _POOLING: "Pooling", _NORMALISE: "Normalize", _DENSE: "Dense"}
    return {
        CONFIG: config_of(manifest.architecture, arguments) | (labels if names else {}),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": spec.max_tokens,
            "model_input_names": ["input_ids", "attention_mask"],
            "pad_token": padding,
        },
        "modules.json": [
            {"idx": number, "name": str(number), "path": path, "type": f"{_MODULES}.{kinds[path]}"}
            for number, path in enumerate(modules)
        ],
        "sentence_bert_config.json": {"max_seq_length": spec.max_tokens, "do_lower_case": False},
        f"{_POOLING}/{CONFIG}": {
            "word_embedding_dimension": arguments["width"],
            "pooling_mode_cls_token": arguments["pooling"] == "cls",
            "pooling_mode_mean_tokens": arguments["pooling"] == "mean",
        },
        f"{_DENSE}/{CONFIG}": {
            "in_features": arguments["width"],
            "out_features": head.outputs,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
    }


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({name: each.contiguous() for name, each in tensors.items()}, path, metadata={"format": "pt"})
