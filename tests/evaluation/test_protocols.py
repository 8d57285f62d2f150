"""Both protocols against a slow reference that ranks, merges and judges document by document."""

from __future__ import annotations

import math
import random
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from matryoshka.data.copies import normalised
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.judgements import Judgements
from matryoshka.evaluation.measurement import MeasuredBy, asked_for, depth, measure
from matryoshka.evaluation.nearest import Hits
from matryoshka.evaluation.protocols import CopyGroups
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.evaluation.ties import EXPECTED
from tests.evaluation.test_metrics import DEFINITIONS

BY_HAND = {of.args[0]: definition for of, definition in DEFINITIONS.items()}
METRICS = Evaluator(accuracy_at=[1, 3], precision_at=[2], recall_at=[3], ndcg_at=[3], mrr_at=[4], map_at=[5]).metrics
TEXTS = ["ein haus", "Ein Haus!", "EIN  haus", "der baum", "Der Baum.", "ein hund", "die katze", "katze"]


def random_set(seed: int, documents: int = 14, queries: int = 6, *, graded: bool = False) -> RetrievalSet:
    draw = random.Random(seed)
    corpus = {f"d{i:02d}": draw.choice(TEXTS) for i in range(documents)}
    relevant = {f"q{i}": frozenset(draw.sample(sorted(corpus), draw.randint(1, 3))) for i in range(queries)}
    queries_of = {query: query for query in relevant}
    if not graded:
        return RetrievalSet("random", queries_of, corpus, relevant)
    grades = {query: {document: draw.randint(1, 3) for document in sorted(of)} for query, of in relevant.items()}
    return RetrievalSet("random", queries_of, corpus, grades)


def searched(data: RetrievalSet, seed: int) -> tuple[CopyGroups, Hits]:
    """A search over distinct texts with random similarities, some of which are equal."""
    document_ids = sorted(data.corpus)
    units = list(dict.fromkeys(data.corpus[document] for document in document_ids))
    unit_of = torch.tensor([units.index(data.corpus[document]) for document in document_ids])
    copies = CopyGroups(Judgements(data, list(data.queries), document_ids), unit_of)
    generator = torch.Generator().manual_seed(seed)
    similarities = torch.randint(0, 5, (len(data.queries), len(units)), generator=generator).float() / 4
    top, order = similarities.sort(dim=1, descending=True, stable=True)
    whole = Hits(order, top)
    return copies, whole


def measured(copies: CopyGroups, whole: Hits, metrics: MeasuredBy = METRICS) -> EvaluationResult:
    """Of a whole search what is asked for, and more of it where that is asked."""

    def again(rows: Tensor, dim: int, k: int) -> Hits:
        return Hits(whole.documents_Qk[rows, :k], whole.similarities_Qk[rows, :k])

    k = asked_for(copies, metrics)
    return measure("random", copies, {8: Hits(whole.documents_Qk[:, :k], whole.similarities_Qk[:, :k])}, again, metrics)


