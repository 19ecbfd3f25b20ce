"""The modules of an encoder: embeddings, a layer of attention and a feed-forward part, and ways to pool tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_store.modalities.batch import IDS, MASK, X

Pooling = Literal["cls", "mean", "pooler"]
_MAX_DISTANCE = 128
_INITIAL_STD = 0.02
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "gelu_new": lambda: nn.GELU(approximate="tanh"),
    "gelu_pytorch_tanh": lambda: nn.GELU(approximate="tanh"),
    "relu": nn.ReLU,
}


class Under(nn.Module):
    """A module whose tensors have names under a dotted path; it reads and writes what the module does."""

    def __init__(self, path: str, module: nn.Module) -> None:
        super().__init__()
        self.reads: tuple[str, ...] = getattr(module, "reads", (X,))
        self.writes: tuple[str, ...] = getattr(module, "writes", (X,))
        self.drops: tuple[str, ...] = getattr(module, "drops", ())
        holder: nn.Module = self
        *parents, name = path.split(".")
        for parent in parents:
            child = nn.Module()
            holder.add_module(parent, child)
            holder = child
        holder.add_module(name, module)
        self._path = path

    def forward(self, *tensors: Tensor) -> Tensor:
        """Run the module."""
        result: Tensor = self.get_submodule(self._path)(*tensors)
        return result


class Embeddings(nn.Module):
    """The sum of what is learned for each token's id and for its position, normalised.

    With `counted_from` positions are those of RoBERTa: padding has this one, and tokens have those that follow. Without
    it the first token has position 0. The type of all tokens is 0.
    """

    reads = (IDS,)
    drops = (IDS,)

    def __init__(self, sizes: Mapping[str, Any], counted_from: int | None) -> None:
        super().__init__()
        width = sizes["width"]
        self.word_embeddings = nn.Embedding(sizes["vocabulary"], width)
        self.position_embeddings = nn.Embedding(sizes["positions"], width)
        if sizes.get("token_types"):
            self.token_type_embeddings = nn.Embedding(sizes["token_types"], width)
        self.LayerNorm = nn.LayerNorm(width, eps=sizes["epsilon"])
        self.dropout = nn.Dropout(sizes["dropout"])
        self._counted_from = counted_from
        self._has_types = bool(sizes.get("token_types"))

    def forward(self, ids: Tensor) -> Tensor:
        """Turn ids, int64 [n, tokens], into [n, tokens, width]."""
        x: Tensor = self.word_embeddings(ids)
        if self._has_types:
            x = x + self.token_type_embeddings.weight[0]
        if self._counted_from is None:
            x = x + self.position_embeddings.weight[: ids.shape[1]]
        else:
            is_token = ids.ne(self._counted_from).int()
            x = x + self.position_embeddings((is_token.cumsum(1) * is_token).long() + self._counted_from)
        result: Tensor = self.dropout(self.LayerNorm(x))
        return result


class SelfAttention(nn.Module):
    """Queries, keys and values of all heads."""

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        width = sizes["width"]
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self._num_heads = sizes["heads"]
        self._dropout = sizes["dropout"]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return [n, tokens, width]; `mask` is true where a key counts, or is added to the products."""
        query, key, value = (
            layer(x).unflatten(2, (self._num_heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        dropout = self._dropout if self.training else 0.0
        heads = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return heads.transpose(1, 2).flatten(2)


class Residual(nn.Module):
    """A linear layer whose output is added to the input of its block, then normalised."""

    def __init__(self, size: int, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        self.dense = nn.Linear(size, sizes["width"])
        self.LayerNorm = nn.LayerNorm(sizes["width"], eps=sizes["epsilon"])
        self.dropout = nn.Dropout(sizes["dropout"])

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        """Return [n, tokens, width]."""
        result: Tensor = self.LayerNorm(self.dropout(self.dense(x)) + beside)
        return result


class Attention(nn.Module):
    """Attention of each token to all that are not padding, with a bias by their distance where there are buckets."""

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        # `self` is BERT's own name of it.
        self.add_module("self", SelfAttention(sizes))
        self.output = Residual(sizes["width"], sizes)
        self._num_buckets = sizes.get("relative_buckets", 0)
        if self._num_buckets:
            self.relative_attention_bias = nn.Embedding(self._num_buckets, sizes["heads"])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return [n, tokens, width]; `mask`, bool [n, tokens], is false for padding."""
        wide = mask[:, None, None, :]
        if self._num_buckets:
            buckets = _buckets(x.shape[1], self._num_buckets, x.device)
            bias = self.relative_attention_bias(buckets).permute(2, 0, 1)[None]
            wide = bias.masked_fill(~wide, -torch.inf)
        result: Tensor = self.output(self.get_submodule("self")(x, wide), x)
        return result


class Intermediate(nn.Module):
    """The wide layer of the feed-forward part."""

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        self.dense = nn.Linear(sizes["width"], sizes["hidden"])
        self.activation = ACTIVATIONS[sizes["activation"]]()

    def forward(self, x: Tensor) -> Tensor:
        """Return [n, tokens, hidden]."""
        result: Tensor = self.activation(self.dense(x))
        return result


class EncoderLayer(nn.Module):
    """Attention, then a feed-forward part, each normalised after it is added to its input."""

    reads = (X, MASK)

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        self.attention = Attention(sizes)
        self.intermediate = Intermediate(sizes)
        self.output = Residual(sizes["hidden"], sizes)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return [n, tokens, width]."""
        attended = self.attention(x, mask)
        result: Tensor = self.output(self.intermediate(attended), attended)
        return result


class Pool(nn.Module):
    """Turns the tokens of a text into one row: the first token, or the mean of all that are not padding."""

    reads = (X, MASK)
    drops = (MASK,)

    def __init__(self, pooling: Pooling, *, normalises: bool) -> None:
        super().__init__()
        self._takes_mean = pooling == "mean"
        self._normalises = normalises

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Turn [n, tokens, width] into [n, width], of length 1 where it normalises."""
        pooled = masked_mean(x, mask) if self._takes_mean else x[:, 0]
        return functional.normalize(pooled, dim=1) if self._normalises else pooled


class Pooler(nn.Module):
    """BERT's own: a layer with tanh over the first token."""

    reads = (X, MASK)
    drops = (MASK,)

    def __init__(self, width: int, *, normalises: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self._normalises = normalises

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002  the first token is never padding
        """Turn [n, tokens, width] into [n, width]."""
        pooled = self.dense(x[:, 0]).tanh()
        return functional.normalize(pooled, dim=1) if self._normalises else pooled


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of [n, tokens, d] over the tokens where the mask [n, tokens] is true, summed in float32."""
    weights = mask[:, :, None].float()
    summed = (x.float() * weights).sum(1)
    return (summed / weights.sum(1).clamp(min=1)).to(x.dtype)


def initialise(module: nn.Module) -> None:
    """Draw weights as BERT does: normal with a deviation of 0.02, biases 0."""
    for each in module.modules():
        if isinstance(each, nn.Linear | nn.Embedding):
            nn.init.normal_(each.weight, std=_INITIAL_STD)
        if isinstance(each, nn.Linear) and each.bias is not None:
            nn.init.zeros_(each.bias)


@lru_cache(maxsize=128)
def _buckets(num_tokens: int, num_buckets: int, device: torch.device) -> Tensor:
    """Return the bucket of the distance from each token to each other, int64 [tokens, tokens].

    Half of the buckets are for each direction; of these, half are exact distances, and the others grow by a constant
    factor up to 128 tokens (Raffel et al. 2020, "Exploring the Limits of Transfer Learning", section 2.1).
    """
    with torch.inference_mode(mode=False):  # training uses them too
        places = torch.arange(num_tokens, device=device)
        distance = places[:, None] - places[None, :]
        half = num_buckets // 2
        num_exact = half // 2
        away = distance.abs()
        ratio = math.log(_MAX_DISTANCE / num_exact)
        far = num_exact + ((away.float() / num_exact).log() / ratio * (half - num_exact)).long()
        bucket = torch.where(away < num_exact, away, far.clamp(max=half - 1))
        return bucket + (distance < 0).long() * half
