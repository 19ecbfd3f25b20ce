"""Resource names: one grammar, and clear words where a name does not fit it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_store import names
from model_store.errors import InvalidInput

IDS = st.from_regex(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@given(model=IDS, alias=IDS, number=st.integers(1, 10**9 - 1))
def test_what_is_written_is_read_back(model: str, alias: str, number: int) -> None:
    """Every legal name survives the round, and `parse_target` tells the three forms apart."""
    version, aliased = names.VersionName(model, number), names.AliasName(model, alias)
    assert names.parse_version(str(version), "name") == version
    assert names.parse_alias(str(aliased), "name") == aliased
    assert names.parse_target(str(version), "name") == version
    assert names.parse_target(str(aliased), "name") == aliased
    assert names.parse_target(names.model_name(model), "name") == names.ModelName(model)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "models/",
        "models/Flowers",
        "models/../x",
        "models/ä",
        "models/a-",
        "models/a\n",
        "models/" + "a" * 64,
        "models/a/versions/0",
        "models/a/versions/-1",
        "models/a/versions/x",
        "models/a/aliases/",
        "datasets/a",
    ],
)
def test_what_does_not_fit_is_refused_with_its_field(text: str) -> None:
    """The violation names the field and the form expected."""
    with pytest.raises(InvalidInput) as caught:
        names.parse_target(text, "name")
    assert caught.value.violations[0].field == "name"
    assert "models/" in caught.value.violations[0].description


def test_a_long_name_is_cut_in_the_message() -> None:
    """A hostile name does not flood the log."""
    with pytest.raises(InvalidInput) as caught:
        names.parse_model("x" * 100_000, "name")
    assert len(str(caught.value)) < 300
