"""Texts become rows of tokens: cut, padded to one of a few lengths, and refused where they are none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_store.blobs.local import LocalBlobs
from model_store.calibration import batch_of
from model_store.errors import InvalidExample, InvalidManifest, MissingBlob
from model_store.modalities import IDS, MASK, load_input_spec, prepared, read_input_spec
from model_store.modalities.text.spec import padded_length
from model_store.modalities.text.tokenizer import tokenizer_of
from tests.model_store.text_models import WORDS, text_spec, tokenizer_json

CLS, SEP = 2, 3
MANY = 10**6


def test_a_text_becomes_a_padded_row() -> None:
    """Special tokens stand around the words, and the mask says what is padding."""
    row = prepared(text_spec(), ["ships sail"], MANY)
    assert row.arrays[IDS].tolist() == [[CLS, 4, 5, SEP, 0, 0, 0, 0]]
    assert row.arrays[MASK].tolist() == [[True] * 4 + [False] * 4]


def test_a_long_text_is_cut_before_its_end_mark() -> None:
    """The first tokens count, and the special ones stay."""
    row = prepared(text_spec(max_tokens=6), ["ships sail over the sea wheat"], MANY)
    assert row.arrays[IDS].tolist() == [[CLS, 4, 5, 6, 7, SEP]]


def test_a_text_of_a_million_tokens_is_cut() -> None:
    """It is as its beginning, whatever follows."""
    (row,) = prepared(text_spec(8), ["a," * 500_000], MANY).arrays[IDS]
    assert row.tolist() == prepared(text_spec(8), ["a," * 10], MANY).arrays[IDS][0].tolist()
    assert len(row) == 8


def test_a_cut_is_taken_back() -> None:
    """A manifest keeps the length of before; a spec that was never cut has none, and neither prepares other ids."""
    spec = text_spec(32)
    cut = spec.cut(16).cut(8)
    assert (cut.max_tokens, cut.to_json()["most_tokens"], "most_tokens" in spec.to_json()) == (8, 32, False)
    assert read_input_spec(cut.to_json()) == cut
    assert cut.uncut() == cut.cut(32) == spec.uncut() == spec
    assert cut.uncut().loaded is spec.loaded
    assert (cut.device_key, cut.padding_id) == (spec.device_key, spec.padding_id)


def test_rows_of_several_lengths_are_padded_together() -> None:
    """The shorter ones get padding that the mask leaves out, and costs are padded tokens."""
    spec = text_spec(max_tokens=64)
    rows = prepared(spec, ["ships", " ".join(WORDS)], MANY)
    assert rows.arrays[IDS].shape == (2, 16)
    assert rows.arrays[MASK].sum(axis=1).tolist() == [3, 14]
    assert (spec.cost(rows), spec.form(rows)) == (16, 16)
    batch = spec.to_input(batch_of(rows, torch.device("cpu")))
    assert (batch.tensors[IDS].dtype, batch.tensors[MASK].dtype) == (torch.int64, torch.bool)


@given(st.integers(1, 512), st.integers(1, 512))
def test_padding_is_bounded(num_tokens: int, more: int) -> None:
    """A row is never cut, never over the maximum, and padded by at most a quarter or seven tokens."""
    most = num_tokens + more
    length = padded_length(num_tokens, most)
    assert num_tokens <= length <= most
    assert length - num_tokens <= max(7, num_tokens // 4)


def test_texts_in_bytes_are_read_as_utf8() -> None:
    """A file's bytes are the text, without a mark of their order."""
    spec = text_spec()
    (plain, marked) = (prepared(spec, [each], MANY) for each in ("ships", b"\xef\xbb\xbfships"))
    np.testing.assert_array_equal(plain.arrays[IDS], marked.arrays[IDS])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        (" \n\t ", "is empty"),
        ("ships\x00sail", "at character 5"),
        ("ships \ud800", "at character 6"),
        (b"ships \xff", "byte 6"),
        ("ships " * 20, "over the limit of 100"),
        (17, "must be a text"),
        (np.zeros(3, np.float32), "must be a text"),
    ],
)
def test_what_is_no_text_is_refused(text: object, told: str) -> None:
    """The fault is named, with its place."""
    with pytest.raises(InvalidExample, match=told):
        prepared(text_spec(), [text], 100)


