"""Pages: opaque tokens that cannot be mixed up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store.database.paging import PageRequest, cut, decode_token, encode_token
from model_store.errors import InvalidInput


@given(items=st.lists(st.integers(0, 10**6), unique=True, max_size=40), size=st.integers(1, 10))
def test_pages_give_every_item_once_and_in_order(items: list[int], size: int) -> None:
    """Following the tokens visits the whole listing."""
    items.sort()
    seen: list[int] = []
    token = ""
    while True:
        after = decode_token("numbers", token, int)
        rest = [item for item in items if after is None or item > after][: size + 1]
        page = cut("numbers", rest, rest, size)
        seen.extend(page.items)
        assert len(page.items) <= size
        if not page.next_token:
            break
        token = page.next_token
    assert seen == items


@pytest.mark.parametrize("token", ["x", "!!!", encode_token("others", 3), encode_token("numbers", "3"), "e30"])
def test_a_token_of_another_listing_is_refused(token: str) -> None:
    """Made-up tokens, and those of other listings or kinds, name the field."""
    with pytest.raises(InvalidInput, match="page_token"):
        decode_token("numbers", token, int)


@pytest.mark.parametrize(("key", "kind"), [(2**63, int), (-(10**30), int), ("a\0b", str), (float("nan"), float)])
def test_a_token_of_what_no_database_holds_is_refused(key: str | float, kind: type) -> None:
    """It is made up: no query ever sees it."""
    with pytest.raises(InvalidInput, match="page_token"):
        decode_token("numbers", encode_token("numbers", key), kind)


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_page_size_out_of_range_is_refused(size: int) -> None:
    """The field is named."""
    with pytest.raises(InvalidInput, match="page_size"):
        _ = PageRequest(size).limit
