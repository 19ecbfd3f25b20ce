"""The input spec of texts: the tokenizer, the number of tokens that a text is cut to, and the id of padding."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from model_store.blobs import BlobStore
from model_store.errors import InvalidExample, InvalidManifest
from model_store.manifests import DIGEST
from model_store.modalities.batch import IDS, MASK, Batch
from model_store.modalities.checks import check, check_names, check_num_rows
from model_store.modalities.spec import Array, Limits, Rows, TensorForm
from model_store.modalities.text.tokenizer import MAX_TOKENIZER_BYTES, TextTokenizer, read_tokenizer
from model_store.texts import quoted

KIND = "text"
MAX_TOKENS = 65536
MAX_VOCABULARY = 2_000_000
LIMITS = Limits(example=1_000_000, request=16_000_000, batch_cost=2048, queue_cost=131_072)
"""Sizes in characters, costs in tokens; to read a text of 1,000,000 characters takes about a second of one core."""
_TOKENIZER, _TEXT = "tokenizer", "TEXT"
# A longer step is a larger share of a short row: padding is at most 8 tokens, or about an eighth.
_STEPS = ((64, 8), (128, 16), (512, 32), (MAX_TOKENS, 128))
_NUL_OR_SURROGATE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class TextInputSpec:
    """Texts cut to their first `max_tokens` tokens, padded with `padding_id` to the next of a few lengths.

    `tokenizer` is the digest of a tokenizer's JSON, a blob in the store; its ids are below `vocabulary`. A spec that
    was read without the store (`loaded` is None) describes rows and cannot prepare them. With `tokenizer` empty the
    first fine-tune learns one from its training texts. `most_tokens` is the length before a fine-tune on shorter texts
    chose `max_tokens`, and 0 where none did.
    """

    tokenizer: str
    max_tokens: int
    vocabulary: int
    padding_id: int = 0
    most_tokens: int = 0
    kind: str = KIND
    loaded: TextTokenizer | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check(self.kind == KIND, "kind", f"must be {KIND!r}")
        is_digest = isinstance(self.tokenizer, str) and DIGEST.fullmatch(self.tokenizer) is not None
        check(is_digest or self.tokenizer == "", "files.tokenizer", "must be 64 lower-case hexadecimal digits")
        check(_is_count(self.max_tokens, 1, MAX_TOKENS), "max_tokens", f"must be an integer in 1..{MAX_TOKENS}")
        check(_is_count(self.vocabulary, 1, MAX_VOCABULARY), "vocabulary", f"must be an integer in 1..{MAX_VOCABULARY}")
        most = self.vocabulary - 1
        check(_is_count(self.padding_id, 0, most), "padding_id", f"must be an integer in 0..{most}")
        longer = self.most_tokens == 0 or _is_count(self.most_tokens, self.max_tokens + 1, MAX_TOKENS)
        check(longer, "most_tokens", f"must be an integer in {self.max_tokens + 1}..{MAX_TOKENS}, or missing")

    @property
    def unit(self) -> str:
        """The unit of sizes."""
        return "characters"

    @property
    def rows_key(self) -> Hashable:
        """The whole spec."""
        return self

    @property
    def device_key(self) -> Hashable:
        """The kind alone: ids are converted whatever they were cut to."""
        return self.kind

    def to_json(self) -> dict[str, Any]:
        """Return the form in a manifest."""
        return {
            "kind": self.kind,
            "files": {_TOKENIZER: self.tokenizer} if self.tokenizer else {},
            "max_tokens": self.max_tokens,
            "vocabulary": self.vocabulary,
            "padding_id": self.padding_id,
            **({"most_tokens": self.most_tokens} if self.most_tokens else {}),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read the form in a manifest; raise InvalidManifest naming the wrong field."""
        optional = ("most_tokens",) if "most_tokens" in values else ()
        check_names(values, ("kind", "files", "max_tokens", "vocabulary", "padding_id", *optional))
        files = values["files"]
        check(isinstance(files, dict) and set(files) <= {_TOKENIZER}, "files", f"must have no key but {_TOKENIZER!r}")
        others = {name: value for name, value in values.items() if name != "files"}
        return cls(tokenizer=files.get(_TOKENIZER, ""), **others)

    @classmethod
    def of(cls, tokenizer: TextTokenizer, max_tokens: int, vocabulary: int, padding_id: int) -> Self:
        """Return a spec with its tokenizer; raise InvalidManifest where that has ids over the vocabulary."""
        spec = cls(tokenizer.digest, max_tokens, vocabulary, padding_id, loaded=tokenizer)
        most = tokenizer.num_ids - 1
        check(most < vocabulary, "vocabulary", f"is {vocabulary}, and the tokenizer has ids up to {most}")
        return spec

    def with_files(self, blobs: BlobStore) -> Self:
        """Return the spec with its tokenizer from the store.

        Raises MissingBlob, CorruptBlob, and InvalidManifest for a file that is too large or no tokenizer.
        """
        if self.loaded is not None or not self.tokenizer:
            return self
        tokenizer = read_tokenizer(self.tokenizer, lambda: self._read(blobs))
        return replace(
            self.of(tokenizer, self.max_tokens, self.vocabulary, self.padding_id), most_tokens=self.most_tokens
        )

    def cut(self, max_tokens: int) -> Self:
        """Return the spec that cuts texts to fewer tokens, which `uncut` takes back."""
        most = max(self.max_tokens, self.most_tokens)
        return replace(self, max_tokens=max_tokens, most_tokens=most if max_tokens < most else 0)

    def uncut(self) -> Self:
        """Return the spec of before any `cut`."""
        return replace(self, max_tokens=max(self.max_tokens, self.most_tokens), most_tokens=0)

    def stored(self, data: bytes) -> object:
        """Return the text, which is kept in UTF-8."""
        return data

    def open(self, example: object, max_size: int) -> OpenedText:
        """Take what `checked_text` takes; raise InvalidExample for all texts where there is no tokenizer yet."""
        if not self.tokenizer:
            raise InvalidExample("cannot be read: the version has no tokenizer yet, which its first fine-tune learns")
        return OpenedText(checked_text(example, max_size), self)

    def prepared(self, text: str) -> Rows:
        """Return a checked text as one row."""
        return self._padded(self.ids_of(text))

    def ids_of(self, text: str) -> list[int]:
        """Return the ids of a text, cut to `max_tokens`."""
        if self.loaded is None:
            raise ValueError("this input spec was read without its tokenizer: use with_files")
        return self.loaded.encode(text, self.max_tokens) or [self.padding_id]

    def form(self, rows: Rows) -> Hashable:
        """Return the padded number of tokens."""
        return self.cost(rows)

    def cost(self, rows: Rows) -> int:
        """Return the padded number of tokens."""
        return int(rows.arrays[IDS].shape[1])

    def collate(self, rows: Sequence[Rows]) -> Rows:
        """Put rows together, padded to the longest."""
        if len(rows) == 1:
            return rows[0]
        longest = max(each.arrays[IDS].shape[1] for each in rows)
        total = sum(len(each) for each in rows)
        ids = np.full((total, longest), self.padding_id, np.int32)
        mask = np.zeros((total, longest), np.bool_)
        start = 0
        for each in rows:
            part = slice(start, start + len(each)), slice(each.arrays[IDS].shape[1])
            ids[part], mask[part] = each.arrays[IDS], each.arrays[MASK]
            start += len(each)
        return Rows({IDS: ids, MASK: mask}, total)

    def to_input(self, batch: Batch) -> Batch:
        """Return ids, int64 [n, tokens], and the mask, bool [n, tokens]."""
        return batch.updated({IDS: batch.tensors[IDS].long()})

    def blank(self) -> Rows:
        """Return one row of padding, as long as the longest."""
        shape = (1, self.max_tokens)
        return Rows({IDS: np.full(shape, self.padding_id, np.int32), MASK: np.ones(shape, np.bool_)}, 1)

    def tensors(self) -> tuple[TensorForm, ...]:
        """Return TEXT, one text in UTF-8 for each row."""
        return (TensorForm(_TEXT, "bytes", ()),)

    def read_tensors(self, tensors: Mapping[str, Array]) -> Sequence[object]:
        """Return the texts, to be opened and prepared."""
        return list(tensors[_TEXT])

    def to_blob(self, rows: Rows) -> dict[str, Tensor]:
        """Return `ids`, int32 [n, tokens], and `mask`, bool [n, tokens]."""
        return {name: torch.from_numpy(np.ascontiguousarray(rows.arrays[name])) for name in (IDS, MASK)}

    def from_blob(self, tensors: Mapping[str, Tensor], max_rows: int) -> Rows:
        """Read `to_blob`'s tensors; raise InvalidManifest for any other form, and for ids over the vocabulary."""
        if set(tensors) != {IDS, MASK}:
            raise InvalidManifest(f"must have two tensors, {IDS!r} and {MASK!r}")
        ids, mask = tensors[IDS], tensors[MASK]
        check_num_rows(len(ids) if ids.ndim else 0, max_rows)
        if ids.dtype != torch.int32 or ids.ndim != 2 or not 0 < ids.shape[1] <= self.max_tokens:
            raise InvalidManifest(f"must be int32 [{len(ids)}, 1 to {self.max_tokens}], not {ids.dtype} {[*ids.shape]}")
        if mask.dtype != torch.bool or mask.shape != ids.shape or not bool(mask[:, 0].all()):
            raise InvalidManifest(f"must have a mask, bool {[*ids.shape]}, whose first column is true")
        if not 0 <= int(ids.min()) <= int(ids.max()) < self.vocabulary:
            raise InvalidManifest(f"must be ids below {self.vocabulary}")
        return Rows({IDS: ids.numpy(), MASK: mask.numpy()}, len(ids))

    def _read(self, blobs: BlobStore) -> bytes:
        if (size := blobs.size(self.tokenizer)) > MAX_TOKENIZER_BYTES:
            raise InvalidManifest(f"the tokenizer has {size} bytes; at most {MAX_TOKENIZER_BYTES} are allowed")
        return bytes(blobs.read(self.tokenizer))

    def _padded(self, ids: Sequence[int]) -> Rows:
        num_tokens = len(ids)
        length = padded_length(num_tokens, self.max_tokens)
        row = np.full((1, length), self.padding_id, np.int32)
        row[0, :num_tokens] = ids
        return Rows({IDS: row, MASK: np.arange(length)[None] < num_tokens}, 1)