def by_loop(copies: CopyGroups, hits: Hits, query: int, *, merged: bool) -> tuple[list[str], list[int], list[int]]:
    """Documents of one query in order, their grades, and those of all right ones: of copies the highest counts."""
    data, ids = copies.judgements.data, list(copies.judgements.document_ids)
    texts = list(dict.fromkeys(data.corpus[document] for document in ids))
    similarity = {
        texts[u]: float(s) for u, s in zip(hits.documents_Qk[query], hits.similarities_Qk[query], strict=True)
    }
    ranked = sorted(
        (document for document in ids if data.corpus[document] in similarity),
        key=lambda document: (-similarity[data.corpus[document]], document),
    )
    grades = data.grades[copies.judgements.query_ids[query]]
    if not merged:
        return ranked, [grades.get(document, 0) for document in ranked], list(grades.values())
    of_text: dict[str, int] = {}
    for document, grade in grades.items():
        text = normalised(data.corpus[document])
        of_text[text] = max(grade, of_text.get(text, 0))
    seen: dict[str, str] = {}
    for document in ranked:
        seen.setdefault(normalised(data.corpus[document]), document)
    return list(seen.values()), [of_text.get(text, 0) for text in seen], list(of_text.values())


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("merged", [False, True])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=12, deadline=None)
def test_a_protocol_is_what_ranking_document_by_document_gives(merged: bool, graded: bool, seed: int) -> None:
    copies, hits = searched(random_set(seed, graded=graded), seed)
    k = depth(METRICS)

    result = measured(copies, hits)
    assert result.rankings is not None
    ranking = (result.rankings.merged if merged else result.rankings.as_is)[8]
    for query in range(len(copies.judgements.query_ids)):
        documents, grades, every = by_loop(copies, hits, query, merged=merged)
        found = ranking.documents_Qk[query][ranking.documents_Qk[query] >= 0]
        assert [copies.judgements.document_ids[row] for row in found] == documents[:k]
        for name, metric in METRICS.items():
            expected = BY_HAND[metric.per_query](grades, every, metric.k)
            assert float(ranking.values[name][query]) == pytest.approx(expected, abs=1e-12)
        first = next((rank for rank, grade in enumerate(grades[:k], start=1) if grade), 0)
        assert int(ranking.first_hit_Q[query]) == first


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_there_are_enough_merged_documents(seed: int) -> None:
    copies, hits = searched(random_set(seed, documents=30), seed)
    result = measured(copies, hits)
    assert result.rankings is not None

    distinct = len({normalised(text) for text in copies.judgements.data.corpus.values()})
    assert (result.rankings.merged[8].documents_Qk >= 0).sum(1).tolist() == [min(depth(METRICS), distinct)] * 6


def card_like(passages: int = 5, rows: int = 10) -> RetrievalSet:
    """As the card's data: so many rows share a passage, each row's copy under an id of its own."""
    corpus = {f"d{p}-{r}": f"passage {p}" for p in range(passages) for r in range(rows)}
    queries = {f"q{p}-{r}": f"{p} {r}" for p in range(passages) for r in range(rows)}
    return RetrievalSet("card-like", queries, corpus, {query: frozenset(["d" + query[1:]]) for query in queries})


def test_a_perfect_retriever_on_data_like_the_cards_by_hand() -> None:
    data = card_like()
    document_ids = sorted(data.corpus)
    unit_of = torch.tensor([int(document[1]) for document in document_ids])
    copies = CopyGroups(Judgements(data, list(data.queries), document_ids), unit_of)
    right = torch.tensor([[int(query[1])] for query in data.queries])
    hits = Hits(right, torch.ones(len(data.queries), 1))

    result = measured(copies, hits, Evaluator().metrics)

    by_hand = {"accuracy@1": 0.1, "accuracy@3": 0.3, "accuracy@10": 1.0, "recall@5": 0.5, "precision@1": 0.1}
    by_hand |= {"mrr@10": sum(1 / rank for rank in range(1, 11)) / 10, "map@100": 0.2928968253968254}
    for name, value in by_hand.items():
        assert result.ceiling[name] == pytest.approx(value)
        assert result.expected[8][name] == pytest.approx(value)
        # Every id is the right one of one query in ten, so here the arbitrary order comes out at the average too.
        assert result.metrics[8][name] == pytest.approx(value)
    assert result.merged_ceiling == result.merged[8]
    assert result.merged[8]["accuracy@1"] == result.merged[8]["mrr@10"] == result.merged[8]["map@100"] == 1.0
    assert (result.copies, result.documents, result.queries, result.clusters) == (45, 50, 50, 5)


def test_the_ceiling_orders_texts_by_their_share_of_right_copies() -> None:
    corpus = {"a": "x", "b": "x", "c": "y", "d": "z"}
    data = RetrievalSet("shares", {"q": "q"}, corpus, {"q": frozenset(["a", "c"])})

    ranks = Judgements(data, ["q"], sorted(corpus)).perfect(4, graded=False)

    total = torch.tensor([[1, 1]])
    assert float(EXPECTED["accuracy"](ranks, total, 1)) == 1.0  # y first
    assert float(EXPECTED["recall"](ranks, total, 2)) == 0.75  # then one of the two x
    assert float(EXPECTED["recall"](ranks, total, 3)) == 1.0


