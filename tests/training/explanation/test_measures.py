"""Each measure against a slow loop that says what it is."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor

from matryoshka.data.guide import Guide
from matryoshka.data.negatives import KnownPositives
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.evaluation.judgements import Judgements
from matryoshka.evaluation.set_vectors import SetVectors
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.losses.ranking import RankingLoss, ranking_loss
from matryoshka.training.explanation.batches import (
    NEAR_ZERO,
    BatchMeasures,
    EmbeddedBatch,
    easy_batches,
    false_negatives,
    gradient_cosines,
)
from matryoshka.training.explanation.drift import TextVectors, mean_cosine
from matryoshka.training.explanation.margins import margins, right_texts, set_margins

DIMS = [8, 4, 2]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cosine(one: Tensor, other: Tensor) -> float:
    return (one @ other / one.norm() / other.norm()).item()


def test_drift_is_the_mean_cosine_of_each_text_with_itself() -> None:
    before, after = numbers(7, 6), numbers(7, 6, seed=1)

    by_loop = sum(cosine(a, b) for a, b in zip(before, after, strict=True)) / 7
    assert mean_cosine(before, after) == pytest.approx(by_loop)
    assert mean_cosine(before, 3 * before) == pytest.approx(1)


def test_of_a_model_that_was_cut_the_numbers_that_both_have_are_compared() -> None:
    before, after = numbers(7, 6), numbers(7, 4, seed=1)

    assert mean_cosine(before, after) == pytest.approx(mean_cosine(before[:, :4], after))


def test_the_same_texts_are_drawn_before_and_after() -> None:
    queries, documents = numbers(30, 5), numbers(40, 5, seed=1)
    drawn = TextVectors.drawn(queries, documents, 10)

    drift = drawn.drift(TextVectors.drawn(2 * queries, -documents, 10))
    assert (len(drawn.queries_MD), len(drawn.documents_MD)) == (10, 10)
    assert (drift.queries, drift.documents) == (pytest.approx(1), pytest.approx(-1))
    assert drift.worse == ("documents", pytest.approx(-1))


@pytest.mark.parametrize("chunk", [3, 100])
def test_a_margin_is_the_best_right_document_less_the_nearest_wrong_one(chunk: int) -> None:
    queries, documents = numbers(6, 8), numbers(11, 8, seed=1)
    right = [{0}, {3, 7}, {10}, {1, 2, 4}, {5}, set(range(11))]  # the last query has no wrong document

    found = margins(queries, documents, right, DIMS, chunk)
    assert list(found) == DIMS
    for dim in DIMS:
        by_loop = []
        for query, rows in list(zip(queries, right, strict=True))[:5]:
            near = [cosine(query[:dim], document[:dim]) for document in documents]
            best = max(near[row] for row in rows)
            by_loop.append(best - max(near[row] for row in range(11) if row not in rows))
        assert found[dim].mean == pytest.approx(sum(by_loop) / 5, abs=1e-6)
        assert found[dim].negative == sum(margin < 0 for margin in by_loop) / 5


def test_where_every_document_is_right_no_margin_is_told() -> None:
    assert margins(numbers(2, 4), numbers(3, 4), [{0, 1, 2}] * 2, [4]) == {}


def test_a_copy_of_a_right_document_is_right() -> None:
    corpus = {"a": "Die Kasse zahlt.", "b": "die kasse zahlt", "c": "Hier.", "d": "Hier."}
    data = RetrievalSet("letters", {"q": "Wer zahlt?"}, corpus, {"q": frozenset(["a"])})
    judgements = Judgements(data, ["q"], list(corpus))
    vectors = SetVectors(judgements, torch.tensor([[1.0, 0]]), torch.eye(2)[[0, 0, 1]], torch.tensor([0, 1, 2, 2]))

    assert right_texts(vectors) == [{0, 1}]
    assert set_margins(vectors, [2])[2].mean == pytest.approx(1)


def batches(seed: int = 0) -> list[EmbeddedBatch]:
    """Three batches, one of them with hard negatives and one with a mask."""
    plain = EmbeddedBatch(numbers(5, 8, seed=seed), numbers(5, 8, seed=seed + 1))
    hard = EmbeddedBatch(numbers(4, 8, seed=seed + 2), numbers(8, 8, seed=seed + 3))
    anchors = numbers(3, 8, seed=seed + 4)
    mask = torch.tensor([[False, True, False], [False, False, False], [True, False, False]])
    return [plain, hard, EmbeddedBatch(anchors, anchors + 0.1 * numbers(3, 8, seed=seed + 5), mask)]


def loss_at(batch: EmbeddedBatch, dim: int, scale: float) -> Tensor:
    anchors, candidates = (F.normalize(x[:, :dim], dim=1) for x in (batch.anchors_BD, batch.candidates_ND))
    return ranking_loss(scale * anchors @ candidates.T, batch.mask_BN)


@pytest.mark.parametrize("scale", [1.0, 20.0, 200.0])
def test_a_batch_is_easy_whose_mean_loss_over_dims_is_near_zero(scale: float) -> None:
    loss = MatryoshkaLoss(RankingLoss(scale), DIMS, [1, 2, 3]).eval()

    means = [sum(loss_at(batch, dim, scale).item() for dim in DIMS) / 3 for batch in batches()]
    assert easy_batches(loss, batches()) == sum(mean < NEAR_ZERO for mean in means) / 3
    assert easy_batches(loss, []) == 0


def test_gradients_are_those_of_each_dims_loss_at_the_embeddings() -> None:
    found = gradient_cosines(MatryoshkaLoss(RankingLoss(20.0), DIMS, [1, 2, 0.5]).eval(), batches())

    by_loop = {dim: dict.fromkeys(DIMS, 0.0) for dim in DIMS}
    for batch in batches():
        gradients = {}
        for dim in DIMS:
            leaves = [x.clone().requires_grad_() for x in (batch.anchors_BD, batch.candidates_ND)]
            loss_at(EmbeddedBatch(*leaves, batch.mask_BN), dim, 20.0).backward()
            gradients[dim] = torch.cat([x.grad.flatten() for x in leaves])  # type: ignore[union-attr]
        for dim in DIMS:
            for other in DIMS:
                by_loop[dim][other] += cosine(gradients[dim], gradients[other]) / 3
    assert list(found) == DIMS
    for dim in DIMS:
        assert found[dim] == pytest.approx(by_loop[dim], abs=1e-5)
        assert found[dim][dim] == pytest.approx(1)


def test_dims_that_are_not_trained_have_no_gradient() -> None:
    found = gradient_cosines(MatryoshkaLoss(RankingLoss(), DIMS, [1, 0, 1]).eval(), batches())

    assert list(found) == [8, 2]


def test_a_batch_without_a_gradient_agrees_with_nothing() -> None:
    one = EmbeddedBatch(numbers(1, 8), numbers(1, 8, seed=1))  # of one row: nothing to tell apart

    assert gradient_cosines(MatryoshkaLoss(RankingLoss(), DIMS).eval(), [one])[8] == dict.fromkeys(DIMS, 0.0)


def test_the_lowest_pair_is_told_with_the_wider_dim_first() -> None:
    cosines = {8: {8: 1.0, 4: 0.5, 2: -0.2}, 4: {8: 0.5, 4: 1.0, 2: 0.1}, 2: {8: -0.2, 4: 0.1, 2: 1.0}}

    assert BatchMeasures(1, 4, 0.0, 0.0, 0.0, cosines).lowest == (8, 2, -0.2)
    assert BatchMeasures(1, 4, 0.0, 0.0, 0.0, {8: {8: 1.0}}).lowest is None


def test_a_false_negative_is_a_candidate_about_as_near_as_the_positive_that_counts_as_negative() -> None:
    texts = [[i % 5, 20 + i % 6, 40 + i] for i in range(12)]  # rows that share questions and answers
    guide = Guide(texts, Dataset.from_dict({}))
    columns = [(numbers(12, 6, seed=column) + 1, torch.arange(12)) for column in range(3)]
    guide.prepare(columns)
    rows = [[0, 3, 5, 8, 10], [1, 2, 6, 7]]
    known = KnownPositives(texts, Dataset.from_dict({}))
    masks = [known.mask(of) for of in rows]

    near, count = 0, 0
    for of, mask in zip(rows, masks, strict=True):
        for i, row in enumerate(of):
            own = (cosine(columns[0][0][row], columns[1][0][row]) - guide.unrelated) / (1 - guide.unrelated)
            answers = {text[1] for text in texts if text[0] == texts[row][0]}
            for j, (column, other) in enumerate([(c, other) for c in (1, 2) for other in of]):
                if j == i or (mask is not None and mask[i, j]):
                    continue
                count += 1
                similarity = cosine(columns[0][0][row], columns[column][0][other])
                similarity = (similarity - guide.unrelated) / (1 - guide.unrelated)
                near += similarity > own - abs(own) * 0.05 or texts[other][column] in answers
    assert masks[0] is not None
    assert false_negatives(guide, rows, masks) == pytest.approx(near / count)
    assert 0 < near / count < 1
    everything = [torch.ones(len(of), 2 * len(of), dtype=torch.bool) for of in rows]
    assert math.isclose(false_negatives(guide, rows, everything), 0)
