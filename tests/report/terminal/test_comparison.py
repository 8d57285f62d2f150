"""What a comparison of two runs looks like."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from matryoshka.config.recipe import ComparisonRecipe
from matryoshka.errors import UserError
from matryoshka.evaluation.comparison import ChangedQuery, Comparison, DimComparison
from matryoshka.report.terminal.comparison import show_comparison, write_comparison
from matryoshka.report.terminal.lines import console
from matryoshka.tasks.compare import compare
from tests.evaluation.test_comparison import BETTER, SOME
from tests.evaluation.written_runs import write_run

LOST = ChangedQuery(
    "q7", "Wie <b>viel</b> kostet\n[red]das?", 1.0, 0.0, 1, 0, "Es kostet " + "viel " * 60, "Es", "Nein"
)
WIDE = DimComparison(64, 0.5, 0.45, -0.05, (-0.08, -0.02), 0.001, 0.002, 3, 9, 12, (LOST,))
NARROW = DimComparison(8, 0.4, 0.4, 0.0, None, 1.0, 1.0, 0, 0, 24, ())
COMPARISON = Comparison(
    "a -> b", "a", "b", "one & only", "other", "ndcg@10", "as_is", "letters", "f00", 24, 12, (WIDE, NARROW)
)


def test_the_terminal_has_a_row_a_dim_and_what_changed_most(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 120)
    show_comparison(COMPARISON)
    said = capsys.readouterr().out

    assert "ndcg@10, every id a document, on letters: 24 queries in 12 clusters" in said
    assert re.search(r"64 +0\.5000 +0\.4500 +-0\.0500 \(-0\.0800 to -0\.0200\) +0\.0020 +3 / 9 / 12 +worse", said)
    assert re.search(r"8 +0\.4000 +0\.4000 +\+0\.0000 \(one cluster\) +1\.0000 +0 / 0 / 24 +no difference shown", said)
    assert "1.000 -> 0.000, rank 1 -> none  Wie <b>viel</b> kostet [red]das?" in said
    assert "second's top hit  Nein" in said
    assert "first's top hit" not in said  # it is the right answer
    assert max(map(len, said.splitlines())) < 150


def test_a_narrow_terminal_shows_every_digit(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 80)
    show_comparison(COMPARISON)
    said = capsys.readouterr().out

    assert all(cell in said for cell in ("0.4500", "-0.0500", "-0.0800", "-0.0200", "0.0020", "3 / 9 / 12", "worse"))


def test_json_is_all_of_it(tmp_path: Path) -> None:
    written = json.loads(write_comparison(tmp_path, COMPARISON).read_text(encoding="utf-8"))

    assert written["dims"][0]["interval"] == [-0.08, -0.02]
    assert written["dims"][1]["interval"] is None
    assert [dim["verdict"] for dim in written["dims"]] == ["worse", "no difference shown"]
    assert written["dims"][0]["changed"][0]["text"] == LOST.text
    assert written == json.loads(json.dumps(COMPARISON.as_dict(), allow_nan=False))


def test_nothing_changed_is_no_heading(capsys: pytest.CaptureFixture[str]) -> None:
    same = replace(COMPARISON, dims=(NARROW,))
    show_comparison(same)

    assert "changed most" not in capsys.readouterr().out


def test_the_task_prints_writes_and_returns_the_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(write_run(tmp_path / name, {64: ranks, 8: SOME})) for name, ranks in (("a", SOME), ("b", BETTER))]
    difference = compare(
        ComparisonRecipe(name="two", compare=runs, metric="ndcg@10", protocol="merged"), tmp_path / "out"
    )
    written = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))

    assert difference == written["dims"][0]["difference"] > 0
    assert "copies as one document" in capsys.readouterr().out
    with pytest.raises(UserError, match="compare: 1 runs are given; name two"):
        compare(ComparisonRecipe(name="one", compare=runs[:1], metric="ndcg@10", protocol="as_is"), tmp_path / "out")


def test_the_task_starts_without_torch() -> None:
    code = "import sys, matryoshka.tasks.compare; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
