"""A tokenizer of whole words, learned from texts: for a base that begins at random and has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import cast

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from model_store.blobs import BlobStore
from model_store.modalities import InputSpec
from model_store.modalities.text.spec import TextInputSpec
from model_store.modalities.text.tokenizer import tokenizer_of

_PADDING, _UNKNOWN = "[PAD]", "[UNK]"
_MIN_COUNT = 2
"""A word that stands in one place alone teaches nothing, and that there are such words can be learned."""


def learned_spec(spec: InputSpec, texts: Iterable[bytes], blobs: BlobStore) -> InputSpec:
    """Return the spec with a tokenizer of the words of these training texts, stored; or uncut if it has one.

    A fine-tune before on shorter texts has cut its own, and these may be longer.
    Equal texts give the equal tokenizer: an attempt that goes on has the rows of the one before.
    """
    own = cast("TextInputSpec", spec)
    if own.tokenizer:
        return own.uncut()
    data = tokenizer_json(texts, own.vocabulary)
    blobs.put([data])
    return own.of(tokenizer_of(data), own.max_tokens, own.vocabulary, own.padding_id)


def tokenizer_json(texts: Iterable[bytes], vocabulary: int) -> bytes:
    """Return a tokenizer of the most frequent words, without case; a sign, or a Chinese character, is a word."""
    tokenizer = Tokenizer(models.WordLevel({_PADDING: 0, _UNKNOWN: 1}, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        normal = tokenizer.normalizer.normalize_str(text.decode("utf-8-sig"))
        counts.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    frequent = sorted(word for word, count in counts.items() if count >= _MIN_COUNT)
    kept = sorted(frequent, key=lambda word: -counts[word])[: vocabulary - 2]
    words = {word: number for number, word in enumerate((_PADDING, _UNKNOWN, *(each for each in kept)))}
    tokenizer.model = models.WordLevel(words, unk_token=_UNKNOWN)
    return tokenizer.to_str().encode()
