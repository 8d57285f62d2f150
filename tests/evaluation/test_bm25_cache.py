"""BM25's hits kept on disk: the same as searched, and only for equal texts and settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from matryoshka.evaluation.bm25 import BM25, Index
from matryoshka.evaluation.bm25_cache import CachedSearch

DOCUMENTS = ["Die Seitenzahl einfügen.", "Eine Tabelle löschen.", "Seitenzahl und Tabelle drucken."]
QUERIES = ["Wie füge ich eine Seitenzahl ein?", "Wo lösche ich Tabellen?"]


def test_what_is_kept_is_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = BM25().search(QUERIES, DOCUMENTS, 2)
    first = CachedSearch(BM25(), DOCUMENTS, tmp_path).search(QUERIES, 2)
    monkeypatch.setattr(Index, "search", None)  # from here on nothing can be searched
    again = CachedSearch(BM25(), DOCUMENTS, tmp_path).search(QUERIES, 2)
    for hits in (first, again):
        assert torch.equal(hits.documents_Qk, found.documents_Qk)
        assert torch.equal(hits.similarities_Qk, found.similarities_Qk)


@pytest.mark.parametrize(
    ("bm25", "documents", "queries", "k"),
    [
        (BM25(k1=1.2), DOCUMENTS, QUERIES, 2),
        (BM25(b=0.5), DOCUMENTS, QUERIES, 2),
        (BM25("english"), DOCUMENTS, QUERIES, 2),
        (BM25(), DOCUMENTS[::-1], QUERIES, 2),
        (BM25(), DOCUMENTS, QUERIES[:1], 2),
        (BM25(), [QUERIES[1], *DOCUMENTS], QUERIES[:1], 2),
        (BM25(), DOCUMENTS, QUERIES, 3),
    ],
)
def test_anything_else_is_searched(
    tmp_path: Path, bm25: BM25, documents: list[str], queries: list[str], k: int
) -> None:
    CachedSearch(BM25(), DOCUMENTS, tmp_path).search(QUERIES, 2)
    hits = CachedSearch(bm25, documents, tmp_path).search(queries, k)
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.equal(hits.documents_Qk, bm25.search(queries, documents, k).documents_Qk)


def test_a_broken_file_is_searched_anew(tmp_path: Path) -> None:
    search = CachedSearch(BM25(), DOCUMENTS, tmp_path)
    found = search.search(QUERIES, 2)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:20])
    assert torch.equal(search.search(QUERIES, 2).documents_Qk, found.documents_Qk)
    assert torch.equal(search.search(QUERIES, 2).documents_Qk, found.documents_Qk)