def test_the_ceiling_of_ndcg_orders_texts_by_their_mean_grade_and_that_of_the_others_by_their_share() -> None:
    corpus = {"a": "x", "b": "x", "c": "y", "d": "z"}
    data = RetrievalSet("grades", {"q": "q"}, corpus, {"q": {"a": 5, "c": 2}})
    copies = CopyGroups(Judgements(data, ["q"], sorted(corpus)), torch.tensor([0, 0, 1, 2]))

    ceiling = measured(copies, Hits(torch.tensor([[0, 1, 2]]), torch.tensor([[0.9, 0.8, 0.7]]))).ceiling

    assert ceiling["accuracy@1"] == 1.0  # y first
    x_first = (5 / 2 + 5 / 2 / math.log2(3) + 2 / 2) / (5 + 2 / math.log2(3))
    assert ceiling["ndcg@3"] == pytest.approx(x_first, abs=1e-12)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_no_order_of_texts_is_worth_more_than_the_ceiling(seed: int) -> None:
    """Precision, recall and nDCG: what the texts found first promise, against every order of the texts."""
    data = random_set(seed, documents=5, queries=1, graded=True)
    copies, _ = searched(data, seed)
    best: dict[str, float] = {}
    for order in permutations(range(copies.units)):
        hits = Hits(torch.tensor([order]), torch.linspace(1, 0.5, copies.units)[None])
        result = measured(copies, hits)
        best = {name: max(value, best.get(name, 0.0)) for name, value in result.expected[8].items()}
    for name in ("precision@2", "recall@3", "ndcg@3"):
        assert result.ceiling[name] == pytest.approx(best[name], abs=1e-12)


def test_no_text_beyond_the_cut_merges_what_differs() -> None:
    """Two documents that the model cannot tell apart tie, but stay two documents."""
    data = RetrievalSet("cut", {"q": "q"}, {"a": "gleich bis hier a", "b": "gleich bis hier b"}, {"q": frozenset("b")})
    copies = CopyGroups(Judgements(data, ["q"], ["a", "b"]), torch.tensor([0, 0]))

    result = measured(copies, Hits(torch.tensor([[0]]), torch.ones(1, 1)))

    assert result.copies == 0
    assert result.merged[8]["accuracy@1"] == 0.0
    assert result.expected[8]["accuracy@1"] == 0.5


@pytest.mark.parametrize("merged_too", [False, True])
def test_parts_of_the_queries_may_find_different_numbers_of_documents(merged_too: bool) -> None:
    """513 queries are measured in two parts; the last, alone in the second, finds nothing or one document."""
    corpus = {f"d{i:03d}": f"text {i // (2 if merged_too else 1)}" for i in range(40)}
    queries = {f"q{i:03d}": str(i) for i in range(513)}
    data = RetrievalSet("parts", queries, corpus, {query: frozenset(["d003"]) for query in queries})
    ids = sorted(corpus)
    units = list(dict.fromkeys(corpus[document] for document in ids))
    copies = CopyGroups(Judgements(data, list(queries), ids), torch.tensor([units.index(corpus[d]) for d in ids]))
    found = torch.arange(20).expand(513, 20).clone()
    similarities = (1 - found / 20).clone()
    found[512], similarities[512] = -1, -torch.inf
    for most in (0, 1):  # nothing is found by the last query, then one document
        found[512, :most], similarities[512, :most] = 1, 0.5
        result = measured(copies, Hits(found, similarities))
        assert result.rankings is not None
        assert len(result.rankings.as_is[8].documents_Qk) == 513
    none = Hits(torch.full((513, 20), -1), torch.full((513, 20), -torch.inf))
    assert set(measured(copies, none).expected[8].values()) == {0.0}


def test_ties_beyond_the_hits_count_by_hand() -> None:
    """Fifty documents are equally similar, one of them right: the metrics look at five."""
    corpus = {f"d{i:02d}": f"text {i}" for i in range(50)}
    data = RetrievalSet("ties", {"a": "a", "b": "b"}, corpus, {"a": frozenset(["d00"]), "b": frozenset(["d49"])})
    copies = CopyGroups(Judgements(data, ["a", "b"], sorted(corpus)), torch.arange(50))

    result = measured(copies, Hits(torch.arange(50).expand(2, 50), torch.ones(2, 50)))

    assert result.metrics[8]["accuracy@1"] == 0.5  # by the order of ids
    assert result.expected[8]["accuracy@1"] == pytest.approx(1 / 50)
    assert result.expected[8]["mrr@4"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 50)
    assert result.expected[8]["recall@3"] == pytest.approx(3 / 50)
