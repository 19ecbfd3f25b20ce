"""Bases for rows of numbers: no weights are published for them, so they begin at random."""

from __future__ import annotations

from collections.abc import Sequence

from model_store.architectures import Head, build_random
from model_store.bases.base import LoadedBase
from model_store.labels import check_labels
from model_store.modalities.values.spec import ValuesInputSpec

MLP = "mlp"


def load_random_mlp(widths: Sequence[int], labels: Sequence[str], seed: int) -> LoadedBase:
    """Build an MLP, the same for the same seed: `widths` are the size of a row and of each hidden layer.

    Its first fine-tune computes the mean and deviation of each column, and columns are standardised by them. Without
    labels, a backbone only. Raise InvalidManifest for impossible widths, InvalidInput for wrong labels.
    """
    check_labels(labels)
    head = Head("linear", len(labels)) if labels else Head("none")
    arguments = {"widths": list(widths)}
    chain = build_random(MLP, arguments, head, seed)  # first: it checks the widths
    return LoadedBase(
        architecture=MLP,
        arguments=arguments,
        chain=chain.eval(),
        head=head,
        input_spec=ValuesInputSpec(widths[0], standardise=True),
        labels=tuple(labels),
        origin={"source": "random", "seed": str(seed)},
    )
