"""Short forms of names, as people type them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_client.errors import InvalidArgument
from maas_client.typed.shorthand import id_from_path, target_name
from model_store.names import check_id


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("flowers", "models/flowers"),
        ("flowers/3", "models/flowers/versions/3"),
        ("flowers@production", "models/flowers/aliases/production"),
        ("models/flowers/versions/3", "models/flowers/versions/3"),
    ],
)
def test_a_short_form_means_one_resource(typed: str, name: str) -> None:
    """A model, a version, an alias, or a full name."""
    assert target_name(typed) == name


@given(
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=80).filter(
        lambda n: n not in {".", ".."}
    )
)
def test_any_file_name_makes_a_legal_id_or_is_asked_for(name: str) -> None:
    """Whatever a folder is called, the id made of it is one that the service takes."""
    with suppress(InvalidArgument):
        assert check_id(id_from_path(Path("/data") / name, "--id"), "id")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("flowers", "flowers"),
        ("My Flowers.tar.gz", "my-flowers"),
        ("flowers.v1", "flowers-v1"),
        ("flowers.v2.ZIP", "flowers-v2"),
        ("H\u00e4user und \u00d6l", "hauser-und-ol"),
        ("ha\u0308user", "hauser"),
        ("Stra\u00dfen", "strassen"),
        ("101_food", "food-101"),
        ("2024-01 birds", "birds-2024-01"),
    ],
)
def test_different_names_make_different_ids(name: str, made: str) -> None:
    """Readable ones, and of archives without their ending."""
    assert id_from_path(Path("/data") / name, "--id") == made


@pytest.mark.parametrize(
    "name", ["\u82b1", "\u9ce5", "\u82b1-red", "\u0446\u0432\u0435\u0442\u044b", "2024", "---", "x" * 64]
)
def test_a_name_that_makes_no_id_of_its_own_is_asked_for(name: str) -> None:
    """Two folders must not become versions of one model because their letters were dropped."""
    with pytest.raises(InvalidArgument, match="choose one with --model"):
        id_from_path(Path("/data") / name, "--model")
