"""Batches of texts that mostly stay what they were when texts come or go."""

from __future__ import annotations

from collections.abc import Iterator

from matryoshka.data.tokens import TokenIds


def stable_batches(ids: TokenIds, token_budget: int) -> Iterator[list[int]]:
    """Texts in batches of at most token_budget tokens (a longer one stands alone), longest first.

    Longest first, so that a batch that does not fit memory fails at the start; like lengths meet in a batch. By its
    hash, one text in as many as fit opens a new batch: so texts that come or go change the batches near them alone,
    as the chunks of a backup do (content-defined chunking, Muthitacharoen et al. 2001, doi:10.1145/502034.502052).
    """
    hashes = [hash(tuple(text)) for text in ids]  # of numbers: the same in every process
    lengths = ids.lengths.tolist()
    batch: list[int] = []
    tokens = 0
    for text in sorted(range(len(ids)), key=lambda i: (-lengths[i], hashes[i])):
        opens = hashes[text] % max(1, token_budget // max(1, lengths[text])) == 0
        copies = bool(batch) and hashes[batch[-1]] == hashes[text]  # else each of many copies would open a batch
        if batch and ((opens and not copies) or tokens + lengths[text] > token_budget):
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += lengths[text]
    if batch:
        yield batch
