"""Tokenizers by Hugging Face's `tokenizers`, read from their JSON; one in memory for all versions that name it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from weakref import WeakValueDictionary

from tokenizers import Encoding, Tokenizer

from model_store.errors import InvalidManifest

MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
"""The size of a tokenizer's JSON; that of a vocabulary of 250,000 tokens has 17 MB."""


class TextTokenizer:
    """A tokenizer that neither truncates nor pads by itself; any number of threads may use it concurrently.

    `digest` is the SHA-256 of its JSON, `data`; `num_ids` one more than the largest id, special tokens included.
    """

    def __init__(self, data: bytes, digest: str) -> None:
        self.data, self.digest = data, digest
        self._tokenizer = _parsed(data)
        self._num_special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self.num_ids: int = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def id_of(self, token: str) -> int | None:
        """Return the id of a token; None for an unknown one."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def token_of(self, number: int) -> str:
        """Return the token of an id; raise InvalidManifest where it has none."""
        found: str | None = self._tokenizer.id_to_token(number)
        if found is None:
            raise InvalidManifest(f"the tokenizer has no token of id {number}")
        return found

    def encode(self, text: str, max_tokens: int) -> list[int]:
        """Return at most this many ids of a text's first tokens, with the special ones that the tokenizer adds.

        The call runs without the interpreter's lock.
        """
        encoding: Encoding = self._tokenizer.encode(text, add_special_tokens=False)
        encoding.truncate(max(max_tokens - self._num_special, 0))
        ids: list[int] = self._tokenizer.post_process(encoding).ids
        return ids[:max_tokens]


def read_tokenizer(digest: str, read: Callable[[], bytes]) -> TextTokenizer:
    """Return the tokenizer of this digest: the one in memory, else from the JSON that `read` returns.

    Raises InvalidManifest where the bytes are no tokenizer.
    """
    with _LOCK:
        found = _IN_MEMORY.get(digest)
    if found is None:
        made = TextTokenizer(read(), digest)
        with _LOCK:
            found = _IN_MEMORY.setdefault(digest, made)
    return found


def tokenizer_of(data: bytes) -> TextTokenizer:
    """Return the tokenizer of a JSON; raise InvalidManifest where the bytes are none."""
    return read_tokenizer(hashlib.sha256(data).hexdigest(), lambda: data)


def _parsed(data: bytes) -> Tokenizer:
    if len(data) > MAX_TOKENIZER_BYTES:
        raise InvalidManifest(f"the tokenizer has {len(data)} bytes; at most {MAX_TOKENIZER_BYTES} are allowed")
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise InvalidManifest(f"the tokenizer is not one of the `tokenizers` library: {reason}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


_LOCK = threading.Lock()
_IN_MEMORY: WeakValueDictionary[str, TextTokenizer] = WeakValueDictionary()
