"""Texts to token ids, once: the ids are kept in datasets' Arrow cache and found again by a later run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset


def token_ids(tokenizer: Any, texts: list[str], max_seq_length: int) -> list[list[int]]:
    """Ids of each text with its special tokens, cut at max_seq_length tokens, specials included."""
    if not texts:  # transformers' tokenizers fail at none
        return []
    encoded = tokenizer(texts, truncation=True, max_length=max_seq_length, return_attention_mask=False)
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def tokenized_pairs(pairs: Dataset, tokenizer: Any, max_seq_length: int, prompts: Mapping[str, str]) -> Dataset:
    """The pairs' columns as token ids, same names, with `prompts[column]` in front of each text.

    The cache is keyed by the rows' fingerprint, the tokenizer's content, the length and the prompts.
    """
    columns = pairs.column_names
    rules = [tokenizer_fingerprint(tokenizer), max_seq_length, [(c, prompts.get(c, "")) for c in columns]]
    key = hashlib.sha256(repr([pairs._fingerprint, rules]).encode()).hexdigest()[:32]

    def tokenize(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {
            column: token_ids(tokenizer, [prompts.get(column, "") + text for text in rows[column]], max_seq_length)
            for column in columns
        }

    return pairs.map(tokenize, batched=True, new_fingerprint=key, desc="tokenizing", remove_columns=columns)


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
    if backend is not None:
        # Truncation and padding are left in it by the last call: they would tell a used tokenizer from a new one.
        rules = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
        content = json.dumps(rules, sort_keys=True)
    else:
        content = repr(sorted(tokenizer.get_vocab().items()))
    kind = f"{type(tokenizer).__name__} {getattr(tokenizer, 'truncation_side', '')} "
    return hashlib.sha256((kind + content).encode()).hexdigest()
