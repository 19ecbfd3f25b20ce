"""The activation of a head's outputs, in torch."""

from __future__ import annotations

from torch import Tensor

from model_store.tasks import Activation


def activated(logits: Tensor, activation: Activation, temperature: float = 1.0) -> Tensor:
    """Return the numbers of an answer: the activation of logits [n, outputs] divided by the temperature."""
    if temperature != 1:
        logits = logits / temperature
    if activation == "softmax":
        return logits.softmax(dim=-1)
    return logits.sigmoid() if activation == "sigmoid" else logits
