"""Short forms of names, as people type them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas_client.shorthand import id_from_path, target_name
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
def test_any_file_name_makes_a_legal_id(name: str) -> None:
    """Whatever a folder is called, the id made of it is one that the service takes."""
    assert check_id(id_from_path(Path("/data") / name), "id")
