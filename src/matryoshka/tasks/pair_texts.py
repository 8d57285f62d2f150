"""The texts of training pairs, encoded once and found again by later tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from datasets import Dataset
from torch import Tensor

from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.progress import progress_bar
from matryoshka.evaluation.embeddings import OnDisk
from matryoshka.processes.together import is_first
from matryoshka.tasks.loading import kind_of
from matryoshka.tasks.measuring import Measuring


def encoded_columns(
    pairs: Dataset, columns: Sequence[str], measuring: Measuring, why: str = ""
) -> list[tuple[Tensor, Tensor]]:
    """Of each column of token ids the embeddings of its distinct texts, (U, D), and which of them each row has, (N,).

    why: what the progress bar says behind the number of pairs.
    """
    table = pairs.with_format("python")
    in_front = [measuring.encoder.prompt_tokens(kind_of(column)) for column in columns]
    texts = [TokenIds.of(table[column][:], n).without_copies() for column, n in zip(columns, in_front, strict=True)]
    parts = [ids for ids, _ in texts]
    tokens = sum(len(ids.flat) for ids in parts)
    with progress_bar(f"encoding {len(pairs):,} training pairs{why}", tokens, show=is_first()) as advance:
        mapped = measuring.too_large(sum(map(len, parts)))
        embedded = measuring.embedded(parts, OnDisk(), advance, mapped=mapped)
    return [(texts_UD, torch.from_numpy(row_N)) for texts_UD, (_, row_N) in zip(embedded, texts, strict=True)]
