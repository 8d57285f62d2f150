"""Every option against loops over a few queries and documents, with all that ties in many random orders."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from matryoshka.evaluation.deployment import measuring, stored_vectors
from matryoshka.evaluation.deployment.deployment import Deployment, DeploymentOption
from matryoshka.evaluation.deployment.measuring import drawn, measure_deployment
from matryoshka.evaluation.deployment.tied_hits import CoarseHits
from matryoshka.evaluation.nearest import error_bound
from tests.evaluation.all_pairs import draw

DIMS = (32, 16, 8)
RELEVANT = [[q, 40 + q % 7] if q % 3 else [q] for q in range(12)]
GRADED = [{row: 1 + (q + place) % 3 for place, row in enumerate(rows)} for q, rows in enumerate(RELEVANT)]
QUERIES_QD = draw(12, 32, seed=1)
DOCUMENTS_ND = torch.cat([QUERIES_QD + 1.2 * draw(12, 32, seed=2), draw(48, 32, seed=3)])
DOCUMENTS_ND[59] = DOCUMENTS_ND[3]  # equal at every dim and precision
CALIBRATION_MD = draw(90, 32, seed=4)


def unit(row: Sequence[float]) -> np.ndarray:
    """In single precision, as they are stored."""
    x = np.asarray(row, dtype=np.float32)
    return (x / np.sqrt((x * x).sum(dtype=np.float64))).astype(np.float32)


def similarity(query: Tensor, document: Tensor, dim: int, precision: str, ends: Sequence[tuple[float, float]]) -> float:
    """Of one pair, by the definition of each precision."""
    q, d = unit(query[:dim].tolist()), unit(document[:dim].tolist())
    if precision == "binary":
        return -float(sum((a > 0) != (b > 0) for a, b in zip(q, d, strict=True)))
    if precision == "float16":
        d = d.astype(np.float16)
    if precision == "int8":
        steps = [(high - low) / 255 for low, high in ends]
        codes = [math.floor((x - low) / step) for x, (low, _), step in zip(d, ends, steps, strict=True)]
        d = np.array(
            [low + step * (min(max(c, 0), 255) + 0.5) for c, (low, _), step in zip(codes, ends, steps, strict=True)]
        )
    return round(float(sum(float(a) * float(b) for a, b in zip(q, d, strict=True))), 7)


@cache
def table(dim: int, precision: str) -> list[list[float]]:
    """Every query's similarity to every document."""
    rows = [unit(row[:dim].tolist()) for row in CALIBRATION_MD]
    ends = [(float(min(column)), float(max(column))) for column in zip(*rows, strict=True)]
    return [[similarity(q, d, dim, precision, ends) for d in DOCUMENTS_ND] for q in QUERIES_QD]


def ndcg(ranked: Sequence[int], grades: Mapping[int, int], k: int) -> float:
    def gain(rows: Sequence[int]) -> float:
        return sum(grades.get(row, 0) / math.log2(rank + 1) for rank, row in enumerate(rows[:k], start=1))

    return gain(ranked) / gain(sorted(grades, key=lambda row: -grades[row]))


def by_random_orders(
    relevant: Sequence[Mapping[int, int]], dim: int, precision: str, rescored: bool, k: int, orders: int
) -> float:
    """The mean over orders of the documents, each sorted by a stable sort."""
    coarse, full, generator, values = table(dim, precision), table(max(DIMS), "float32"), random.Random(0), []
    for query, grades in enumerate(relevant):
        for _ in range(orders):
            rows = generator.sample(range(len(DOCUMENTS_ND)), len(DOCUMENTS_ND))
            rows.sort(key=lambda row: -coarse[query][row])
            if rescored:
                rows = sorted(rows[: 4 * k], key=lambda row: -full[query][row])
            values.append(ndcg(rows, grades, k))
    return sum(values) / len(values)


@pytest.fixture(scope="module")
def measured() -> Deployment:
    return measure_deployment(QUERIES_QD, DOCUMENTS_ND, RELEVANT, CALIBRATION_MD, DIMS, "ndcg@3")


