"""The one result: dims widest first, flat names, and through JSON without loss."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from matryoshka.evaluation.result import EvaluationResult, selecting_metric

RESULT = EvaluationResult(
    model="tiny",
    data="letters",
    queries=3,
    documents=7,
    width=32,
    metrics={8: {"ndcg@10": 0.1, "map@100": 1 / 3}, 32: {"ndcg@10": 0.5, "map@100": 0.25}},
    precision="bf16",
    tokens=99,
    seconds=1.5,
)


def test_dims_stand_widest_first_however_they_were_given() -> None:
    assert RESULT.dims == [32, 8]


def test_flat_names_metric_and_dim() -> None:
    assert list(RESULT.flat().items()) == [
        ("ndcg@10/dim_32", 0.5),
        ("map@100/dim_32", 0.25),
        ("ndcg@10/dim_8", 0.1),
        ("map@100/dim_8", 1 / 3),
    ]


def test_through_json_and_back_it_is_the_same() -> None:
    again = EvaluationResult.from_dict(json.loads(json.dumps(RESULT.as_dict())))

    assert again == RESULT
    assert again.seconds == RESULT.seconds
    assert all(isinstance(dim, int) for dim in again.metrics)


def test_as_dict_is_ready_for_json() -> None:
    plain = RESULT.as_dict()

    assert list(plain["metrics"]) == ["32", "8"]
    assert {key: value for key, value in plain.items() if key != "metrics"} == {
        "model": "tiny",
        "data": "letters",
        "queries": 3,
        "documents": 7,
        "width": 32,
        "merged": {},
        "expected": {},
        "ceiling": {},
        "merged_ceiling": {},
        "intervals": {},
        "merged_intervals": {},
        "copies": 0,
        "clusters": 0,
        "precision": "bf16",
        "tokens": 99,
        "seconds": 1.5,
        "fingerprint": "",
    }


def test_how_long_it_took_does_not_make_another_result() -> None:
    assert replace(RESULT, seconds=9.0) == RESULT
    assert replace(RESULT, precision="fp32") != RESULT
    assert replace(RESULT, tokens=100) != RESULT


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        RESULT.width = 64  # type: ignore[misc]


def test_one_figure_of_all_dims() -> None:
    assert RESULT.value("ndcg@10/dim_8") == 0.1
    assert RESULT.value("ndcg@10/mean") == pytest.approx(0.3)
    assert RESULT.value("ndcg@10/worst") == 0.1
    assert RESULT.value("ndcg@10/retention") == pytest.approx((0.5 + 0.1 * 0.1 / 0.5) / 2)
    with pytest.raises(KeyError):
        RESULT.value("ndcg@10/dim_16")


def test_merged_figures_have_names_of_their_own_where_there_are_copies() -> None:
    result = replace(RESULT, merged={8: {"ndcg@10": 0.2}, 32: {"ndcg@10": 0.9}}, copies=2)

    assert result.flat()["merged/ndcg@10/dim_32"] == result.value("merged/ndcg@10/dim_32") == 0.9
    assert result.value("merged/ndcg@10/worst") == 0.2
    assert not any(name.startswith("merged/") for name in replace(result, copies=0).flat())


@pytest.mark.parametrize(
    ("select", "name"),
    [
        ("ndcg@10", "ndcg@10/dim_32"),
        ("ndcg@10/dim_16", "ndcg@10/dim_16"),
        ("merged/ndcg@10", "merged/ndcg@10/dim_32"),
        ("merged/ndcg@10/mean", "merged/ndcg@10/mean"),
    ],
)
def test_a_selecting_metric_is_of_the_widest_dim_where_none_is_named(select: str, name: str) -> None:
    assert selecting_metric(select, [16, 32]) == name