def test_threads_share_a_tokenizer() -> None:
    """Concurrent calls with several lengths give what single calls give: a tokenizer has no state of a call."""
    specs = [text_spec(max_tokens=length) for length in (3, 6, 32)]
    texts = [" ".join(WORDS[: 1 + number % 12]) for number in range(60)]
    jobs = [(spec, text) for spec in specs for text in texts]
    alone = [spec.ids_of(text) for spec, text in jobs]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda job: job[0].ids_of(job[1]), jobs)) == alone


def test_the_tokenizer_comes_from_the_store(blobs: LocalBlobs) -> None:
    """A spec is read with its file, which all specs that name it share; without the store it only describes."""
    spec = text_spec()
    entries = spec.to_json()
    with pytest.raises(MissingBlob):
        load_input_spec({**entries, "files": {"tokenizer": "0" * 64}}, blobs)
    blobs.put([tokenizer_json()])
    loaded = load_input_spec(entries, blobs)
    assert loaded == read_input_spec(entries) == spec
    assert getattr(loaded, "loaded", None) is spec.loaded
    with pytest.raises(ValueError, match="without its tokenizer"):
        prepared(read_input_spec(entries), ["ships"], MANY)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"[]", b"{}", b'{"version": "1.0", "model": {"type": "WordLevel"}}']
)
def test_a_file_that_is_no_tokenizer_is_refused(blobs: LocalBlobs, data: bytes) -> None:
    """Whatever the file holds, the error says that it is no tokenizer."""
    digest = blobs.put([data]).digest
    with pytest.raises(InvalidManifest, match="tokenizer is not one"):
        load_input_spec({**text_spec().to_json(), "files": {"tokenizer": digest}}, blobs)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"vocabulary": True}, "vocabulary"),
        ({"padding_id": 20}, "padding_id"),
        ({"files": {"tokenizer": "A" * 64}}, "tokenizer"),
        ({"files": {"words": "0" * 64}}, "files"),
        ({"files": {"tokenizer": 5}}, "tokenizer"),
        ({"most_tokens": 32}, "most_tokens"),
        ({"most_tokens": "64"}, "most_tokens"),
        ({"more": 1}, "more"),
    ],
)
def test_impossible_specs_are_named(change: dict[str, object], told: str) -> None:
    """A manifest from elsewhere is refused by the name of the field."""
    with pytest.raises(InvalidManifest, match=told):
        read_input_spec({**text_spec().to_json(), **change})


def test_a_tokenizer_of_more_words_than_the_encoder_has_is_refused() -> None:
    """Its ids would have no embedding."""
    with pytest.raises(InvalidManifest, match="ids up to 15"):
        type(text_spec()).of(tokenizer_of(tokenizer_json()), 8, vocabulary=12, padding_id=0)


def test_rows_go_through_a_blob() -> None:
    """Calibration rows come back as they were, and bad ones are refused."""
    spec = text_spec()
    rows = prepared(spec, ["ships", "wheat grows in a field"], MANY)
    tensors = spec.to_blob(rows)
    found = spec.from_blob(tensors, 64)
    for name in (IDS, MASK):
        np.testing.assert_array_equal(found.arrays[name], rows.arrays[name])
    for wrong in (
        {IDS: tensors[IDS]},
        {**tensors, IDS: tensors[IDS] + 20},
        {**tensors, IDS: tensors[IDS] - 20},
        {**tensors, IDS: tensors[IDS].long()},
        {**tensors, MASK: torch.zeros_like(tensors[MASK])},
        {**tensors, MASK: tensors[MASK][:1]},
        {IDS: torch.zeros(1, 33, dtype=torch.int32), MASK: torch.ones(1, 33, dtype=torch.bool)},
    ):
        with pytest.raises(InvalidManifest):
            spec.from_blob(wrong, 64)
