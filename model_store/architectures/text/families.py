"""The BERT family as data: how its members differ, and the names of their tensors in Hugging Face's checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Renaming = tuple[tuple[str, str], ...]

_BIAS = "attention.relative_attention_bias.weight"
_SHARED_BIAS = "encoder.relative_attention_bias.weight"
# Buffers of older checkpoints, and heads that are not the backbone's.
_UNUSED = re.compile(r"embeddings\.(position|token_type)_ids|(cls|lm_head|vocab_\w+|pre_classifier|classifier)\b.*")
_PREFIXES = re.compile(r"^((0\.auto_model|model|module|bert|roberta|distilbert|mpnet)\.)+")

_DISTILBERT_NAMES: Renaming = (
    ("transformer.layer.", "encoder.layer."),
    (".attention.q_lin.", ".attention.self.query."),
    (".attention.k_lin.", ".attention.self.key."),
    (".attention.v_lin.", ".attention.self.value."),
    (".attention.out_lin.", ".attention.output.dense."),
    (".sa_layer_norm.", ".attention.output.LayerNorm."),
    (".ffn.lin1.", ".intermediate.dense."),
    (".ffn.lin2.", ".output.dense."),
    (".output_layer_norm.", ".output.LayerNorm."),
)
_MPNET_NAMES: Renaming = (
    (".attention.attn.q.", ".attention.self.query."),
    (".attention.attn.k.", ".attention.self.key."),
    (".attention.attn.v.", ".attention.self.value."),
    (".attention.attn.o.", ".attention.output.dense."),
    (".attention.LayerNorm.", ".attention.output.LayerNorm."),
)


@dataclass(frozen=True)
class Family:
    """One member of the family.

    `counts_from_padding`: the first token has the position `padding_id` + 1, not 0, and padding has `padding_id`.
    `relative_buckets`: the number of buckets of a learned bias of attention by distance; 0 for none. `names` are pairs
    of a part of a tensor's name in Hugging Face's checkpoint and in the chain, whose names are those of BERT.
    `config` has the keys of `config.json` that are not BERT's own.
    """

    has_token_types: bool = True
    has_pooler: bool = True
    counts_from_padding: bool = False
    relative_buckets: int = 0
    names: Renaming = ()
    config: Mapping[str, str] | None = None

    def from_huggingface(self, tensors: Mapping[str, Tensor], num_layers: int) -> dict[str, Tensor]:
        """Return a checkpoint's tensors of the encoder by the chain's names; other tensors are left out.

        The one bias by distance of MPNet becomes each layer's own.
        """
        found = {_replaced(name, self.names): tensor for name, tensor in _plain(tensors).items()}
        if (shared := found.pop(_SHARED_BIAS, None)) is not None:
            found |= {f"encoder.layer.{layer}.{_BIAS}": shared for layer in range(num_layers)}
        return found

    def to_huggingface(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the chain's tensors by Hugging Face's names.

        MPNet has one bias by distance for all layers: layers that were trained apart cannot be written, and the first
        one's is.
        """
        backwards = tuple((own, theirs) for theirs, own in self.names)
        found = {_replaced(name, backwards): tensor for name, tensor in tensors.items() if not name.endswith(_BIAS)}
        if (bias := tensors.get(f"encoder.layer.0.{_BIAS}")) is not None:
            found[_SHARED_BIAS] = bias
        return found


FAMILIES: Mapping[str, Family] = {
    "bert": Family(),
    "roberta": Family(counts_from_padding=True),
    "distilbert": Family(
        has_token_types=False,
        has_pooler=False,
        names=_DISTILBERT_NAMES,
        config={
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
            "hidden_act": "activation",
            "hidden_dropout_prob": "dropout",
        },
    ),
    "mpnet": Family(has_token_types=False, counts_from_padding=True, relative_buckets=32, names=_MPNET_NAMES),
}
"""By the name of the architecture, which is the `model_type` of a `config.json`."""

# Arguments of an architecture, and the key of `config.json` and its default for each.
_SIZES = {
    "vocabulary": ("vocab_size", 30522),
    "width": ("hidden_size", 768),
    "layers": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "hidden": ("intermediate_size", 3072),
    "positions": ("max_position_embeddings", 512),
    "activation": ("hidden_act", "gelu"),
    "epsilon": ("layer_norm_eps", 1e-12),
    "dropout": ("hidden_dropout_prob", 0.1),
    "padding_id": ("pad_token_id", 0),
}


def arguments_of(model_type: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the architecture that a `config.json` describes, without checking them."""
    family = FAMILIES[model_type]
    renamed = family.config or {}
    found = {argument: config.get(renamed.get(key, key), default) for argument, (key, default) in _SIZES.items()}
    if family.has_token_types:
        found["token_types"] = config.get("type_vocab_size", 2)
    if family.counts_from_padding and isinstance(found["padding_id"], int):
        found["first_position"] = found["padding_id"] + 1
    if family.relative_buckets:
        found["relative_buckets"] = config.get("relative_attention_num_buckets", family.relative_buckets)
    return found


def config_of(model_type: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `config.json` of an encoder with these arguments; `arguments_of` reads it."""
    family = FAMILIES[model_type]
    renamed = family.config or {}
    config = {renamed.get(key, key): arguments[argument] for argument, (key, _) in _SIZES.items()}
    if family.has_token_types:
        config["type_vocab_size"] = arguments["token_types"]
    if family.relative_buckets:
        config["relative_attention_num_buckets"] = arguments["relative_buckets"]
    return {"model_type": model_type, **config}


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without the prefixes of models with a head, and without unused ones."""
    found = {}
    for full_name, tensor in tensors.items():
        name = _PREFIXES.sub("", full_name)
        if not _UNUSED.fullmatch(name):
            found[name] = tensor
    return found


def _replaced(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        name = name.replace(old, new)
    return name
