"""Embeddings that were computed before, under equal weights, are not computed again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from matryoshka.data.packing import stable_batches
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Encoder, Precision
from matryoshka.encoder.progress import Advance
from matryoshka.evaluation.equal_embeddings import require_different
from matryoshka.evaluation.fingerprint import encoder_fingerprint
from matryoshka.evaluation.mapped_rows import mapped_zeros
from matryoshka.evaluation.text_batch import TextBatch
from matryoshka.processes.together import add_up, from_first, is_first, processes, rank
from matryoshka.storage.cache import LIMIT, cache_folder, keep, mark_used, remove_oldest

ROWS = 65_536  # embeddings that go through the dense layers at once


@dataclass(frozen=True)
class Embedded:
    """Embeddings of a batch, and the seconds that encoding took when it was done."""

    values_SD: Tensor
    seconds: float


class OnDisk:
    """A file a batch, found by other runs. The files used longest ago go when all take more than `limit` bytes."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        self.folder = folder or cache_folder() / "embeddings"
        self.limit = limit
        self._keeping = False

    def open(self, size: int, fingerprint: str) -> None:
        """Told the bytes of all embeddings: of more than fits nothing is kept, for it would only push itself out."""
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
        """Write the batch's file; the first that cannot be written is the last that is tried."""
        if self._keeping:
            content = save({"embeddings": embedded.values_SD}, {"seconds": repr(embedded.seconds)})
            self._keeping = keep(self.folder / f"{key}.safetensors", content)

    def close(self) -> None:
        """Remove the files used longest ago."""
        remove_oldest(self.folder, self.limit)


class InMemory:
    """Embeddings of one encoder, at most `limit` bytes: weights in training do not come again once they changed."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self._fingerprint = ""
        self._kept: dict[str, Embedded] = {}
        self._size = 0

    def open(self, size: int, fingerprint: str) -> None:
        """Forget what other weights gave."""
        if fingerprint != self._fingerprint:
            self._fingerprint, self._kept, self._size = fingerprint, {}, 0

    def get(self, key: str) -> Embedded | None:
        """What an evaluation since these weights are used has put; None if nothing is."""
        return self._kept.get(key)

    def put(self, key: str, embedded: Embedded) -> None:
        """Keep it as long as these weights are used, if it fits."""
        if self._size + embedded.values_SD.nbytes <= self.limit:
            self._kept[key] = embedded
            self._size += embedded.values_SD.nbytes

    def close(self) -> None:
        """Nothing to do: what fits stays."""


Store = OnDisk | InMemory  # where embeddings of batches are kept under the batch's key


def embed(
    encoder: Encoder,
    parts: Sequence[TokenIds],
    *,
    token_budget: int,
    precision: Precision = "fp32",
    advance: Advance | None = None,
    store: Store | None = None,
    mapped: bool = False,
    may_be_equal: bool = False,
) -> tuple[list[Tensor], float]:
    """Of each part the embeddings, in the texts' order, on the CPU, fp32, not normalised; and the seconds of encoding.

    What is kept is what the pooling gave: another projection behind it encodes nothing again. With a store, only what
    it has not is encoded; the seconds are those that it took when it was done, of a batch its share of the whole by
    tokens. The last bits of an embedding depend on the batch that it is computed in. So whole batches are found again,
    never single texts, and the result is that of encoding anew to the last bit. So it is of several processes, which
    encode every other batch each and all have the result; the store is the first one's.
    mapped: whether they are in a file, mapped into memory. Raises ValueError for a text of no tokens, UserError for an
    encoder that gives different texts one embedding, unless they may_be_equal.
    """
    fingerprint = encoder_fingerprint(encoder, precision) if store and is_first() else None
    store = store if fingerprint else None  # what cannot be told apart is not kept
    if store and fingerprint:
        store.open(4 * sum(map(len, parts)) * encoder.pooled_width, fingerprint)
    # Zeros, for a row is filled in by one process and the others' are added to it.
    zeros = mapped_zeros if mapped and processes() == 1 else torch.zeros
    embeddings = [zeros(len(ids), encoder.pooled_width) for ids in parts]
    batches = [
        TextBatch(ids, texts, values_ND)
        for ids, values_ND in zip(parts, embeddings, strict=True)
        for texts in stable_batches(ids, token_budget)
    ]
    seconds = 0.0
    missing: list[int] = []
    for number, batch in enumerate(batches):
        found = store.get(batch.key(fingerprint)) if store else None
        if found is None:
            missing.append(number)
            continue
        batch.values_ND[batch.texts] = found.values_SD
        seconds += found.seconds
        if advance:
            advance(batch.tokens)
    to_encode = [batches[number] for number in from_first(lambda: missing)]
    for batch, share in _encode(encoder, to_encode, embeddings, precision, advance):
        seconds += share
        if store:
            store.put(batch.key(fingerprint), Embedded(batch.values_ND[batch.texts], share))
    if store:
        store.close()
    embeddings = [behind_pooling(encoder, pooled_ND) for pooled_ND in embeddings]
    for ids, embeddings_ND in zip(parts, embeddings, strict=True) if not may_be_equal else ():
        require_different(encoder, ids, embeddings_ND, precision)
    return embeddings, from_first(lambda: seconds)


@torch.inference_mode()
def behind_pooling(encoder: Encoder, pooled_ND: Tensor) -> Tensor:
    """The dense layers of embeddings that have only been pooled."""
    if not len(encoder.dense):
        return pooled_ND
    return torch.cat([encoder.dense(rows_SD.to(encoder.device)).cpu() for rows_SD in pooled_ND.split(ROWS)])


def _encode(
    encoder: Encoder,
    batches: Sequence[TextBatch],
    embeddings: Sequence[Tensor],
    precision: Precision,
    advance: Advance | None,
) -> list[tuple[TextBatch, float]]:
    """Fill in the embeddings in one pass; of each batch its share of the pass's seconds, by tokens."""
    tokens = sum(batch.tokens for batch in batches)
    start = time.perf_counter()
    own = batches[rank() :: processes()]
    for batch, values_SD in encoder.encode_batches(((batch, batch.packed()) for batch in own), precision, pooled=True):
        batch.values_ND[batch.texts] = values_SD
        if advance:
            advance(batch.tokens * processes())  # the others are about as far
    for values_ND in embeddings:
        add_up(values_ND)
    seconds = time.perf_counter() - start
    return [(batch, seconds * batch.tokens / tokens) for batch in batches]
