"""Retrieval metrics and the order of hits against sentence-transformers' InformationRetrievalEvaluator itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from matryoshka.errors import DataError
from tests.parity.conftest import Parity
from tests.parity.prepared import (
    ALLOWED,
    DEPTH,
    THEIRS,
    Case,
    case,
    compare,
    evaluator_of_all,
    our_order,
    their_evaluator,
    their_metrics_and_order,
)

AREA = "Metrics"
DIMS = (64, 16, 4)  # signs have lengths of 8, 4 and 2 there, so that their cosines are exact
SEEDS = range(6)


def draw(seed: int, *shape: int) -> Tensor:
    """In fp64: the sides round differently, and in fp32 documents within rounding of each other may change places."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_signs(seed: int, *shape: int) -> Tensor:
    """In fp32: products and lengths of signs are small integers, so what is tied is tied exactly on both sides."""
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(seed)).float() * 2 - 1


def some_relevant(seed: int, queries: int, documents: int, most: int) -> Tensor:
    """(Q, N) of bool: for each query between 1 and `most` documents at random."""
    generator = torch.Generator().manual_seed(seed)
    places_QN = torch.rand(queries, documents, generator=generator).argsort(1).argsort(1)
    return places_QN < torch.randint(1, most + 1, (queries, 1), generator=generator)


def random_case(seed: int, documents: int = 200, most: int = 1) -> Case:
    relevant_QN = some_relevant(seed, 30, documents, most)
    return case(draw(seed, 30, 64), draw(seed + 1000, documents, 64), relevant_QN, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_rankings(parity: Parity, tmp_path: Path, seed: int) -> None:
    compare(parity, random_case(seed), "random rankings", tmp_path, DIMS)


@pytest.mark.parametrize("seed", SEEDS)
def test_queries_with_several_relevant_documents(parity: Parity, tmp_path: Path, seed: int) -> None:
    """Up to 120: more than most k."""
    given = random_case(seed, most=120)

    assert any(len(documents) > DEPTH for documents in given.relevant.values())
    compare(parity, given, "up to 120 relevant documents a query", tmp_path, DIMS)


@pytest.mark.parametrize("chunk", [1, 7, 99, 200])
@pytest.mark.parametrize("seed", SEEDS)
def test_ties(parity: Parity, tmp_path: Path, seed: int, chunk: int) -> None:
    """Among 200 documents there are 16 different ones at the narrowest dim, and 33 similarities at the widest."""
    documents_ND = draw_signs(seed + 1000, 200, 64)
    documents_ND[150:] = documents_ND[:50]  # copies
    documents_ND *= torch.tensor([1.0, 2.0, 0.5, 4.0]).repeat(50)[:, None]  # one direction, several lengths
    given = case(draw_signs(seed, 30, 64), documents_ND, some_relevant(seed, 30, 200, 9), seed)

    compare(parity, given, "ties, their corpus in chunks", tmp_path, DIMS, chunk)


@pytest.mark.parametrize("chunk", [1, 3, 100, 199])
def test_the_size_of_their_chunks(parity: Parity, tmp_path: Path, chunk: int) -> None:
    compare(parity, random_case(0, most=5), "their corpus in chunks", tmp_path, DIMS, chunk)


def test_queries_without_a_relevant_document_do_not_count(parity: Parity, tmp_path: Path) -> None:
    given = random_case(0, most=5)
    relevant = {query: documents for query, documents in given.relevant.items() if query not in ("q0", "q7")}
    given = replace(given, relevant=relevant | {"q3": set(), "q29": set()})

    counted = their_evaluator(given.queries, given.corpus, given.relevant).queries_ids
    parity.equal("queries that count", THEIRS, list(given.data.queries), counted)
    assert len(given.data.queries) == 26
    compare(parity, given, "queries without a relevant document", tmp_path, DIMS)


@pytest.mark.parametrize("seed", SEEDS)
def test_relevant_documents_beyond_the_hits_looked_at(parity: Parity, tmp_path: Path, seed: int) -> None:
    """The opposite of a query comes last at every dim: of some queries some answers are found, of others none."""
    queries_QD = draw(seed, 30, 64)
    documents_ND = torch.cat([draw(seed + 1000, 170, 64), -queries_QD])
    relevant_QN = torch.cat([some_relevant(seed, 30, 170, 3), torch.eye(30, dtype=torch.bool)], 1)
    relevant_QN[::2, :170] = False
    given = case(queries_QD, documents_ND, relevant_QN, seed)

    for hits in our_order(given, DIMS).values():
        found = [given.relevant[query] & set(ids) for query, ids in zip(given.queries, hits, strict=True)]
        assert not any(found[::2]) and any(found)
        assert all(given.relevant[query] - got for query, got in zip(given.queries, found, strict=True))
    compare(parity, given, "relevant documents that are not found", tmp_path, DIMS)


@pytest.mark.parametrize("documents", [1, 2, 4, 60])
def test_fewer_documents_than_k(parity: Parity, tmp_path: Path, documents: int) -> None:
    given = random_case(documents, documents=documents, most=min(documents, 9))
    compare(parity, given, "k beyond the corpus", tmp_path, DIMS)


def test_relevant_documents_that_are_not_in_the_corpus(parity: Parity, tmp_path: Path) -> None:
    """Theirs counts them as never found. Our metrics do the same when told so, but our RetrievalSet refuses them.

    It is deliberate: such an id is nearly always a slip (qrels of another split, ids as numbers here and as text
    there), and recall, ndcg and map would be too low without a word.
    """
    given = random_case(0, most=5)
    missing = {f"q{row}": {f"elsewhere-{i}" for i in range(row % 4)} for row in range(30)}
    told = replace(given, relevant={query: given.relevant[query] | missing[query] for query in given.queries})
    told = replace(told, relevant=dict(told.relevant) | {"q5": missing["q5"]})  # nothing else is relevant
    with pytest.raises(DataError, match="which is not in the corpus"):
        _ = told.data

    order = our_order(given, DIMS)
    for dim in DIMS:
        hits_of_query = zip(given.queries, order[dim], strict=True)
        relevant_Qk = torch.tensor([[hit in told.relevant[query] for hit in hits] for query, hits in hits_of_query])
        all_QR = pad_sequence([torch.ones(len(told.relevant[query])) for query in given.queries], batch_first=True)
        metrics = evaluator_of_all().metrics
        for metric in metrics.values():
            metric.update(relevant_Qk, all_QR)
        theirs, _ = their_metrics_and_order(told, dim, tmp_path)
        ours = [float(metric.compute()) for metric in metrics.values()]
        item = f"all metrics, k = 1 to 100, {given.precision}: relevant ids that no document has"
        parity.within(item, THEIRS, ours, [theirs[name] for name in metrics], ALLOWED)