@pytest.mark.parametrize("graded", [False, True])
def test_every_option_is_worth_what_loops_say(measured: Deployment, graded: bool) -> None:
    relevant = GRADED if graded else [dict.fromkeys(rows, 1) for rows in RELEVANT]
    if graded:
        measured = measure_deployment(QUERIES_QD, DOCUMENTS_ND, GRADED, CALIBRATION_MD, DIMS, "ndcg@3")
    assert len(measured.options) == 23  # 3 dims x 4 precisions x 2, less one
    for option in measured.options:
        # 200 orders of 12 queries: a standard error of about 0.005 and less.
        ties = option.precision == "binary"
        slow = by_random_orders(relevant, option.dim, option.precision, option.rescored, 3, 200 if ties else 4)
        assert option.value == pytest.approx(slow, abs=0.015 if ties else 0.003), option.name


def test_bytes_retention_and_counts(measured: Deployment) -> None:
    assert measured.full == measured.option(32, "float32", rescored=True)
    assert measured.full.retention == 1
    assert [measured.option(16, p).bytes_per_vector for p in ("float32", "float16", "int8", "binary")] == [
        64,
        32,
        16,
        2,
    ]
    for option in measured.options:
        assert option.retention == option.value / measured.full.value
    assert (measured.calibration, measured.queries, measured.documents, measured.rescored_hits) == (90, 12, 60, 12)
    with pytest.raises(KeyError, match="64 x int8"):
        measured.option(64, "int8")


@pytest.mark.parametrize("metric", ["accuracy@1", "recall@5"])
def test_neither_parts_nor_the_order_of_documents_change_anything(monkeypatch: pytest.MonkeyPatch, metric: str) -> None:
    whole = measure_deployment(QUERIES_QD, DOCUMENTS_ND, RELEVANT, CALIBRATION_MD, DIMS, metric)

    monkeypatch.setattr(stored_vectors, "ROWS", 23)
    parts = measure_deployment(QUERIES_QD, DOCUMENTS_ND, RELEVANT, CALIBRATION_MD, DIMS, metric)
    turned = [[59 - row for row in rows] for rows in RELEVANT]
    other = measure_deployment(QUERIES_QD, DOCUMENTS_ND.flip(0), turned, CALIBRATION_MD, DIMS, metric)
    for a, b, c in zip(whole.options, parts.options, other.options, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-12), a.name
        assert a.value == pytest.approx(c.value, abs=0.02 if a.rescored else 1e-12), a.name


def rounded_otherwise(x_Qd: Tensor, y_Cd: Tensor) -> Tensor:
    """Products in fp32 as far off as they can be, but of bits, whose products are exact."""
    if bool((y_Cd.abs() == 1).all()):
        return x_Qd @ y_Cd.T
    error = error_bound(x_Qd.shape[1], torch.float32) * x_Qd.norm(dim=1)[:, None] * y_Cd.norm(dim=1)
    return x_Qd @ y_Cd.T + 0.9 * error * draw(*error.shape, seed=len(y_Cd)).sign()


@pytest.mark.parametrize("products", [stored_vectors._products, rounded_otherwise])
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_equal_documents_tie_wherever_they_are(
    monkeypatch: pytest.MonkeyPatch, products: Callable[[Tensor, Tensor], Tensor], precision: str
) -> None:
    """40 documents, each 9 times: the best is the answer's group, of which one copy answers."""
    monkeypatch.setattr(stored_vectors, "ROWS", 101)
    monkeypatch.setattr(stored_vectors, "_products", products)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: precision)
    distinct_UD = draw(40, 300, seed=5)
    copies_ND, own = distinct_UD.repeat(9, 1), [[q] for q in range(40)]
    found = measure_deployment(distinct_UD, copies_ND, own, draw(99, 300), [300, 100], "ndcg@2")
    expected = (1 + 1 / math.log2(3)) / 9
    for option in found.options:  # of 9 copies, 8 are rescored: each of them in about as many of 32 choices
        assert option.value == pytest.approx(expected, abs=1 / 32 if option.rescored else 1e-9), option.name


def test_of_many_queries_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "QUERIES", 5)
    five = drawn(12, 5)
    assert five == sorted(set(five)) == drawn(12, 5)
    assert (len(five), drawn(4, 5)) == (5, [0, 1, 2, 3])

    some = measure_deployment(QUERIES_QD, DOCUMENTS_ND, RELEVANT, CALIBRATION_MD, DIMS, "ndcg@3")
    assert some.queries == 5
    alone = [RELEVANT[q] for q in five]
    assert some == measure_deployment(QUERIES_QD[five], DOCUMENTS_ND, alone, CALIBRATION_MD, DIMS, "ndcg@3")


