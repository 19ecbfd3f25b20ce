"""Files of labels as people have them: in any encoding that says what it is, each label once."""

from __future__ import annotations

import codecs
import unicodedata
from pathlib import Path

import pytest

from model_store.architectures import Head, build_random
from model_store.architectures.torchvision_compat import torchvision
from model_store.bases.catalogue import load_tensors
from model_store.bases.tabular import load_random_mlp
from model_store.errors import InvalidInput
from model_store.labels import check_labels, read_labels

LABELS = ["circle", "größer", "花"]
TEXT = "\n".join(LABELS)


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        ("\n" + TEXT.replace("\n", "  \n\n\t") + " \n \n\n").encode(),
        unicodedata.normalize("NFD", TEXT).encode(),
    ],
    ids=["plain", "mark", "utf-16", "utf-16-be", "utf-32", "crlf", "cr", "blanks", "decomposed"],
)
def test_labels_are_read(data: bytes, tmp_path: Path) -> None:
    """Byte order marks, ends of lines, blanks and empty lines are no part of a label."""
    (tmp_path / "labels.txt").write_bytes(data)
    assert read_labels(tmp_path / "labels.txt") == LABELS


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("circle\ngrößer".encode("latin-1"), r"is not UTF-8 in line 2: it may be Latin-1.*save it as UTF-8"),
        (TEXT.encode("utf-16-le"), "holds zero bytes: it is UTF-16 without a byte order mark"),
        (codecs.BOM_UTF16_LE + b"a", "is not UTF-16 in line 1: it is cut short or damaged"),
        (b"", "has no labels"),
        (b"\n \n", "has no labels"),
    ],
    ids=["latin-1", "no mark", "cut short", "empty", "blank"],
)
def test_what_cannot_be_read_for_sure_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    """No label is guessed; the encoding that it may be is named."""
    (tmp_path / "labels.txt").write_bytes(data)
    with pytest.raises(InvalidInput, match=f"labels.txt {said}"):
        read_labels(tmp_path / "labels.txt")


def test_a_label_that_is_there_twice_is_named() -> None:
    """With both places, wherever labels come from; a blank one too."""
    with pytest.raises(InvalidInput, match="label 1 and label 3 are both 'rose'"):
        check_labels(["rose", "tulip", "rose"])
    with pytest.raises(InvalidInput, match="label 1 and label 2 are both"):
        check_labels([unicodedata.normalize(form, "größer") for form in ("NFC", "NFD")])
    tensors = build_random("squeezenet1_1", {}, Head("conv", 2), seed=0).state_dict_torchvision()
    with pytest.raises(InvalidInput, match="are both 'a'"):
        load_tensors("squeezenet1_1", tensors, ["a", "a"], {})
    with pytest.raises(InvalidInput, match="label 2 is blank"):
        load_tensors("squeezenet1_1", tensors, ["a", " "], {})
    with pytest.raises(InvalidInput, match="are both 'a'"):
        load_random_mlp([4, 8], ["a", "a"], seed=0)


def test_imagenets_own_labels_may_repeat() -> None:
    """Two kinds of crane and of maillot have one name each, and its file of labels is what people have."""
    labels = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.meta["categories"]
    tensors = build_random("squeezenet1_1", {}, Head("conv", 1000), seed=0).state_dict_torchvision()
    assert load_tensors("squeezenet1_1", tensors, labels, {}).labels == tuple(labels)


@pytest.mark.parametrize(
    ("num_outputs", "what"), [(3, "a head of 3 outputs"), (0, "weights without a head: give none")]
)
def test_another_number_of_labels_is_said_clearly(num_outputs: int, what: str) -> None:
    """How many there are, how many there should be, and in which order."""
    head = Head("conv", num_outputs) if num_outputs else Head("none")
    tensors = build_random("squeezenet1_1", {}, head, seed=0).state_dict_torchvision()
    with pytest.raises(InvalidInput, match=f"there are 2 labels for {what}"):
        load_tensors("squeezenet1_1", tensors, ["a", "b"], {})
