"""Bases for texts that begin at random: their words are those of the first dataset that they are trained on."""

from __future__ import annotations

from collections.abc import Sequence

from model_store.architectures import Head, build_random
from model_store.bases.base import LoadedBase
from model_store.labels import check_labels
from model_store.modalities.text.spec import TextInputSpec

GRU = "gru"
_SIZES = {"vocabulary": 20_000, "width": 128, "hidden": 128, "layers": 1, "dropout": 0.3}
_MAX_TOKENS = 256


def load_random_gru(labels: Sequence[str], seed: int) -> LoadedBase:
    """Build a recurrent network, the same for the same seed; its first fine-tune learns the words of the texts.

    Without labels, a backbone only. Raise InvalidInput for wrong labels.
    """
    check_labels(labels)
    head = Head("linear", len(labels)) if labels else Head("none")
    return LoadedBase(
        architecture=GRU,
        arguments=_SIZES,
        chain=build_random(GRU, _SIZES, head, seed).eval(),
        head=head,
        input_spec=TextInputSpec("", _MAX_TOKENS, int(_SIZES["vocabulary"])),
        labels=tuple(labels),
        origin={"source": "random", "seed": str(seed)},
    )
