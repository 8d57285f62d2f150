"""What BM25 found before is not searched again: the jobs of a sweep, and every later run, share it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save

import matryoshka
from matryoshka.evaluation.bm25 import BM25, Index
from matryoshka.evaluation.nearest import Hits
from matryoshka.storage.cache import cache_folder, keep, mark_used, remove_oldest


class CachedSearch:
    """BM25 over documents, its hits kept by the content of all texts, the settings and the versions of the libraries.

    folder: where; None: the cache folder.
    """

    def __init__(self, bm25: BM25, documents: Sequence[str], folder: Path | None = None) -> None:
        self.bm25 = bm25
        self.documents = documents
        self.folder = folder or cache_folder() / "bm25"

    @cached_property
    def index(self) -> Index:
        """The documents, indexed when they are first searched."""
        return self.bm25.index(self.documents)

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """As BM25.search, from the cache where it was asked before."""
        path = self.folder / f"{self._key(queries, k)}.safetensors"
        try:
            kept = load_file(path)
            hits = Hits(kept["documents"], kept["scores"])
            mark_used(path)
        except (OSError, SafetensorError, KeyError):
            hits = self.index.search(queries, k)
            keep(path, save({"documents": hits.documents_Qk, "scores": hits.similarities_Qk}))
            remove_oldest(self.folder, spare=path)
        return hits

    def _key(self, queries: Sequence[str], k: int) -> str:
        settings = (self.bm25.language, self.bm25.k1, self.bm25.b, k, len(queries))
        versions = (matryoshka.__version__, version("bm25s"), version("PyStemmer"))
        digest = xxhash.xxh3_128(repr((settings, versions)).encode())
        for text in (*queries, *self.documents):
            encoded = text.encode(errors="surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
        return digest.hexdigest()
