"""Further sets stand on every surface where there are some, with their own values, and nowhere where there are none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from matryoshka.evaluation.result import EvaluationResult, SetResults
from matryoshka.report.card.card import model_card
from matryoshka.report.files import write_evaluation, write_training
from matryoshka.report.page.report import Report, html_report
from matryoshka.report.record import TrainingRecord
from matryoshka.report.terminal.lines import console
from matryoshka.report.terminal.summary import show_evaluation, show_training
from matryoshka.report.wandb.contents import summary_of, tables_of
from tests.report.page.test_page import Page
from tests.report.records import DIMS, eval_results_of, further_sets, record, tables
from tests.report.whole import NASTY, whole_record
from tests.tiny import tiny_encoder

SHOWN = ("ndcg@10", "map@100", "accuracy@1")  # in the tables of the record


@pytest.fixture(scope="module")
def sets() -> dict[str, SetResults]:
    return further_sets()


@pytest.fixture(scope="module")
def run(sets: dict[str, SetResults]) -> TrainingRecord:
    return replace(whole_record(), sets=sets)


def alone(sets: dict[str, SetResults]) -> Report:
    """The report of an evaluation, which has no base."""
    measured = {name: SetResults(None, of.tuned) for name, of in sets.items()}
    return Report.of_evaluation(record().tuned, {}, 1.0, config={}, sets=measured)


@pytest.mark.parametrize("base", [True, False])
def test_results_come_back_from_json(sets: dict[str, SetResults], base: bool) -> None:
    given = sets["graded"] if base else SetResults(None, sets["graded"].tuned)

    assert SetResults.from_dict(json.loads(json.dumps(given.as_dict()))) == given


def terminal(report: Report | TrainingRecord, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(console, "_width", 80)
    with console.capture() as shown:
        if isinstance(report, Report):
            show_evaluation(report, {})
        else:
            show_training(report, {})
    return [line.rstrip() for line in shown.get().splitlines()]


def test_the_terminal_has_a_table_for_each_set(
    run: TrainingRecord, sets: dict[str, SetResults], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = terminal(replace(run, baselines=()), monkeypatch)
    for name, of in sets.items():
        (start,) = [i for i, line in enumerate(lines) if line.startswith(f"base -> tuned on {name}: ")]
        assert all(len(line) <= 80 for line in lines[start : start + 9])
        rows = {
            line.split()[0]: line
            for line in lines[start + 1 : start + 9]
            if line[:1] == " " and line.strip()[:1].isdigit()
        }
        assert list(rows) == [str(dim) for dim in DIMS]
        for dim in DIMS:
            before, after = of.base.metrics[dim]["ndcg@10"], of.tuned.metrics[dim]["ndcg@10"]  # type: ignore[union-attr]
            assert f"{f'{before:.3f}'.removeprefix('0')} → {f'{after:.3f}'.removeprefix('0')}" in rows[str(dim)]
    assert "base -> tuned on graded: 30 queries over 160 documents" in lines
    assert "BAAI/bge-m3 on words: 551" in terminal(alone(sets), monkeypatch)  # the rest is on the next line


def test_the_page_has_a_table_of_both_models_for_each_set(run: TrainingRecord, sets: dict[str, SetResults]) -> None:
    page = Page(html_report(Report.of_training(run)))
    section = page.sections["sets"]

    assert list(page.sections)[:3] == ["summary", "protocols", "sets"]
    assert [heading.text for heading in section.find("h3")] == list(sets)
    for table, of in zip(section.find("table"), sets.values(), strict=True):
        head, *rows = table.cells()
        assert head == ["dim", "model", "nDCG@10", "MAP@100", "accuracy@1"]
        expected = []
        for dim in DIMS:
            for first, label, measured in (([str(dim)], "base", of.base), ([], "tuned", of.tuned)):
                assert measured is not None
                expected.append([*first, label, *(cell(measured, dim, name) for name in SHOWN)])
        assert rows == expected
    said = section.text
    assert "30 queries over 160 documents of planted" in said and "551 queries over 5,508 documents of letters" in said
    assert said.count("Small figures: the 95% interval") == 1  # only one of them has intervals
    assert said.count("40 of them are copies of others") == 1


def cell(measured: EvaluationResult, dim: int, name: str) -> str:
    ends = measured.intervals.get(dim, {}).get(name)
    return f"{measured.metrics[dim][name]:.3f}" + (f" {ends[0]:.3f}–{ends[1]:.3f}" if ends else "")


def test_the_page_of_an_evaluation_has_its_own_values(sets: dict[str, SetResults]) -> None:
    rows = Page(html_report(alone(sets))).sections["sets"].find("table")[0].cells()[1:]

    assert [row[1] for row in rows] == ["BAAI/bge-m3"] * 3


def test_the_card_has_a_table_and_entries_for_each_set(run: TrainingRecord, sets: dict[str, SetResults]) -> None:
    plain = record()
    shown = replace(plain, sets=sets, config={**plain.config, "sets": {"graded": {"revision": "abc"}}})
    card, without = model_card(shown), model_card(plain)
    found = [table for table in tables(card) if table not in tables(without)]
    for table, of in zip(found, sets.values(), strict=True):
        assert table[0] == ["Dim", *SHOWN]
        for row, dim in zip(table[1:], DIMS, strict=True):
            assert of.base is not None
            for text, name in zip(row[1:], SHOWN, strict=True):
                change = f"{of.base.metrics[dim][name]:.4f} → **{of.tuned.metrics[dim][name]:.4f}**"
                ends = of.tuned.intervals.get(dim, {}).get(name)
                assert text == change + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")

    entries, before = eval_results_of(card), eval_results_of(without)
    assert entries is not None and before is not None
    assert entries[: len(before)] == before
    told = {(e.dataset_type, e.dataset_name, e.metric_type): e for e in entries[len(before) :]}
    for name, of in sets.items():
        for dim in DIMS:
            for metric, value in of.tuned.metrics[dim].items():
                entry = told.pop((f"{name}_dim_{dim}", f"{name}, dim {dim}", f"cosine_{metric}"))
                assert entry.metric_value == value
                assert entry.dataset_revision == ("abc" if name == "graded" else None)
    assert not told


def test_wandb_has_every_number_under_the_sets_name_and_a_table(
    run: TrainingRecord, sets: dict[str, SetResults]
) -> None:
    summary = summary_of(run)
    for name, of in sets.items():
        for dim in DIMS:
            for metric in SHOWN:
                assert of.base is not None
                assert summary[f"{name}/dim_{dim}/{metric}"] == of.tuned.metrics[dim][metric]
                assert summary[f"base/{name}/dim_{dim}/{metric}"] == of.base.metrics[dim][metric]
    assert summary["graded/merged/dim_8/ndcg@10"] == sets["graded"].tuned.merged[8]["ndcg@10"]

    found = {name: (columns, rows) for name, columns, rows in tables_of(run)}
    columns, rows = found["further_sets"]
    assert list(columns)[:3] == ["set", "dim", "model"]
    by_key = {tuple(row[:3]): dict(zip(columns[3:], row[3:], strict=True)) for row in rows}
    assert len(by_key) == len(rows) == 2 * len(DIMS) * 2
    assert by_key["graded", 8, "tuned"]["ndcg@10"] == sets["graded"].tuned.metrics[8]["ndcg@10"]
    assert by_key["words", 32, "base"]["map@100"] == sets["words"].base.metrics[32]["map@100"]  # type: ignore[union-attr]


def test_each_set_has_a_file_and_that_of_the_test_set_is_as_without(
    run: TrainingRecord, sets: dict[str, SetResults], tmp_path: Path
) -> None:
    written = write_training(tmp_path, run, tiny_encoder(), None)

    assert written["further sets"] == tmp_path / "sets"
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(run.tuned.as_dict()))
    assert sorted(path.name for path in (tmp_path / "sets").iterdir()) == ["graded.json", "words.json"]
    for name, of in sets.items():
        assert SetResults.from_dict(json.loads((tmp_path / "sets" / f"{name}.json").read_text())) == of
    write_evaluation(tmp_path / "alone", alone(sets))
    plain = json.loads((tmp_path / "alone" / "sets" / "graded.json").read_text())
    assert plain == {"tuned": json.loads(json.dumps(sets["graded"].tuned.as_dict()))}


def test_without_sets_no_surface_speaks_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = replace(whole_record(), baselines=())
    written = write_training(tmp_path, plain, tiny_encoder(), None)

    assert "further sets" not in written and not (tmp_path / "sets").exists()
    assert "sets" not in Page(html_report(Report.of_training(plain))).sections
    assert "Further" not in model_card(plain)
    assert [name for name, _, _ in tables_of(plain)] == ["results", "hardest_queries", "lost_queries", "deployment"]
    assert not [line for line in terminal(plain, monkeypatch) if " on words" in line or " on graded" in line]


@pytest.mark.parametrize("name", [f"../{NASTY}", "[bold]x[/bold]", "a | b", ".."])
def test_no_name_breaks_a_surface(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = record(sets={name: SetResults(record().base, record().tuned)})

    write_training(tmp_path / "run", named, tiny_encoder(), None)
    (path,) = (tmp_path / "run" / "sets").iterdir()
    assert unquote(path.stem) == name
    assert [child.name for child in tmp_path.iterdir()] == ["run"]
    page = Page(html_report(Report.of_training(named)))
    assert page.sections["sets"].find("h3")[0].text == name
    calm = model_card(record(sets={"calm": SetResults(record().base, record().tuned)}))
    assert [len(table) for table in tables(model_card(named))] == [len(table) for table in tables(calm)]
    shown = "".join(line.rstrip() for line in terminal(named, monkeypatch))
    assert "".join(name.split()) in "".join(shown.split())
