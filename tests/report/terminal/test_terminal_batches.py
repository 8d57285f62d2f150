"""The line that says what copies do to an epoch's batches."""

from __future__ import annotations

import pytest

from matryoshka.data.samplers import BatchSummary
from matryoshka.report.terminal.batch_lines import show_batches


def said(capsys: pytest.CaptureFixture[str], batches: BatchSummary, masked: bool) -> str:
    show_batches(batches, masked)
    return capsys.readouterr().out


def test_copies_that_do_no_harm_are_not_mentioned(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, BatchSummary(310), masked=False) == ""
    assert said(capsys, BatchSummary(310, sharing=40), masked=False) == ""


def test_smaller_batches_are_counted_with_the_way_out(capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, BatchSummary(1487, extra=1177, of_one_row=1255, sharing=1487), masked=False)

    assert "1,487 rows have a text that others have too" in line
    assert "1,487 batches an epoch where 310 would hold all rows, 1,255 of them of one row" in line
    assert "sampler.clashes=mask" in line
    assert line.count("\n") == 1


def test_masked_rows_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, BatchSummary(310, sharing=1487, clashing=1177), masked=True)

    assert "1,177 meet it in their batch, and the loss leaves out what is no negative" in line


def test_plain_batches_with_copies_are_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, BatchSummary(310, sharing=90, clashing=7), masked=False)

    assert "7 meet it in their batch, where a right answer is trained as a wrong one" in line
    assert "sampler=no_duplicates" in line


def test_smaller_batches_of_several_rows_teach_something(capsys: pytest.CaptureFixture[str]) -> None:
    line = said(capsys, BatchSummary(7, extra=1, sharing=20), masked=False)

    assert "7 batches an epoch where 6 would hold all rows; sampler.clashes=mask" in line
    assert "learns nothing" not in line
