"""The deal of rows into splits."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.errors import InvalidInput
from training_service.splits import Split, SplitSpec, deal

DIGESTS = [hashlib.sha256(bytes([index])).hexdigest() for index in range(40)]
fractions = st.floats(0.01, 0.49)


@given(st.integers(3, 40), fractions, fractions, st.integers(-(2**63), 2**63 - 1))
def test_every_split_gets_a_row(num_rows: int, validation: float, test: float, seed: int) -> None:
    """However few rows there are, none of the three splits is empty."""
    assert set(deal(DIGESTS[:num_rows], SplitSpec(validation, test, seed))) == set(Split)


@given(st.permutations(DIGESTS))
def test_the_deal_does_not_depend_on_the_order(digests: list[str]) -> None:
    """A row lands in the same split wherever it stands."""
    expected = dict(zip(DIGESTS, deal(DIGESTS, SplitSpec()), strict=True))
    assert dict(zip(digests, deal(digests, SplitSpec()), strict=True)) == expected


def test_shares_are_those_asked_for() -> None:
    """Of 40 rows, 6 are for validation and 10 for the test."""
    dealt = deal(DIGESTS, SplitSpec())
    assert [dealt.count(split) for split in Split] == [24, 6, 10]


def test_the_seed_deals_anew() -> None:
    """Another seed gives another deal, the same seed the same one on every machine."""
    assert deal(DIGESTS, SplitSpec(seed=1)) != deal(DIGESTS, SplitSpec(seed=2))
    assert "".join(split[1] for split in deal(DIGESTS[:12], SplitSpec(seed=7))) == "errarerrrrae"


def test_two_rows_cannot_be_dealt() -> None:
    """The caller has to refuse such labels first."""
    with pytest.raises(ValueError, match="2 rows"):
        deal(DIGESTS[:2], SplitSpec())


@pytest.mark.parametrize(
    ("validation", "test", "field"),
    [(0.0, 0.2, "split.validation_fraction"), (0.2, 1.0, "split.test_fraction"), (0.5, 0.5, "split.test_fraction")],
)
def test_shares_that_leave_nothing_are_refused(validation: float, test: float, field: str) -> None:
    """Each split needs a share, and training too."""
    with pytest.raises(InvalidInput) as caught:
        SplitSpec(validation, test)
    assert caught.value.violations[0].field == field


def test_nan_is_refused() -> None:
    """A share that is no number is none."""
    with pytest.raises(InvalidInput):
        SplitSpec(float("nan"), 0.2)