def test_a_bar_is_drawn_on_a_terminal_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], measured: Deployment
) -> None:
    monkeypatch.setattr(measuring, "LONG", 0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert measure_deployment(QUERIES_QD, DOCUMENTS_ND, RELEVANT, CALIBRATION_MD, DIMS, "ndcg@3") == measured
    shown = capsys.readouterr()
    assert "what to deploy" in shown.err and not shown.out
    monkeypatch.setattr(measuring, "LONG", 10**7)
    measure_deployment(QUERIES_QD, DOCUMENTS_ND, RELEVANT, CALIBRATION_MD, DIMS, "ndcg@3")
    assert not capsys.readouterr().err


def test_the_rank_of_documents_that_all_tie_is_left_to_chance() -> None:
    """One bit, all equal: the answer of each query is at any of 50 ranks."""
    ones_ND = torch.ones(50, 1)
    found = measure_deployment(ones_ND[:1], ones_ND, [[0]], draw(9, 1), [1], "accuracy@10")
    for option in found.options:  # of 50, 40 are rescored: each of them in about as many of 32 choices
        assert option.value == pytest.approx(10 / 50, abs=1 / 32 * 10 / 40 if option.rescored else 1e-12)


def test_grades_of_documents_that_all_tie_count_by_their_mean() -> None:
    """One bit, all equal: the three answers of grades 1, 2 and 3 are at any of 50 ranks."""
    ones_ND = torch.ones(50, 1)
    found = measure_deployment(ones_ND[:1], ones_ND, [{0: 1, 7: 3, 9: 2}], draw(9, 1), [1], "ndcg@2")
    discounts = 1 + 1 / math.log2(3)
    expected = discounts * (1 + 2 + 3) / 50 / (3 + 2 / math.log2(3))
    for option in found.options:
        if not option.rescored:
            assert option.value == pytest.approx(expected, abs=1e-12)


def among(similarities: list[list[float]], k: int) -> CoarseHits:
    dense_QN = torch.tensor(similarities)
    pairs = torch.ones_like(dense_QN).nonzero(as_tuple=True)
    return CoarseHits.of(k, len(dense_QN), *pairs, dense_QN[pairs])


def test_places_for_the_last_are_given_in_turn() -> None:
    hits = among([[5.0, 1, 3, 3, 3, 3, 9]], 3)

    drawn = hits.documents_P[hits.orders(8)][0]
    assert drawn[:, :2].tolist() == [[6, 0]] * 8
    assert drawn[:, 2].bincount().tolist() == [0, 0, 2, 2, 2, 2]
    assert among([[3.0, 1, 2]], 2).orders(8).shape == (1, 1, 2)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a relevant document"):
        measure_deployment(QUERIES_QD, DOCUMENTS_ND, [*RELEVANT[:-1], []], CALIBRATION_MD, DIMS)
    with pytest.raises(ValueError, match="dim 64"):
        measure_deployment(QUERIES_QD, DOCUMENTS_ND, RELEVANT, CALIBRATION_MD, [64])
    with pytest.raises(KeyError):
        measure_deployment(QUERIES_QD, DOCUMENTS_ND, RELEVANT, CALIBRATION_MD, DIMS, "speed@10")


def option(dim: int, precision: str, size: int, value: float, rescored: bool = False) -> DeploymentOption:
    return DeploymentOption(dim, precision, rescored, size, value, value / 0.8)  # type: ignore[arg-type]


SOME = Deployment(
    "ndcg@10",
    (
        option(768, "float32", 3072, 0.8),
        option(768, "int8", 768, 0.79),
        option(256, "float32", 1024, 0.785),
        option(256, "int8", 256, 0.785),
        option(256, "binary", 32, 0.7),
        option(256, "binary", 32, 0.79, rescored=True),
    ),
    calibration=5000,
    queries=500,
    documents=2000,
    rescored_hits=40,
)


def test_the_front_holds_what_nothing_beats() -> None:
    assert [(o.dim, o.precision, o.rescored) for o in SOME.pareto()] == [
        (256, "binary", False),
        (256, "int8", False),
        (768, "int8", False),
        (768, "float32", False),
    ]
    assert [o.name for o in SOME.pareto(rescored=True)] == ["256 x binary, rescored", "768 x float32"]


def test_the_front_by_comparing_all_with_all(measured: Deployment) -> None:
    for rescored in (False, True):
        some = [o for o in measured.options if rescored or not o.rescored]
        front = [
            o
            for o in some
            if all(
                p.bytes_per_vector > o.bytes_per_vector
                or p.value < o.value
                or (p.bytes_per_vector, p.value) == (o.bytes_per_vector, o.value)
                for p in some
            )
        ]
        assert sorted(o.name for o in front) == sorted(o.name for o in measured.pareto(rescored))


def test_one_index_is_the_smallest_plain_option_that_keeps_enough() -> None:
    assert SOME.saving() == "256 x int8: 98.1% of the full nDCG@10 at 1/12 of the bytes"
    assert SOME.saving(keep=0.985) == "768 x int8: 98.8% of the full nDCG@10 at 1/4 of the bytes"
    assert SOME.saving(keep=0.8) == "256 x binary: 87.5% of the full nDCG@10 at 1/96 of the bytes"
    assert SOME.saving(keep=0.99) == "768 x float32: nothing smaller keeps 99% of the full nDCG@10"
    odd = replace(SOME, options=(SOME.full, option(512, "float32", 2048, 0.8)))
    assert odd.saving() == "512 x float32: 100.0% of the full nDCG@10 at 67% of the bytes"


def test_a_coarse_index_is_the_smallest_rescored_option_that_keeps_enough() -> None:
    assert SOME.coarse_saving() == "256 x binary, 40 hits rescored: 98.8% at 32 B a vector in memory, 3,072 B on disk"
    assert SOME.coarse_saving(keep=0.99) == "nothing smaller keeps 99% of the full nDCG@10"
    assert SOME.advised(rescored=True) == SOME.option(256, "binary", rescored=True)


def test_advice_has_both_choices_and_who_chose() -> None:
    plain = "one index only: 256 x int8: 98.1% of the full nDCG@10 at 1/12 of the bytes (256 B a vector)"
    coarse = f"coarse index plus full vectors on disk: {SOME.coarse_saving()}"
    assert SOME.choices() == [plain, coarse]
    assert SOME.advice() == f"{plain}; {coarse} (chosen on these queries)"
    without = replace(SOME, options=tuple(o for o in SOME.options if not o.rescored))
    assert without.choices() == [plain]
    older = replace(SOME, chosen=(256, "int8"))  # of a file that knows of no choice among the rescored
    assert older.choices() == [plain]


def test_what_other_queries_chose_has_the_value_of_these() -> None:
    dev = replace(SOME, options=(SOME.full, *(replace(o, retention=0.9) for o in SOME.options[1:])))
    chosen = SOME.chosen_by(dev, keep=0.85)
    assert (chosen.chosen, chosen.chosen_rescored) == ((256, "binary"), (256, "binary"))
    assert chosen.advised() == SOME.option(256, "binary")
    assert chosen.advised(rescored=True) == SOME.option(256, "binary", rescored=True)
    assert chosen.choices() == [
        "one index only: 256 x binary: 87.5% of the full nDCG@10 at 1/96 of the bytes (32 B a vector)",
        f"coarse index plus full vectors on disk: {SOME.coarse_saving()}",
    ]
    assert chosen.advice().endswith(" (chosen on the dev queries)")
    none = SOME.chosen_by(dev)
    assert none.advised() == none.advised(rescored=True) == SOME.full
    assert none.choices() == [
        "one index only: 768 x float32: nothing smaller keeps 98% of the full dev nDCG@10 (3,072 B a vector)",
        "coarse index plus full vectors on disk: nothing smaller keeps 98% of the full dev nDCG@10",
    ]
    for rescored in (False, True):
        more = option(64, "binary", 8, 0.79, rescored=rescored)
        with pytest.raises(KeyError, match="64 x binary"):
            SOME.chosen_by(replace(SOME, options=(*SOME.options, more)))


@pytest.mark.parametrize("chosen", [None, (256, "int8")])
def test_json_and_back(chosen: tuple[int, str] | None) -> None:
    some = replace(SOME, chosen=chosen, chosen_rescored=chosen)
    assert TypeAdapter(Deployment).validate_python(json.loads(json.dumps(asdict(some)))) == some
