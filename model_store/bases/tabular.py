"""Bases for rows of numbers: an MLP, which begins at random, and the rows themselves, which have no weights."""

from __future__ import annotations

from collections.abc import Sequence

from model_store.architectures import Head, build, build_random
from model_store.bases.base import LoadedBase
from model_store.labels import check_labels
from model_store.modalities.values.spec import ValuesInputSpec

MLP = "mlp"
ROWS = "rows"


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


def load_rows(size: int) -> LoadedBase:
    """Build the base whose embedding is a row of `size` numbers as it is, for a head to be fitted on.

    Rows are not standardised: a head that needs it does so itself. Raise InvalidManifest for an impossible size.
    """
    head, arguments = Head("none"), {"size": size}
    chain = build(ROWS, arguments, head)
    return LoadedBase(
        architecture=ROWS,
        arguments=arguments,
        chain=chain.eval(),
        head=head,
        input_spec=ValuesInputSpec(size),
        labels=(),
        origin={"source": "rows"},
    )
