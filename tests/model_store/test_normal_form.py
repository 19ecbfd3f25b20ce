"""Names have one form, of characters that can be shown, wherever they enter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model_store.errors import InvalidInput, InvalidManifest
from model_store.manifests import Manifest
from model_store.names import check_tags
from model_store.normal_form import escaped, look_alike_key, normal_form, replaced, unshowable
from model_store.tasks import Classification
from model_store.transactions.filters import parse_filter
from tests.model_store.architectures.test_tabular import MANIFEST

COMPOSED, APART = "caf\u00e9", "cafe\u0301"


def test_an_accent_is_part_of_its_letter() -> None:
    """However a system writes it."""
    assert normal_form(APART) == normal_form(COMPOSED) == COMPOSED


@pytest.mark.parametrize("text", ["rose\u00a0bush", "\u0645\u06cc\u200c\u062e", "\U0001f469\u200d\U0001f33e", "\ue000"])
def test_letters_of_every_language_can_be_shown(text: str) -> None:
    """No-break spaces, joiners and private characters too."""
    assert unshowable(text) == ""
    assert escaped(text) == replaced(text) == text


@pytest.mark.parametrize("character", ["\0", "\x1b", "\n", "\x9b", "\u2028", "\u202e", "\u2066", "\ufeff", "\udc80"])
def test_what_a_terminal_would_obey_cannot(character: str) -> None:
    """It is named by its number, and shown as an escape or a mark."""
    assert unshowable(f"a{character}b") == f"U+{ord(character):04X}"
    assert escaped(f"a{character}b") == f"a{character.encode('unicode_escape').decode()}b"
    assert replaced(f"a{character}b") == "a\ufffdb"


def test_names_that_look_alike_have_one_key() -> None:
    """By case, spaces, joiners and the width of letters; others do not."""
    assert {look_alike_key(each) for each in ("Rose bush", "rose\u00a0Bush", "ROSE  BUSH ", "rose \uff22ush")} == {
        "rose bush"
    }
    assert look_alike_key("rose") != look_alike_key("rosé")


def test_tags_are_kept_and_found_in_one_form() -> None:
    """A filter that was typed on macOS finds what was written on Linux."""
    assert check_tags({"place": APART}, "tags") == {"place": COMPOSED}
    (condition,) = parse_filter(f'tags.place = "{APART}"', ("tags.",))
    assert condition.value == COMPOSED
    assert check_tags({"place": "rose\u00a0bush"}, "tags") == {"place": "rose\u00a0bush"}
    with pytest.raises(InvalidInput, match=r"tags\['place'\]"):
        check_tags({"place": "a\x1bb"}, "tags")


def test_labels_of_a_version_have_one_form() -> None:
    """Datasets' do, and both are matched by name."""
    assert Manifest.from_json(replace(MANIFEST, task=Classification((COMPOSED, *"abcd"))).to_json())
    with pytest.raises(InvalidManifest, match=r"labels\[0\] must be in Unicode's form NFC, 'caf\u00e9'"):
        Manifest.from_json(replace(MANIFEST, task=Classification((APART, *"abcd"))).to_json())
