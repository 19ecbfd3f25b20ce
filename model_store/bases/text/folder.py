"""Encoders of the BERT family in a folder of Hugging Face's layout, onto our own chain; no code of the folder runs.

Read are config.json, model.safetensors and tokenizer.json; where the folder is one of sentence-transformers, also
modules.json, the pooling's configuration and sentence_bert_config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from model_store.architectures import Chain, Head, build, check_stage_tensors
from model_store.architectures.text.encoder import max_tokens
from model_store.architectures.text.families import FAMILIES, arguments_of
from model_store.bases.base import LoadedBase
from model_store.bases.folder_files import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    file_in,
    read_config,
    read_json,
    read_object,
    refused,
)
from model_store.bases.weights_files import read_weights, sha256_of
from model_store.modalities.text.spec import TextInputSpec
from model_store.modalities.text.tokenizer import MAX_TOKENIZER_BYTES, tokenizer_of
from model_store.tensors.stages import check_finite

_MODULES, _LENGTHS = "modules.json", "sentence_bert_config.json"
_MAX_TOKENS = 512
"""The tokens that texts are cut to at most where a folder names more: cost grows with them."""
_KINDS = ("Transformer", "Pooling", "Normalize")


def is_text_encoder(config: Mapping[str, Any]) -> bool:
    """Say whether the `config.json` of a folder is that of an encoder that this module loads."""
    return config.get("model_type") in FAMILIES


def load_text_encoder(folder: Path) -> LoadedBase:
    """Load an encoder as a base without a head, on the CPU in eval mode; its half-precision tensors become float32.

    Tokens are pooled as sentence-transformers' files say, else as BERT's classifiers do, by the first token. Raises
    InvalidInput naming the file that is missing or wrong, and InvalidManifest for impossible sizes.
    """
    config = read_config(folder)
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise refused(CONFIG, f"is of model_type {kind!r}, which is none of {', '.join(FAMILIES)}")
    pooling, normalise = _pooling(folder)
    arguments = {**arguments_of(kind, config), "pooling": pooling, "normalise": normalise}
    chain = _filled(kind, arguments, read_weights(file_in(folder, WEIGHTS)))
    spec, data = _input_spec(folder, arguments)
    return LoadedBase(
        architecture=kind,
        arguments=arguments,
        chain=chain,
        head=Head("none"),
        input_spec=spec,
        labels=(),
        origin={"source": "folder", "file": WEIGHTS, "sha256": sha256_of(folder / WEIGHTS)},
        files=(data,),
    )


def _filled(kind: str, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Chain:
    chain = build(kind, arguments, Head("none"))
    found = FAMILIES[kind].from_huggingface(tensors, arguments["layers"])
    wanted = {name for stage in chain.stage_names for name in chain.stage_tensors(stage)}
    if missing := sorted(wanted - found.keys()):
        raise refused(WEIGHTS, f"lacks {len(missing)} of the tensors of {kind}, such as {missing[0]!r}")
    chain.load_state_dict_torchvision({name: found[name].detach().float().contiguous() for name in wanted})
    for name in chain.stage_names:
        stage = chain.stage_tensors(name)
        forms = {key: (tensor.shape, tensor.dtype) for key, tensor in stage.items()}
        check_stage_tensors(kind, arguments, Head("none"), name, forms)
        check_finite(name, stage)
    return chain.eval()


def _input_spec(folder: Path, arguments: Mapping[str, Any]) -> tuple[TextInputSpec, bytes]:
    """Return the input spec, and the bytes of its tokenizer."""
    file = file_in(folder, TOKENIZER)
    if file.stat().st_size > MAX_TOKENIZER_BYTES:
        raise refused(TOKENIZER, f"has {file.stat().st_size} bytes; at most {MAX_TOKENIZER_BYTES} are allowed")
    data = file.read_bytes()
    lengths = [max_tokens(arguments), _MAX_TOKENS]
    if (folder / _LENGTHS).is_file() and isinstance(length := read_object(folder, _LENGTHS).get("max_seq_length"), int):
        lengths.append(max(length, 1))
    spec = TextInputSpec.of(tokenizer_of(data), min(lengths), arguments["vocabulary"], arguments["padding_id"])
    return spec, data


def _pooling(folder: Path) -> tuple[str, bool]:
    """Return how sentence-transformers pools tokens in this folder, and whether it normalises the embedding."""
    if not (folder / _MODULES).is_file():
        return "cls", False
    modules = read_json(folder, _MODULES)
    if not isinstance(modules, list) or not all(isinstance(each, dict) for each in modules):
        raise refused(_MODULES, "must be a list of modules")
    kinds = {str(each.get("type")).rpartition(".")[2]: str(each.get("path")) for each in modules}
    if unknown := [kind for kind in kinds if kind not in _KINDS]:
        raise refused(_MODULES, f"names a module {unknown[0]!r}: known are {', '.join(_KINDS)}")
    if "Pooling" not in kinds:
        return "cls", "Normalize" in kinds
    path = f"{kinds['Pooling']}/{CONFIG}"
    if ".." in Path(path).parts or Path(path).is_absolute():
        raise refused(_MODULES, f"names a path outside of the folder, {path!r}")
    return _mode(read_object(folder, path), path), "Normalize" in kinds


def _mode(config: Mapping[str, Any], path: str) -> str:
    modes = [
        key.removeprefix("pooling_mode_") for key, value in config.items() if key.startswith("pooling_mode_") and value
    ]
    known = {"mean_tokens": "mean", "cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise refused(path, f"pools by {', '.join(modes) or 'nothing'}: known are {', '.join(known)}")
    return known[modes[0]]
