"""The texts of training pairs, encoded once and found again by later tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from datasets import Dataset
from torch import Tensor

from matryoshka.data.draws import DrawnColumn
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.progress import progress_bar
from matryoshka.evaluation.embeddings import OnDisk
from matryoshka.processes.together import is_first
from matryoshka.tasks.measuring import Measuring
from matryoshka.tasks.pair_tokens import kind_of
from matryoshka.training.drawn_texts import DrawnTexts


def encoded_columns(
    pairs: Dataset, columns: Sequence[str], measuring: Measuring, why: str = ""
) -> list[tuple[Tensor, Tensor]]:
    """Of each column of token ids the embeddings of its distinct texts, (U, D), and which of them each row has, (N,).

    why: what the progress bar says behind the number of pairs.
    """
    table = pairs.with_format("python")
    in_front = [measuring.encoder.prompt_tokens(kind_of(column)) for column in columns]
    texts = [TokenIds.of(table[column][:], prompt) for column, prompt in zip(columns, in_front, strict=True)]
    return _encoded(texts, len(pairs), measuring, why)


def encoded_draws(drawn: DrawnTexts, measuring: Measuring, why: str = "") -> list[tuple[Tensor, DrawnColumn]]:
    """The same of rows that are drawn from: which text each draw has. All documents are encoded, each once."""
    texts = [drawn.anchors, drawn.documents]
    (anchors_UD, anchor_R), (documents_VD, place_U) = _encoded(texts, len(drawn.draws), measuring, why)
    columns = range(1 + drawn.draws.negatives)
    documents = [(documents_VD, DrawnColumn(drawn.draws, place_U, column)) for column in columns]
    return [(anchors_UD, DrawnColumn(drawn.draws, anchor_R)), *documents]


def _encoded(texts: Sequence[TokenIds], rows: int, measuring: Measuring, why: str) -> list[tuple[Tensor, Tensor]]:
    distinct = [ids.without_copies() for ids in texts]
    parts = [ids for ids, _ in distinct]
    tokens = sum(len(ids.flat) for ids in parts)
    with progress_bar(f"encoding {rows:,} training pairs{why}", tokens, show=is_first()) as advance:
        mapped = measuring.too_large(sum(map(len, parts)))
        embedded = measuring.embedded(parts, OnDisk(), advance, mapped=mapped)
    return [(texts_UD, torch.from_numpy(row_N)) for texts_UD, (_, row_N) in zip(embedded, distinct, strict=True)]
