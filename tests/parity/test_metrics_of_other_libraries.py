"""Retrieval metrics against torchmetrics' and trec_eval's, which rank by the similarities that our search found."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import pytrec_eval
import torch
from torch import Tensor
from torchmetrics.retrieval import (
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
)

from matryoshka.evaluation import metrics
from matryoshka.evaluation.judgements import Judgements
from matryoshka.evaluation.nearest import search
from tests.parity.conftest import Parity, release
from tests.parity.prepared import RANKS, case

AREA = "Metrics"
TORCHMETRICS = release("torchmetrics")
TREC = f"trec_eval, {release('pytrec-eval-terrier')}"
SEEDS = range(6)
QUERIES, DOCUMENTS = 25, 80
SAME = {
    "accuracy": (metrics.Accuracy, RetrievalHitRate, "success"),
    "precision": (metrics.Precision, RetrievalPrecision, "P"),
    "recall": (metrics.Recall, RetrievalRecall, "recall"),
    "ndcg": (metrics.NDCG, RetrievalNormalizedDCG, "ndcg_cut"),
}


@dataclass(frozen=True)
class Ranking:
    """Ours: grades in the order of our search, all_QR. Theirs: similarity and judgement of every document."""

    grade_QN: Tensor
    all_QR: Tensor
    similarity_QN: Tensor
    judged_QN: Tensor

    @property
    def relevant_QN(self) -> Tensor:
        """Which hits are relevant."""
        return self.grade_QN > 0

    @property
    def total_Q(self) -> Tensor:
        """How many documents are relevant."""
        return metrics.total(self.all_QR)


def ranking(seed: int, highest: int = 1) -> Ranking:
    """A whole corpus ranked for each query, without ties and with cosines above 0; up to 40 relevant documents each.

    Every second query is near its answers. With ties the order of torchmetrics is open, and that of trec_eval is by
    id, descending. A hit whose similarity is not above 0 is none to torchmetrics. highest: of the grades.
    """
    generator = torch.Generator().manual_seed(seed)
    documents_ND = 2 + torch.randn(DOCUMENTS, 32, generator=generator)
    places_QN = torch.rand(QUERIES, DOCUMENTS, generator=generator).argsort(1).argsort(1)
    judged_QN = places_QN < torch.tensor([1, 2, 4, 9, 40]).repeat(QUERIES // 5)[:, None]
    queries_QD = 2 + torch.randn(QUERIES, 32, generator=generator)
    queries_QD[::2] += 2 * (judged_QN[::2].float() @ documents_ND) / judged_QN[::2].sum(1, keepdim=True)
    given = case(queries_QD, documents_ND, judged_QN)
    graded_QN = judged_QN * torch.randint(1, highest + 1, judged_QN.shape, generator=generator)
    documents = list(given.corpus)
    data = replace(
        given.data,
        relevant={
            query: dict(zip(documents, graded_N.tolist(), strict=True))
            for query, graded_N in zip(given.queries, graded_QN, strict=True)
        },
    )

    hits = search(queries_QD, documents_ND, [32], DOCUMENTS)[32]
    assert (hits.similarities_Qk > 0).all()
    assert (hits.similarities_Qk.diff(dim=1) < 0).all()
    judgements = Judgements(data, list(given.queries), documents)
    grade_QN = judgements.grades(hits.documents_Qk, torch.arange(QUERIES), merged=False)
    similarity_QN = torch.empty(QUERIES, DOCUMENTS).scatter(1, hits.documents_Qk, hits.similarities_Qk)
    return Ranking(grade_QN, judgements.all_grades(merged=False), similarity_QN, graded_QN)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [*SAME, "mrr"])
def test_torchmetrics(parity: Parity, name: str, seed: int) -> None:
    """torchmetrics computes in fp32."""
    given = ranking(seed)
    rows_QN = torch.arange(QUERIES)[:, None].expand(QUERIES, DOCUMENTS)
    for k in RANKS:
        ours, theirs, _ = SAME.get(name, (metrics.MRR, RetrievalMRR, ""))
        measured, their_measured = ours(k), theirs(top_k=k)
        measured.update(given.grade_QN, given.all_QR)
        their_measured.update(given.similarity_QN, given.judged_QN > 0, indexes=rows_QN)
        item = f"{name}, k = 1 to 100"
        parity.within(item, TORCHMETRICS, measured.compute(), their_measured.compute(), 1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_map_of_torchmetrics(parity: Parity, seed: int) -> None:
    """It divides by the hits among the first k. Where there are fewer than could be, that is another metric."""
    given = ranking(seed)
    for k in RANKS:
        found_Q, most_Q = given.relevant_QN[:, :k].sum(1), given.total_Q.clamp(max=k)
        ours, theirs = both_maps(given, found_Q == most_Q, k)
        parity.within("map where min(k, R) of R are found, k = 1 to 100", TORCHMETRICS, ours, theirs, 1e-6)

        part_Q = (found_Q > 0) & (found_Q < most_Q)
        if part_Q.any():
            ours, theirs = both_maps(given, part_Q, k)
            assert ours < theirs - 0.01
        assert part_Q.any() == (1 < k < DOCUMENTS)


def both_maps(given: Ranking, chosen_Q: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Ours and torchmetrics' of some of the queries."""
    ours, theirs = metrics.MAP(k), RetrievalMAP(top_k=k)
    ours.update(given.grade_QN[chosen_Q], given.all_QR[chosen_Q])
    similarity_CN = given.similarity_QN[chosen_Q]
    rows_CN = torch.arange(len(similarity_CN))[:, None].expand_as(similarity_CN)
    theirs.update(similarity_CN, given.judged_QN[chosen_Q] > 0, indexes=rows_CN)
    return ours.compute(), theirs.compute()


