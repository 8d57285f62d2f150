"""Embeddings that were computed before, under equal weights, are not computed again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from matryoshka.atomic import write_atomically
from matryoshka.cache import LIMIT, cache_folder, mark_used, remove_oldest
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Advance, Encoder, Precision
from matryoshka.retrieval.fingerprint import encoder_fingerprint


@dataclass(frozen=True)
class Embedded:
    """Embeddings of a batch, and the seconds that encoding took when it was done."""

    values_SD: Tensor
    seconds: float


class Store(Protocol):
    """Where embeddings of batches are kept under the batch's key."""

    def open(self, size: int) -> None:
        """Called first, with the bytes of all embeddings that will be asked for."""

    def get(self, key: str) -> Embedded | None:
        """What was kept under the key."""

    def put(self, key: str, embedded: Embedded) -> None:
        """Keep it."""

    def close(self) -> None:
        """Called when all is encoded."""


class OnDisk:
    """A file a batch, found by other runs. The files used longest ago go when all take more than `limit` bytes."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        self.folder = folder or cache_folder() / "embeddings"
        self.limit = limit
        self._keeping = False

    def open(self, size: int) -> None:
        """Nothing is kept of more than fits: it would only push itself out."""
        self._keeping = size <= self.limit

    def get(self, key: str) -> Embedded | None:
        """The content of the batch's file; None if there is none or it cannot be read."""
        path = self.folder / f"{key}.safetensors"
        try:
            with safe_open(path, "pt") as file:
                found = Embedded(file.get_tensor("embeddings"), float(file.metadata()["seconds"]))
        except (OSError, SafetensorError):
            return None
        mark_used(path)
        return found

    def put(self, key: str, embedded: Embedded) -> None:
        """Write the batch's file."""
        if self._keeping:
            content = save({"embeddings": embedded.values_SD}, {"seconds": repr(embedded.seconds)})
            write_atomically(self.folder / f"{key}.safetensors", content)

    def close(self) -> None:
        """Remove the files used longest ago."""
        remove_oldest(self.folder, self.limit)


class InMemory:
    """What the last evaluation used, and nothing older: of weights in training, which will not come again."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._last: dict[str, Embedded] = {}
        self._used: dict[str, Embedded] = {}
        self._keeping = False

    def open(self, size: int) -> None:
        """Nothing is kept of more than `limit` bytes."""
        self._keeping = size <= self.limit

    def get(self, key: str) -> Embedded | None:
        """What this or the last evaluation used."""
        found = self._last.get(key)
        if found is not None:
            self._used[key] = found
        return found

    def put(self, key: str, embedded: Embedded) -> None:
        """Keep it for the next evaluation."""
        if self._keeping:
            self._used[key] = embedded

    def close(self) -> None:
        """Forget what was not used."""
        self._last, self._used = self._used, {}


def embed(
    encoder: Encoder,
    parts: Sequence[TokenIds],
    *,
    token_budget: int,
    precision: Precision = "fp32",
    advance: Advance | None = None,
    store: Store | None = None,
) -> tuple[list[Tensor], float]:
    """Of each part the embeddings, in the texts' order, on the CPU, fp32, not normalised; and the seconds of encoding.

    With a store, only what it has not is encoded; the seconds are those that it took when it was done. The last bits of
    an embedding depend on the batch that it is computed in. So whole batches are found again, never single texts, and
    the result is that of encoding anew to the last bit.
    """
    fingerprint = encoder_fingerprint(encoder, precision) if store else ""
    if store:
        store.open(4 * sum(map(len, parts)) * encoder.width)
    embeddings: list[Tensor] = []
    seconds = 0.0
    for ids in parts:
        values_ND = torch.empty(0)
        for texts in stable_batches(ids, token_budget):
            batch = [ids[text] for text in texts]
            key = _key(fingerprint, batch) if store else ""
            found = store.get(key) if store else None
            if found is None:
                found = _encode(encoder, batch, token_budget, precision)
                if store:
                    store.put(key, found)
            if not len(values_ND):
                values_ND = found.values_SD.new_empty(len(ids), encoder.width)
            values_ND[texts] = found.values_SD
            seconds += found.seconds
            if advance:
                advance(sum(map(len, batch)))
        embeddings.append(values_ND)
    if store:
        store.close()
    return embeddings, seconds


def _encode(encoder: Encoder, batch: list[list[int]], token_budget: int, precision: Precision) -> Embedded:
    start = time.perf_counter()
    values_SD = encoder.encode_ids(batch, token_budget=token_budget, precision=precision)
    return Embedded(values_SD, time.perf_counter() - start)


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
        opens = hashes[text] % max(1, token_budget // lengths[text]) == 0
        if batch and (opens or tokens + lengths[text] > token_budget):
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += lengths[text]
    if batch:
        yield batch


def _key(fingerprint: str, batch: list[list[int]]) -> str:
    return xxhash.xxh3_128(repr((fingerprint, batch)).encode()).hexdigest()
