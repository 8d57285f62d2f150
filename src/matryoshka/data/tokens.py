"""Texts to token ids, once: kept as Arrow files that are found by content and mapped into memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from matryoshka.data.tokenizer_fingerprint import tokenizer_fingerprint
from matryoshka.storage.cache import cache_folder, keep, mark_used, remove_oldest

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

TEXTS_AT_ONCE = 10_000  # given to the tokenizer in one call, which then uses all cores


@dataclass(frozen=True)
class TokenIds:
    """Ids of many texts, one after another: text i has `flat[offsets[i]:offsets[i + 1]]`.

    prompt: how many of each text's tokens are those of the prompt in front of it; None where that is not known.
    """

    flat: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    prompt: int | None = None

    @classmethod
    def of(cls, lists: Iterable[Sequence[int]], prompt: int | None = None) -> TokenIds:
        """The same ids from lists."""
        lists = list(lists)
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return cls(np.fromiter(chain.from_iterable(lists), np.int32, count=offsets[-1]), offsets, prompt)

    @classmethod
    def read(cls, stream: Path | pyarrow.Buffer) -> TokenIds:
        """The ids of what `token_stream` made; those of a file are mapped into memory."""
        import pyarrow

        source = pyarrow.memory_map(str(stream)) if isinstance(stream, Path) else stream
        lists = pyarrow.ipc.open_stream(source).read_next_batch().column("ids")
        return cls(lists.values.to_numpy(), lists.offsets.to_numpy())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, text: int) -> list[int]:
        ids: list[int] = self.flat[self.offsets[text] : self.offsets[text + 1]].tolist()
        return ids

    def __iter__(self) -> Iterator[list[int]]:
        return (self[text] for text in range(len(self)))

    def as_bytes(self) -> Iterator[bytes]:
        """The ids of each text: lists of Python's numbers take twenty times as long to compare."""
        return (self.flat[start:end].tobytes() for start, end in pairwise(self.offsets.tolist()))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def without_copies(self) -> tuple[TokenIds, npt.NDArray[np.int64]]:
        """Each list of ids once, in the order in which they come; and for each text which of them it has."""
        row_of: dict[bytes, int] = {}
        rows = np.fromiter(
            (row_of.setdefault(text, len(row_of)) for text in self.as_bytes()), np.int64, count=len(self)
        )
        if len(row_of) == len(self):
            return self, rows  # still mapped into memory
        return TokenIds.of([self[first] for first in np.unique(rows, return_index=True)[1]], self.prompt), rows

    def distinct(self) -> set[int]:
        """All ids that occur."""
        return set(np.unique(self.flat).tolist())


def token_ids(tokenizer: Any, texts: Sequence[str], max_seq_length: int) -> list[list[int]]:
    """Ids of each text with its special tokens, cut at max_seq_length tokens, specials included."""
    if not texts:  # transformers' tokenizers fail at none
        return []
    encoded = tokenizer(list(texts), truncation=True, max_length=max_seq_length, return_attention_mask=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def prompt_tokens(tokenizer: Any, prompt: str, max_seq_length: int) -> int:
    """How many tokens of a text are those of the prompt in front of it, special tokens before it included.

    Counted as sentence-transformers counts them: those of the prompt alone, but for a special token at the end.
    """
    (ids,) = token_ids(tokenizer, [prompt], max_seq_length) if prompt else [[]]
    return len(ids) - (bool(ids) and ids[-1] in tokenizer.all_special_ids)


def kept_token_ids(tokenizer: Any, texts: Sequence[str], max_seq_length: int, prompt: str = "") -> TokenIds:
    """Ids of each text with the prompt in front, from the cache if they were asked for before."""
    ids = TokenIds.read(token_stream(tokenizer_fingerprint(tokenizer), tokenizer, texts, max_seq_length, prompt))
    return replace(ids, prompt=prompt_tokens(tokenizer, prompt, max_seq_length))


def tokenized_pairs(pairs: Dataset, tokenizer: Any, max_seq_length: int, prompts: Mapping[str, str]) -> Dataset:
    """The pairs' columns as token ids, same names, with `prompts[column]` in front of each text."""
    from datasets import Dataset, concatenate_datasets

    fingerprint, columns = tokenizer_fingerprint(tokenizer), []
    for column in pairs.column_names:
        texts = pairs.with_format("arrow")[column][:].to_pylist()
        stream = token_stream(fingerprint, tokenizer, texts, max_seq_length, prompts.get(column, ""))
        ids = Dataset.from_file(str(stream)) if isinstance(stream, Path) else Dataset.from_buffer(stream)
        columns.append(ids.rename_column("ids", column))
    return concatenate_datasets(columns, axis=1)


def token_stream(
    fingerprint: str | None, tokenizer: Any, texts: Sequence[str], max_seq_length: int, prompt: str
) -> Path | pyarrow.Buffer:
    """The Arrow file with the ids of the texts, written first if it is not there; its content if it cannot be kept.

    Its name is a hash of the texts, the tokenizer's fingerprint, the length and the prompt: whoever has the same
    finds it, wherever the texts come from. Without a fingerprint nothing is found, and nothing kept.
    """
    path = _path(fingerprint, texts, max_seq_length, prompt) if fingerprint else None
    if path and os.access(path, os.R_OK):
        mark_used(path)
        return path
    parts = (texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE))
    ids = [TokenIds.of(token_ids(tokenizer, [prompt + text for text in part], max_seq_length)) for part in parts]
    content = _arrow(ids or [TokenIds.of([])])
    if path and keep(path, content.to_pybytes()):
        remove_oldest(path.parent, spare=path)
        return path
    return content


def _path(fingerprint: str, texts: Sequence[str], max_seq_length: int, prompt: str) -> Path:
    digest = hashlib.sha256(repr((fingerprint, max_seq_length, prompt, len(texts))).encode())
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        part = texts[start : start + TEXTS_AT_ONCE]
        digest.update(np.fromiter(map(len, part), np.int64).tobytes())
        digest.update("".join(part).encode("utf-8", "surrogatepass"))
    return cache_folder() / "tokens" / f"{digest.hexdigest()}.arrow"


def _arrow(parts: Sequence[TokenIds]) -> pyarrow.Buffer:
    import pyarrow

    flat = np.concatenate([part.flat for part in parts])
    offsets = np.cumsum(np.concatenate([[0], *(part.lengths for part in parts)]), dtype=np.int64)
    batch = pyarrow.record_batch({"ids": pyarrow.LargeListArray.from_arrays(offsets, flat)})
    content = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(content, batch.schema) as writer:
        writer.write_batch(batch)
    return content.getvalue()


def token_counts(ids: Dataset) -> dict[str, npt.NDArray[np.int64]]:
    """The number of tokens of every row, for each column of tokenized pairs."""
    table = ids.with_format("arrow")
    return {
        column: np.concatenate([chunk.value_lengths().to_numpy() for chunk in table[column].chunks])
        for column in ids.column_names
    }


def distinct_tokens(ids: Dataset) -> set[int]:
    """All token ids that occur in tokenized pairs."""
    table = ids.with_format("arrow")
    chunks = [chunk for column in ids.column_names for chunk in table[column].chunks]
    found: set[int] = set()
    for chunk in chunks:
        found.update(np.unique(chunk.flatten().to_numpy(zero_copy_only=False)).tolist())
    return found