@dataclass(frozen=True)
class OpenedText:
    """A text that was checked and is not tokenized yet."""

    text: str
    spec: TextInputSpec

    @property
    def size(self) -> int:
        """The number of characters."""
        return len(self.text)

    def prepare(self) -> Rows:
        """Return ids, int32 [1, tokens], and the mask, bool [1, tokens]."""
        return self.spec.prepared(self.text)


def checked_text(example: object, max_size: int) -> str:
    """Return a text, or the one in bytes of UTF-8; raise InvalidExample for anything else.

    Refused are texts of more than `max_size` characters, without any character but spaces, and with NUL or halves of
    UTF-16 characters.
    """
    text = _decoded(example)
    if len(text) > max_size:
        raise InvalidExample(f"{len(text)} characters are over the limit of {max_size}")
    if not text or text.isspace():
        raise InvalidExample("is empty: it has no text")
    if found := _NUL_OR_SURROGATE.search(text):
        raise InvalidExample(f"has {found[0]!a} at character {found.start()}, which is no text: {quoted(text)}")
    return text


def padded_length(num_tokens: int, max_tokens: int) -> int:
    """Return the length that a row of so many tokens is padded to."""
    step = next(step for most, step in _STEPS if num_tokens <= most)
    return min(-(-num_tokens // step) * step, max_tokens)


def _decoded(example: object) -> str:
    if isinstance(example, str):
        return example
    if not isinstance(example, bytes):
        raise InvalidExample("must be a text")
    try:
        return example.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidExample(f"must be a text in UTF-8: byte {error.start} is none of it") from error


def _is_count(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most
