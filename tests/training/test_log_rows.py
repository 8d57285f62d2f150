"""The rows of the log, by source."""

from __future__ import annotations

import torch

from matryoshka.training.log_rows import LogRows, MicroBatch


def micro(row: int, first: float, second: float, divisor: int = 2) -> MicroBatch:
    """A micro-batch that begins with this row, with losses of two dims."""
    losses = torch.tensor([first, second, first + second])
    return MicroBatch((32, 8), losses, divisor, pairs=4, tokens=9, rows=(row, row + 1))


def source_of(row: int) -> str:
    return "law" if row < 10 else "help"


WINDOWS = [[micro(0, 1, 2), micro(10, 3, 4)], [micro(12, 5, 6), micro(14, 7, 8, divisor=1)]]


def test_each_source_has_the_mean_of_its_own_micro_batches() -> None:
    rows = LogRows()
    rows.source_of = source_of
    for window in WINDOWS:
        rows.count(window, {})
    row = rows.close()

    assert row["train/loss/law"] == 1 + 2
    weights = {3 + 4: 1 / 2, 5 + 6: 1 / 2, 7 + 8: 1}  # by what each is divided by
    assert row["train/loss/help"] == sum(loss * weight for loss, weight in weights.items()) / sum(weights.values())
    assert row["train/loss"] == ((1 + 2) / 2 + (3 + 4) / 2 + (5 + 6) / 2 + (7 + 8)) / 2
    rows.count(WINDOWS[1], {})
    assert "train/loss/law" not in rows.close()


def test_sources_go_on_with_the_row_that_was_begun() -> None:
    whole, first, second = LogRows(), LogRows(), LogRows()
    for each in (whole, first, second):
        each.source_of = source_of
    for window in WINDOWS:
        whole.count(window, {})
    first.count(WINDOWS[0], {})
    second.load_state_dict(first.state_dict())
    second.count(WINDOWS[1], {})

    for expected, found in ((whole.close(), second.close()),):
        assert {k: v for k, v in found.items() if "per_second" not in k} == {
            k: v for k, v in expected.items() if "per_second" not in k
        }


def test_of_one_source_nothing_is_said() -> None:
    rows = LogRows()
    rows.count(WINDOWS[0], {})
    assert set(rows.close()) == {
        "train/loss",
        "train/loss/dim_32",
        "train/loss/dim_8",
        "train/pairs_per_second",
        "train/tokens_per_second",
    }
