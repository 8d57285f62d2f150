"""The rankings of an evaluation as files: Parquet for pandas, TREC for trec_eval and its kin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from matryoshka.evaluation.protocols import Ranking, Rankings
from matryoshka.evaluation.result import NO_DIM
from matryoshka.storage.atomic import write_atomically

Protocol = tuple[str, int, Ranking]
BREAKING = re.compile(r"[\s%]")  # in an id: whitespace ends a TREC column; a percent sign, so that it can be undone


def write_rankings(folder: Path, rankings: Rankings) -> dict[str, Path]:
    """queries, hits and texts as .parquet, qrels.txt and a run a dim as .txt; returns the paths by their stems.

    A run is as is, every id a document. The merged protocol is only in the Parquet files, and only where there are
    copies; else it would say the same again. Columns and formats: docs/rankings.md.
    """
    protocols = [("as_is", dim, rankings.as_is[dim]) for dim in sorted(rankings.as_is, reverse=True)]
    copies = rankings.copy_of_N.numpy() != np.arange(len(rankings.document_ids))
    if copies.any():
        protocols += [("merged", dim, rankings.merged[dim]) for dim in sorted(rankings.merged, reverse=True)]
    tables = {
        "queries": _queries(rankings, protocols),
        "hits": _hits(rankings, protocols),
        "texts": _texts(rankings, protocols),
    }
    written = {name: _write_parquet(folder / f"{name}.parquet", table) for name, table in tables.items()}
    written["qrels"] = write_atomically(folder / "qrels.txt", _qrels(rankings))
    for dim, ranking in rankings.as_is.items():
        name = "run" if dim == NO_DIM else f"run_dim_{dim}"
        written[name] = write_atomically(folder / f"{name}.txt", _run(rankings, ranking, name))
    return written


def strictly_decreasing(similarities_Qk: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each row, which does not increase, with ties lowered by the smallest steps that fp32 has; -inf stays where it is.

    trec_eval reads scores as 32-bit floats and sorts tied ones by id, descending; so no two may be equal.
    """
    bits = similarities_Qk.view(np.int32).astype(np.int64)
    steps_Qk = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # neighbours in fp32 are neighbours here
    places_k = np.arange(similarities_Qk.shape[1])
    steps_Qk = np.minimum.accumulate(steps_Qk + places_k, axis=1) - places_k
    bits = np.where(steps_Qk < 0, -steps_Qk | 0x80000000, steps_Qk)
    lowered: npt.NDArray[np.float32] = bits.astype(np.uint32).view(np.float32)
    return np.where(np.isneginf(similarities_Qk), similarities_Qk, lowered)


def _queries(rankings: Rankings, protocols: Sequence[Protocol]) -> pyarrow.Table:
    queries, clusters = pyarrow.array(rankings.query_ids), rankings.clusters_Q.numpy().astype(np.int32)
    parts = [
        pyarrow.table(
            {
                **_columns(name, dim, len(queries)),
                "query": queries,
                "cluster": clusters,
                "first_hit": ranking.first_hit_Q.numpy().astype(np.int32),
                **{metric: value_Q.numpy() for metric, value_Q in ranking.values.items()},
            }
        )
        for name, dim, ranking in protocols
    ]
    table = pyarrow.concat_tables(parts)
    return table.select(["query", *(column for column in table.column_names if column != "query")])


def _hits(rankings: Rankings, protocols: Sequence[Protocol]) -> pyarrow.Table:
    queries, documents = pyarrow.array(rankings.query_ids), pyarrow.array(rankings.document_ids)
    parts = []
    for name, dim, ranking in protocols:
        query_H, rank_H = (ranking.documents_Qk.numpy() >= 0).nonzero()
        parts.append(
            pyarrow.table(
                {
                    "query": queries.take(pyarrow.array(query_H)),
                    **_columns(name, dim, len(query_H)),
                    "rank": (rank_H + 1).astype(np.int32),
                    "document": documents.take(pyarrow.array(ranking.documents_Qk.numpy()[query_H, rank_H])),
                    "similarity": ranking.similarities_Qk.numpy()[query_H, rank_H],
                    "relevant": ranking.relevant_Qk.numpy()[query_H, rank_H],
                }
            )
        )
    return pyarrow.concat_tables(parts)


def _columns(name: str, dim: int, rows: int) -> dict[str, Any]:
    return {"dim": np.full(rows, dim, np.int32), "protocol": pyarrow.repeat(name, rows)}


def _texts(rankings: Rankings, protocols: Sequence[Protocol]) -> pyarrow.Table:
    """All queries, and the documents that are a hit or an answer."""
    data = rankings.data
    found = np.unique(np.concatenate([ranking.documents_Qk.numpy().ravel() for _, _, ranking in protocols]))
    documents = {rankings.document_ids[row] for row in found[found >= 0]}
    documents |= {document for query in rankings.query_ids for document in data.grades[query]}
    rows = [("query", query, data.queries[query]) for query in rankings.query_ids]
    rows += [("document", document, data.corpus[document]) for document in sorted(documents)]
    return pyarrow.table(dict(zip(("kind", "id", "text"), map(list, zip(*rows, strict=True)), strict=True)))


def _write_parquet(path: Path, table: pyarrow.Table) -> Path:
    content = BytesIO()
    pyarrow.parquet.write_table(table, content, compression="zstd")
    return write_atomically(path, content.getvalue())


def _qrels(rankings: Rankings) -> str:
    return "".join(
        f"{trec_id(query)} 0 {trec_id(document)} {grade}\n"
        for query in rankings.query_ids
        for document, grade in sorted(rankings.data.grades[query].items())
    )


def _run(rankings: Rankings, ranking: Ranking, tag: str) -> str:
    queries, documents = (pyarrow.array(map(trec_id, ids)) for ids in (rankings.query_ids, rankings.document_ids))
    documents_Qk = ranking.documents_Qk.numpy()
    query_H, rank_H = (documents_Qk >= 0).nonzero()
    scores_H = strictly_decreasing(ranking.similarities_Qk.numpy())[query_H, rank_H]
    lines = pyarrow.compute.binary_join_element_wise(
        queries.take(pyarrow.array(query_H)),
        "Q0",
        documents.take(pyarrow.array(documents_Qk[query_H, rank_H])),
        pyarrow.array(rank_H + 1).cast(pyarrow.string()),
        pyarrow.array(scores_H.astype(np.float64)).cast(pyarrow.string()),  # with all digits, for readers in fp64
        f"{tag}\n",
        " ",
    )
    return "".join(lines.to_pylist())


def trec_id(name: str) -> str:
    """An id without whitespace: that, and the percent sign, as URLs write them; urllib.parse.unquote undoes it."""
    return BREAKING.sub(lambda found: quote(found[0]), name)
