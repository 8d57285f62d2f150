"""Texts to token ids, once: kept as Arrow files that are found by content and mapped into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from matryoshka.atomic import write_atomically
from matryoshka.cache import cache_folder, mark_used, remove_oldest

if TYPE_CHECKING:
    from datasets import Dataset

TEXTS_AT_ONCE = 10_000  # given to the tokenizer in one call, which then uses all cores


@dataclass(frozen=True)
class TokenIds:
    """Ids of many texts, one after another: text i has `flat[offsets[i]:offsets[i + 1]]`."""

    flat: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, lists: Iterable[Sequence[int]]) -> TokenIds:
        """The same ids from lists."""
        lists = list(lists)
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return cls(np.fromiter(chain.from_iterable(lists), np.int32, count=offsets[-1]), offsets)

    @classmethod
    def read(cls, path: Path) -> TokenIds:
        """The ids of a file that `token_file` wrote, mapped into memory."""
        import pyarrow

        lists = pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_next_batch().column("ids")
        return cls(lists.values.to_numpy(), lists.offsets.to_numpy())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, text: int) -> list[int]:
        ids: list[int] = self.flat[self.offsets[text] : self.offsets[text + 1]].tolist()
        return ids

    def __iter__(self) -> Iterator[list[int]]:
        return (self[text] for text in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text."""
        return np.diff(self.offsets)

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


def kept_token_ids(tokenizer: Any, texts: Sequence[str], max_seq_length: int, prompt: str = "") -> TokenIds:
    """Ids of each text with the prompt in front, from the cache if they were asked for before."""
    return TokenIds.read(token_file(tokenizer_fingerprint(tokenizer), tokenizer, texts, max_seq_length, prompt))


def tokenized_pairs(pairs: Dataset, tokenizer: Any, max_seq_length: int, prompts: Mapping[str, str]) -> Dataset:
    """The pairs' columns as token ids, same names, with `prompts[column]` in front of each text."""
    from datasets import Dataset, concatenate_datasets

    fingerprint, columns = tokenizer_fingerprint(tokenizer), []
    for column in pairs.column_names:
        texts = pairs.with_format("arrow")[column][:].to_pylist()
        path = token_file(fingerprint, tokenizer, texts, max_seq_length, prompts.get(column, ""))
        columns.append(Dataset.from_file(str(path)).rename_column("ids", column))
    return concatenate_datasets(columns, axis=1)


def token_file(fingerprint: str, tokenizer: Any, texts: Sequence[str], max_seq_length: int, prompt: str) -> Path:
    """The Arrow file with the ids of the texts, written first if it is not there.

    Its name is a hash of the texts, the tokenizer's fingerprint, the length and the prompt: whoever has the same
    finds it, wherever the texts come from.
    """
    digest = hashlib.sha256(repr((fingerprint, max_seq_length, prompt, len(texts))).encode())
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        part = texts[start : start + TEXTS_AT_ONCE]
        digest.update(np.fromiter(map(len, part), np.int64).tobytes())
        digest.update("".join(part).encode("utf-8", "surrogatepass"))
    path = cache_folder() / "tokens" / f"{digest.hexdigest()}.arrow"
    if path.is_file():
        mark_used(path)
    else:
        parts = (texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE))
        ids = [TokenIds.of(token_ids(tokenizer, [prompt + text for text in part], max_seq_length)) for part in parts]
        _write(path, ids or [TokenIds.of([])])
        remove_oldest(path.parent)
    return path


def _write(path: Path, parts: Sequence[TokenIds]) -> None:
    import pyarrow

    flat = np.concatenate([part.flat for part in parts])
    offsets = np.cumsum(np.concatenate([[0], *(part.lengths for part in parts)]), dtype=np.int64)
    batch = pyarrow.record_batch({"ids": pyarrow.LargeListArray.from_arrays(offsets, flat)})
    content = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(content, batch.schema) as writer:
        writer.write_batch(batch)
    write_atomically(path, content.getvalue().to_pybytes())


def token_counts(ids: Dataset) -> dict[str, npt.NDArray[np.int64]]:
    """Of each column of tokenized pairs, the tokens of every row."""
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


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """A hash of everything that decides the ids of a text, but for the length it is cut at."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = repr(sorted(tokenizer.get_vocab().items())) if backend is None else _rules(backend)
    kind = f"{type(tokenizer).__name__} {getattr(tokenizer, 'truncation_side', '')} "
    return hashlib.sha256((kind + content).encode()).hexdigest()


def _rules(backend: Any) -> str:
    """A Rust tokenizer as text, without the truncation and padding that the last call left in it."""
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    rules: str = backend.to_str()
    if truncation is not None:
        backend.enable_truncation(**truncation)
    if padding is not None:
        backend.enable_padding(**padding)
    return rules
