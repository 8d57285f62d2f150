"""Files of rankings: read back by pandas' and trec_eval's readers they say what the rankings say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import pytrec_eval
import torch

from matryoshka.evaluation.protocols import Ranking, Rankings
from matryoshka.evaluation.result import NO_DIM
from matryoshka.report.rankings import strictly_decreasing, trec_id, write_rankings
from tests.evaluation.planted import planted

DIMS = (64, 16)
MEASURES = {"map@100": "map_cut_100", "ndcg@10": "ndcg_cut_10", "recall@10": "recall_10", "precision@10": "P_10"}


@pytest.fixture(scope="module")
def rankings() -> Rankings:
    return planted(30, 160, DIMS, copies=40)


@pytest.fixture(scope="module")
def written(rankings: Rankings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_rankings(tmp_path_factory.mktemp("run") / "rankings", rankings)


def test_names_of_the_files(written: dict[str, Path]) -> None:
    assert {stem: path.name for stem, path in written.items()} == {
        "queries": "queries.parquet",
        "hits": "hits.parquet",
        "texts": "texts.parquet",
        "qrels": "qrels.txt",
        "run_dim_64": "run_dim_64.txt",
        "run_dim_16": "run_dim_16.txt",
    }
    assert {path.name for path in written["qrels"].parent.iterdir()} == {path.name for path in written.values()}


def obvious_rows(rankings: Rankings) -> list[dict[str, Any]]:
    """A row a hit, in a plain loop."""
    return [
        {
            "query": query,
            "dim": dim,
            "protocol": name,
            "rank": rank,
            "document": rankings.document_ids[row],
            "similarity": float(of[dim].similarities_Qk[i, rank - 1]),
            "relevant": bool(of[dim].relevant_Qk[i, rank - 1]),
        }
        for name, of in (("as_is", rankings.as_is), ("merged", rankings.merged))
        for dim in DIMS
        for i, query in enumerate(rankings.query_ids)
        for rank, row in enumerate(of[dim].documents_Qk[i].tolist(), 1)
        if row >= 0
    ]


def test_hits_have_a_row_each(rankings: Rankings, written: dict[str, Path]) -> None:
    expected = pd.DataFrame(obvious_rows(rankings))
    expected = expected.astype({"dim": "int32", "rank": "int32", "similarity": "float32"})
    pd.testing.assert_frame_equal(pd.read_parquet(written["hits"]), expected)


def test_queries_have_a_row_a_dim_and_protocol(rankings: Rankings, written: dict[str, Path]) -> None:
    frame = pd.read_parquet(written["queries"])
    assert list(frame)[:5] == ["query", "dim", "protocol", "cluster", "first_hit"]
    assert list(frame)[5:] == list(rankings.as_is[64].values)
    assert {str(frame[name].dtype) for name in ("dim", "cluster", "first_hit")} == {"int32"}
    for name, of in (("as_is", rankings.as_is), ("merged", rankings.merged)):
        for dim in DIMS:
            part = frame[(frame["protocol"] == name) & (frame["dim"] == dim)]
            assert part["query"].tolist() == rankings.query_ids
            assert part["cluster"].tolist() == rankings.clusters_Q.tolist()
            assert part["first_hit"].tolist() == of[dim].first_hit_Q.tolist()
            for metric, value_Q in of[dim].values.items():
                assert part[metric].tolist() == value_Q.tolist()
    assert len(frame) == 2 * len(DIMS) * len(rankings.query_ids)


def test_texts_are_those_of_queries_hits_and_answers(rankings: Rankings, written: dict[str, Path]) -> None:
    frame, data = pd.read_parquet(written["texts"]), rankings.data
    texts = {kind: dict(zip(part["id"], part["text"], strict=True)) for kind, part in frame.groupby("kind")}
    shown = set(pd.read_parquet(written["hits"])["document"]) | set().union(*data.relevant.values())
    assert list(frame) == ["kind", "id", "text"]
    assert texts == {"query": data.queries, "document": {name: data.corpus[name] for name in shown}}
    few = replace(rankings, as_is={64: first(rankings.as_is[64], 1)}, merged={64: first(rankings.merged[64], 1)})
    frame = pd.read_parquet(write_rankings(written["texts"].parent / "few", few)["texts"])
    assert len(frame) < len(data.queries) + len(data.corpus)


def first(ranking: Ranking, k: int) -> Ranking:
    """The same, cut to k hits."""
    hits = (ranking.documents_Qk[:, :k], ranking.similarities_Qk[:, :k], ranking.relevant_Qk[:, :k])
    return Ranking(*hits, ranking.first_hit_Q, ranking.values)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_trec_eval_reads_the_order_and_the_grades_that_we_measured(
    rankings: Rankings, written: dict[str, Path], tmp_path: Path, dim: int, seed: int | None
) -> None:
    """Of binary judgements without a seed, else of graded ones."""
    if seed is not None:
        rankings = planted(30, 160, [dim], copies=40, seed=seed, graded=True)
        written = write_rankings(tmp_path, rankings)
        assert {line.rpartition(" ")[2] for line in written["qrels"].read_text().splitlines()} == {"1", "2", "3"}
    ranking = rankings.as_is[dim]
    assert (
        ranking.similarities_Qk.diff(dim=1) == 0
    ).float().mean() > 0.9  # trec_eval would order ties by id, descending
    with written["qrels"].open() as file:
        qrels = pytrec_eval.parse_qrel(file)
    with written[f"run_dim_{dim}"].open() as file:
        run = pytrec_eval.parse_run(file)
    assert {unquote(query) for query in run} == set(rankings.query_ids)
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {*MEASURES.values(), "recip_rank"}).evaluate(run)
    assert len(theirs) == len(rankings.query_ids)
    for row, query in enumerate(rankings.query_ids):
        of_query = theirs[trec_id(query)]
        for ours, measure in MEASURES.items():
            assert of_query[measure] == pytest.approx(float(ranking.values[ours][row]), abs=1e-6), measure
        rank = int(ranking.first_hit_Q[row])
        assert of_query["recip_rank"] == pytest.approx(1 / rank if rank else 0, abs=1e-6)


def test_lines_are_trec_lines_in_the_order_of_ranks(rankings: Rankings, written: dict[str, Path]) -> None:
    lines = [line.split(" ") for line in written["run_dim_16"].read_text(encoding="utf-8").splitlines()]
    expected = [row for row in obvious_rows(rankings) if row["dim"] == 16 and row["protocol"] == "as_is"]
    assert {len(line) for line in lines} == {6}
    assert [(unquote(q), zero, unquote(d), rank, tag) for q, zero, d, rank, _, tag in lines] == [
        (row["query"], "Q0", row["document"], str(row["rank"]), "run_dim_16") for row in expected
    ]
    scores = np.array([float(line[4]) for line in lines])
    np.testing.assert_allclose(scores, [row["similarity"] for row in expected], atol=2e-5)
    of_query = scores.reshape(len(rankings.query_ids), -1)
    assert (np.diff(of_query) < 0).all() and (np.diff(of_query.astype(np.float32)) < 0).all()
    judged = [line.split(" ") for line in written["qrels"].read_text(encoding="utf-8").splitlines()]
    assert {(unquote(q), unquote(d)) for q, zero, d, one in judged if (zero, one) == ("0", "1")} == {
        (query, document) for query, answers in rankings.data.relevant.items() for document in answers
    }


def obvious_steps(row: list[float]) -> list[float]:
    """Each score below the one before it, by one step of fp32 where it is not yet."""
    lowered: list[np.float32] = []
    for score in np.array(row, np.float32):
        below = np.nextafter(lowered[-1], np.float32(-np.inf)) if lowered else score
        lowered.append(min(score, below))
    return [float(score) for score in lowered]


def test_ties_are_lowered_by_the_smallest_steps() -> None:
    tiny = float(np.finfo(np.float32).smallest_subnormal)
    rows = [
        [1.0, 1.0, 1.0, 1 - 2**-24, 0.5, 0.5],
        [0.5, 0.0, 0.0, -0.0, -tiny, -1.0],
        [tiny, tiny, tiny, tiny, -0.25, -0.25],
        [-1.0, -1.0, -1.0, -1.0, -1.0, -1.0],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.4],
    ]
    lowered = strictly_decreasing(np.array(rows, np.float32))
    assert lowered.tolist() == [obvious_steps(row) for row in rows]
    missing = strictly_decreasing(np.array([[3.0, 3.0, -np.inf, -np.inf]], np.float32))
    assert missing.tolist() == [[3.0, float(np.nextafter(np.float32(3), np.float32(0))), -np.inf, -np.inf]]


@pytest.mark.parametrize("name", ["a b", "50%", "a%20b", "tab\there", "line\n", "\u2028", " ", "§ 5", "plain"])
def test_ids_are_one_column_and_can_be_undone(name: str) -> None:
    assert trec_id(name).split() == [trec_id(name)]
    assert unquote(trec_id(name)) == name


def test_a_ranking_without_dims_and_with_few_hits(tmp_path: Path) -> None:
    rankings = planted(4, 20, [64], depth=20)
    ranking = rankings.as_is[64]
    ranking.documents_Qk[1, 3:], ranking.similarities_Qk[1, 3:] = -1, -torch.inf
    ranking.documents_Qk[2], ranking.similarities_Qk[2] = -1, -torch.inf
    rankings = replace(rankings, as_is={NO_DIM: ranking}, merged={NO_DIM: rankings.merged[64]})
    written = write_rankings(tmp_path, rankings)
    assert "run" in written
    lines = written["run"].read_text(encoding="utf-8").splitlines()
    frame = pd.read_parquet(written["hits"])
    assert len(lines) == len(frame) == 20 + 3 + 0 + 20
    assert not any("inf" in line for line in lines)
    assert set(frame["protocol"]) == set(pd.read_parquet(written["queries"])["protocol"]) == {"as_is"}  # no copies
    assert set(frame["dim"]) == {NO_DIM}


def test_parquet_is_zstd_with_plain_types(written: dict[str, Path]) -> None:
    file = pyarrow.parquet.ParquetFile(written["hits"])
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert types == {
        "query": "string",
        "dim": "int32",
        "protocol": "string",
        "rank": "int32",
        "document": "string",
        "similarity": "float",
        "relevant": "bool",
    }
