"""Embeddings that a run has made already, without making any."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from matryoshka.data.packing import stable_batches
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Encoder, Precision
from matryoshka.evaluation.embeddings import Store, behind_pooling
from matryoshka.evaluation.fingerprint import encoder_fingerprint
from matryoshka.evaluation.text_batch import TextBatch


def kept_embeddings(
    encoder: Encoder, parts: Sequence[TokenIds], store: Store, *, token_budget: int, precision: Precision = "fp32"
) -> list[Tensor] | None:
    """What `embed` gives with this store, where all of it is kept there; else None, and nothing is encoded.

    Of several processes only the first has a store; it alone may ask.
    """
    if (fingerprint := encoder_fingerprint(encoder, precision)) is None:
        return None
    store.open(4 * sum(map(len, parts)) * encoder.pooled_width, fingerprint)
    embeddings = []
    for ids in parts:
        values_ND = torch.zeros(len(ids), encoder.pooled_width)
        for texts in stable_batches(ids, token_budget):
            if (found := store.get(TextBatch(ids, texts, values_ND).key(fingerprint))) is None:
                return None
            values_ND[texts] = found.values_SD
        embeddings.append(values_ND)
    return [behind_pooling(encoder, pooled_ND) for pooled_ND in embeddings]
