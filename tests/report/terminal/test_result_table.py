"""The table of a result at 80 columns: no name and no value is cut off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from matryoshka.evaluation.result import NO_DIM, EvaluationResult
from matryoshka.report.terminal.lines import console
from matryoshka.report.terminal.result_table import ESSENTIAL, show_result

DIMS = (1024, 64)
LONG = "some-organisation/a-name-of-a-model-that-alone-would-fill-a-line-of-eighty-columns-or-more"


def measured(model: str, value: float) -> EvaluationResult:
    metrics = {dim: dict.fromkeys(ESSENTIAL, value + dim / 1e4) for dim in DIMS}
    intervals = {dim: {"ndcg@10": (value, value + 0.07)} for dim in DIMS}
    return EvaluationResult(model, "letters", 500, 900, 1024, metrics, intervals=intervals, clusters=500)


def shown(*baselines: EvaluationResult, base: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(console, "_width", 80)
    with console.capture() as printed:
        show_result(measured("m", 0.5), measured("m", 0.4) if base else None, "a title", baselines)
    return [line.rstrip() for line in printed.get().splitlines()]


@pytest.mark.parametrize("base", [True, False])
def test_a_baselines_name_is_a_line_above_its_dims(base: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bm25 = replace(measured("BM25", 0.2), metrics={NO_DIM: dict.fromkeys(ESSENTIAL, 0.2)}, intervals={})
    others = [measured("projection (orthogonal)", 0.3), measured(LONG, 0.35), bm25]
    lines = shown(*others, base=base, monkeypatch=monkeypatch)

    assert not any("…" in line for line in lines)
    assert all(len(line) <= 80 for line in lines if LONG not in line)
    for other, value in zip(others[:2], (0.3, 0.35), strict=True):
        at = lines.index(f" {other.model}")
        rows = [line.split() for line in lines[at + 1 : at + 3]]
        assert rows == [[str(d), f"{value + d / 1e4:.4f}", "±.035", *[f"{value + d / 1e4:.4f}"] * 4] for d in DIMS]
    (row,) = [line for line in lines if line.startswith(" BM25 ")]
    assert row.split() == ["BM25", *["0.2000"] * 5]
    assert lines[-1] == "±: half of the 95% interval, by bootstrap over 500 queries"


def test_the_columns_of_all_parts_stand_below_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(measured("other", 0.3), base=True, monkeypatch=monkeypatch)
    ends = {len(line) for line in lines if line.split()[:1] in (["1024"], ["64"], ["dim"])}
    assert len(ends) == 1
