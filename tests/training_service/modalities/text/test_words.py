"""A tokenizer of whole words is learned from training texts, the same from the same."""

from __future__ import annotations

import pytest

from model_store.blobs.local import LocalBlobs
from model_store.errors import InvalidExample
from model_store.modalities import load_input_spec, prepared
from model_store.modalities.text.spec import TextInputSpec
from model_store.modalities.text.tokenizer import tokenizer_of
from training_service.modalities.text.words import learned_spec, tokenizer_json

TEXTS = ["The ship, the SEA.", "the ship sails", "a sea; a field", "字 field 字"]
BLANK = TextInputSpec("", 16, 100)


def encoded() -> list[bytes]:
    """Return the texts as a dataset keeps them."""
    return [text.encode() for text in TEXTS]


def test_frequent_words_come_first() -> None:
    """Without case; a sign is a word, and a Chinese character; a word of one place is unknown."""
    tokenizer = tokenizer_of(tokenizer_json(encoded(), 100))
    words = ["the", "a", "field", "sea", "ship", "字"]
    assert [tokenizer.id_of(word) for word in words] == [2, 3, 4, 5, 6, 7]
    assert tokenizer.encode("The SAILS 字ship", 10) == [2, 1, 7, 6]
    assert tokenizer_of(tokenizer_json(encoded(), 4)).num_ids == 4


def test_equal_texts_give_the_equal_tokenizer() -> None:
    """In any order."""
    assert tokenizer_json(encoded(), 100) == tokenizer_json(encoded()[::-1], 100)


def test_a_spec_without_a_tokenizer_gets_one(blobs: LocalBlobs) -> None:
    """It is stored, and a spec that has one keeps it; before that no text can be prepared."""
    with pytest.raises(InvalidExample, match="no tokenizer yet"):
        prepared(load_input_spec(BLANK.to_json(), blobs), ["the ship"], 100)
    learned = learned_spec(load_input_spec(BLANK.to_json(), blobs), encoded(), blobs)
    again = load_input_spec(learned.to_json(), blobs)
    assert again == learned
    assert learned_spec(again, [], blobs) == again
    assert prepared(again, ["the ship"], 100).arrays["ids"][0, :2].tolist() == [2, 6]
