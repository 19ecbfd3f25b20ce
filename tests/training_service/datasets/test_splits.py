"""The deal of rows into splits."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.errors import InvalidInput
from training_service.datasets.splits import HELD_OUT, Split, SplitSpec, assign_splits

DIGESTS = [hashlib.sha256(bytes([index])).hexdigest() for index in range(40)]
fractions = st.floats(0.01, 0.49)


@given(st.integers(3, 40), fractions, fractions, st.integers(0, 2**63 - 1))
def test_every_split_gets_a_row(num_rows: int, validation: float, test: float, seed: int) -> None:
    """However few rows there are, none of the three splits is empty."""
    assert set(assign_splits(DIGESTS[:num_rows], SplitSpec(validation, test, seed))) == set(Split)


@given(st.permutations(DIGESTS))
def test_the_deal_does_not_depend_on_the_order(digests: list[str]) -> None:
    """A row lands in the same split wherever it stands."""
    expected = dict(zip(DIGESTS, assign_splits(DIGESTS, SplitSpec()), strict=True))
    assert dict(zip(digests, assign_splits(digests, SplitSpec()), strict=True)) == expected


def test_shares_are_those_asked_for() -> None:
    """Of 40 rows, 6 are for validation and 10 for the test."""
    dealt = assign_splits(DIGESTS, SplitSpec())
    assert [dealt.count(split) for split in Split] == [24, 6, 10]


def test_the_seed_deals_anew() -> None:
    """Another seed gives another deal, the same seed the same one on every machine."""
    assert assign_splits(DIGESTS, SplitSpec(seed=1)) != assign_splits(DIGESTS, SplitSpec(seed=2))
    assert "".join(split[1] for split in assign_splits(DIGESTS[:12], SplitSpec(seed=7))) == "errarerrrrae"


def test_two_rows_cannot_be_dealt() -> None:
    """The caller has to refuse such labels first."""
    with pytest.raises(ValueError, match="2 rows"):
        assign_splits(DIGESTS[:2], SplitSpec())


@given(st.lists(st.integers(0, 9), min_size=12, max_size=40), st.integers(0, 100))
def test_groups_stay_together(groups: list[int], seed: int) -> None:
    """Each split gets a row, and no group is in two of them, unless there are fewer groups than splits."""
    dealt = assign_splits(DIGESTS[: len(groups)], SplitSpec(seed=seed), groups=groups)
    assert set(dealt) == set(Split)
    if len(set(groups)) >= len(Split):
        assert all(len({dealt[row] for row, each in enumerate(groups) if each == group}) == 1 for group in set(groups))


def test_groups_of_few_rows_hardly_change_the_shares() -> None:
    """Of 40 rows in pairs, 6 are for validation and 10 for the test; a group that is too large trains."""
    dealt = assign_splits(DIGESTS, SplitSpec(), groups=[row // 2 for row in range(40)])
    assert [dealt.count(split) for split in Split] == [24, 6, 10]
    dealt = assign_splits(DIGESTS, SplitSpec(), groups=[max(row, 19) for row in range(40)])
    assert dealt[:20] == [Split.TRAIN] * 20
    assert [dealt.count(split) for split in Split] == [24, 6, 10]


fixed_splits = st.lists(st.sampled_from([None, *Split]), min_size=3, max_size=40)


@given(fixed_splits, st.sets(st.sampled_from(HELD_OUT)), st.data())
def test_what_is_fixed_stays(fixed: list[Split | None], held_out: set[Split], data: st.DataObject) -> None:
    """Other rows go to the splits that are dealt, each of which gets one where rows are left; and one trains."""
    groups = data.draw(st.lists(st.integers(0, 9), min_size=len(fixed), max_size=len(fixed)))
    dealt = assign_splits(DIGESTS[: len(fixed)], SplitSpec(), groups=groups, fixed=fixed, held_out=held_out)
    for before, after in zip(fixed, dealt, strict=True):
        assert after is before if before is not None else after in {*held_out, Split.TRAIN}
    if None in fixed:
        assert Split.TRAIN in dealt or held_out & set(fixed)


def test_new_rows_fill_up_the_shares() -> None:
    """Of 20 rows that were dealt and 20 that follow, as many are held out as of 40 at once."""
    before = assign_splits(DIGESTS[:20], SplitSpec())
    dealt = assign_splits(DIGESTS, SplitSpec(), fixed=[*before, *[None] * 20])
    assert dealt[:20] == before
    assert [dealt.count(split) for split in Split] == [24, 6, 10]


def test_one_new_row_may_follow() -> None:
    """A label that has its rows takes any number more."""
    before = assign_splits(DIGESTS[:3], SplitSpec())
    assert assign_splits(DIGESTS[:4], SplitSpec(), fixed=[*before, None]) == [*before, Split.TRAIN]


@pytest.mark.parametrize("split", Split)
def test_rows_follow_those_that_they_look_like(split: Split) -> None:
    """So a row never trains that looks like one of the test; unless it looks like one that has trained, too."""
    fixed = [split, split, Split.TRAIN, None]
    assert assign_splits(DIGESTS[:4], SplitSpec(), groups=[0, 1, 2, 0], fixed=fixed)[3] is split
    fixed = [split, Split.TRAIN, Split.TRAIN, None]
    assert assign_splits(DIGESTS[:4], SplitSpec(), groups=[0, 0, 2, 0], fixed=fixed)[3] is Split.TRAIN


def test_rows_do_not_follow_into_a_split_that_is_not_dealt() -> None:
    """What the user gave for training stays out of the user's test."""
    fixed = [Split.TEST, None, None, None]
    dealt = assign_splits(DIGESTS[:4], SplitSpec(), groups=[0, 0, 1, 2], fixed=fixed, held_out={Split.VALIDATION})
    assert dealt.count(Split.TEST) == 1
    assert set(dealt) == set(Split)


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
