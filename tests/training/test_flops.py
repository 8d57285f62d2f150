"""Operations counted on a few tokens against those written out for any batch."""

from __future__ import annotations

import pytest

from matryoshka.training.flops import GPUS, Operations, of_run, seconds_on
from tests.tiny import tiny_encoder


def by_formula(lengths: list[int], layers: int = 2, width: int = 32) -> float:
    """Forward: 2 operations for each weight of a layer's products and token, and two products of attention."""
    inner = 2 * width
    products = 2 * sum(lengths) * layers * (4 * width * width + 2 * width * inner)
    attention = 2 * 2 * layers * width * sum(length**2 for length in lengths)
    of_pooler = 2 * width * width  # BERT's own, of the row's first token: a packed batch is one row
    return float(products + attention + of_pooler)


@pytest.mark.parametrize("lengths", [[7], [3, 9, 30], [32] * 20])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_operations_of_any_batch_follow_from_small_ones(lengths: list[int], dropout: float) -> None:
    encoder = tiny_encoder(dropout=dropout).train()
    assert Operations.counted(encoder).of_training(lengths) == pytest.approx(3 * by_formula(lengths))
    assert encoder.training and all(p.grad is None for p in encoder.parameters())


def test_a_runs_operations_are_those_of_its_micro_batches() -> None:
    batches = [[[5, 7], [9, 11]], [[6, 6], [20, 3]]]
    lengths = [length for batch in batches for column in batch for length in column]
    assert of_run(tiny_encoder(), batches, 10) == pytest.approx(5 * 3 * by_formula(lengths))


def test_seconds_follow_from_rate_and_share() -> None:
    assert seconds_on(1e15, 0.5)["A100"] == pytest.approx(1e15 / (GPUS["A100"] * 1e12 * 0.5))