def trec(given: Ranking, measure: str, depth: int | None = None) -> Tensor:
    """trec_eval's measure of each query, of its run cut to the first `depth` documents."""
    rows = [similarity_N.tolist() for similarity_N in given.similarity_QN]
    judged = [judged_N.int().tolist() for judged_N in given.judged_QN]
    queries = [f"q{row}" for row in range(QUERIES)]
    qrels = {q: {f"d{i}": grade for i, grade in enumerate(row)} for q, row in zip(queries, judged, strict=True)}
    run = {
        q: dict(sorted(((f"d{i}", value) for i, value in enumerate(row)), key=lambda hit: -hit[1])[:depth])
        for q, row in zip(queries, rows, strict=True)
    }
    values = pytrec_eval.RelevanceEvaluator(qrels, {measure}).evaluate(run)
    return torch.tensor([values[q][measure.replace(".", "_")] for q in queries], dtype=torch.float64)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SAME)
def test_trec_eval(parity: Parity, name: str, seed: int) -> None:
    given = ranking(seed)
    ours, _, measure = SAME[name]
    for k in RANKS:
        of_query_Q = ours(k).per_query(given.grade_QN, given.all_QR, k)
        parity.within(f"{name} of each query, k = 1 to 100", TREC, of_query_Q, trec(given, f"{measure}.{k}"), 1e-9)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SAME)
def test_trec_eval_with_grades(parity: Parity, name: str, seed: int) -> None:
    """Grades are gains to ndcg_cut; to the others what is graded above 0 is relevant."""
    given = ranking(seed, highest=4)
    ours, _, measure = SAME[name]
    assert given.grade_QN.unique().tolist() == [0, 1, 2, 3, 4]
    for k in RANKS:
        of_query_Q = ours(k).per_query(given.grade_QN, given.all_QR, k)
        item = f"{name} of each query, graded from 1 to 4, k = 1 to 100"
        parity.within(item, TREC, of_query_Q, trec(given, f"{measure}.{k}"), 1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_reciprocal_rank_of_trec_eval(parity: Parity, seed: int) -> None:
    """It has no k: it gets no more than k documents."""
    given = ranking(seed)
    for k in RANKS:
        of_query_Q = metrics.mrr(given.grade_QN, given.all_QR, k)
        theirs_Q = trec(given, "recip_rank", depth=k)
        parity.within("mrr of each query, k = 1 to 100", TREC, of_query_Q, theirs_Q, 1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_average_precision_of_trec_eval(parity: Parity, seed: int) -> None:
    """map_cut divides by all R relevant documents, map@k by min(k, R), as a perfect ranking should be worth 1."""
    given = ranking(seed)
    for k in RANKS:
        of_query_Q = metrics.average_precision(given.grade_QN, given.all_QR, k)
        theirs_Q = trec(given, f"map_cut.{k}")
        converted_Q = theirs_Q * given.total_Q / given.total_Q.clamp(max=k)
        parity.within("map of each query, k = 1 to 100, map_cut * R / min(k, R)", TREC, of_query_Q, converted_Q, 1e-9)

        unlike_Q = (of_query_Q - theirs_Q).abs() > 1e-9
        assert torch.equal(unlike_Q, (given.total_Q > k) & given.relevant_QN[:, :k].any(1))
        assert unlike_Q.any() == (k < 40)
