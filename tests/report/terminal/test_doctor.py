"""Terminal, page, figure and files show the diagnosis' own numbers, and a user's texts as they are."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import jinja2
import numpy as np
import pytest
from datasets import Dataset
from matplotlib.colors import same_color
from matplotlib.patches import StepPatch

from matryoshka.data.doctor.diagnosis import Diagnosis
from matryoshka.data.doctor.doctor import Doctor
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.samplers import BatchSummary
from matryoshka.report.figures.doctor_figure import doctor_figure
from matryoshka.report.terminal.doctor import nothing_found, show_diagnosis, write_diagnosis
from tests.data.doctor.read_back import read_back

TEXT = "Ein [bold]Text[/bold] mit <b> & $x_{"


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    """One of everything."""
    german = [f"Das ist der deutsche Text mit der Nummer {i}." for i in range(30)]
    english = [f"This is the English text that has the number {i}." for i in range(15)]
    anchors, positives = [*german, *english, TEXT, "…"], [f"Antwort Nummer {i}" for i in range(47)]
    anchors[3], positives[5] = anchors[4], anchors[5].upper()
    counts = {"anchor": np.arange(47), "positive": np.minimum(np.arange(47) * 2, 40)}
    data = RetrievalSet("s", {"q[1]": TEXT}, {"d1": positives[7], "d2": positives[7]}, {"q[1]": frozenset(["d1"])})
    return Doctor(near_copies=0.7).examine(
        Dataset.from_dict({"anchor": anchors, "positive": positives}),
        counts,
        40,
        {"dev": data, "test": data},
        BatchSummary(1487, extra=5, of_one_row=1255, sharing=3, clashing=2),
        held_out_counts={"dev": {"queries": np.array([40])}},
    )


def clean() -> Diagnosis:
    pairs = Dataset.from_dict({"anchor": ["a"], "positive": ["b"]})
    return Doctor(languages=0).examine(pairs, {"anchor": np.array([2]), "positive": np.array([2])}, 512, {})


def test_the_first_lines_of_a_run_have_the_warnings_alone(
    diagnosis: Diagnosis, capsys: pytest.CaptureFixture[str]
) -> None:
    show_diagnosis(diagnosis, brief=True)

    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"  doctor  {warning}" for warning in diagnosis.warnings]
    assert len(lines) > 5


def test_clean_data_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_diagnosis(clean(), brief=True)

    assert capsys.readouterr().out == f"  doctor  {nothing_found(clean())}\n"
    assert nothing_found(clean()) == "nothing found in 1 training rows and 0 held-out queries"


def test_the_whole_page_has_every_count_and_example(diagnosis: Diagnosis, capsys: pytest.CaptureFixture[str]) -> None:
    show_diagnosis(diagnosis, brief=False)

    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines() if "─" in line)
    for part in (
        "47 training rows",
        "cut at 40",
        "de 67%",
        "en 33%",
        "not counted",
        "100.0%",
        "1,487, of one row 1,255",
    ):
        assert part in shown
    assert f"row 46, anchor = q[1] (queries of dev, exact)  {TEXT}" in shown
    assert f"q[1] (dev) = q[1] (test)  {TEXT}" in shown
    assert "row 4, anchor: in 2 rows  Das ist der deutsche Text mit der Nummer 4." in shown
    assert "row 6, anchor: anchor is positive" in shown
    assert "row 47, anchor: no letter or digit  …" in shown
    show_diagnosis(clean(), brief=False)
    assert "held-out texts" not in capsys.readouterr().out


def rendered(diagnosis: Diagnosis) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = files("matryoshka.report.page").joinpath("doctor_page.html.j2").read_text(encoding="utf-8")
    svg = {"doctor_figure_light": "<svg id='light'></svg>", "doctor_figure_dark": "<svg id='dark'></svg>"}
    return environment.from_string(source).render(diagnosis=diagnosis, **svg)


def test_the_fragment_is_whole_and_escapes_texts(diagnosis: Diagnosis) -> None:
    section = ElementTree.fromstring(rendered(diagnosis))

    assert (section.tag, section.get("id")) == ("section", "doctor")
    assert [item.text for item in section.findall("ul[@class='warnings']/li")] == list(diagnosis.warnings)
    assert [svg.get("id") for svg in section.iter("svg")] == ["light", "dark"]
    assert TEXT in [quoted.text for quoted in section.iter("q")]
    rows = [["".join(cell.itertext()) for cell in row] for row in section.iter("tr")]
    column = diagnosis.columns["anchor"]
    assert next(row for row in rows if row[0] == "anchor")[1:5] == [str(column.distinct), "1", "1", "42"]
    assert "".join(ElementTree.fromstring(rendered(clean())).itertext()).count("Nothing found in 1 training rows.") == 1


@pytest.mark.parametrize("dark", [False, True])
def test_the_figure_draws_the_counts(diagnosis: Diagnosis, dark: bool) -> None:
    figure = doctor_figure(diagnosis, dark)

    assert same_color(figure.get_facecolor(), "white") != dark
    assert [text.get_text() for text in figure.texts] == ["57.4% of positive texts reach 40 tokens"]
    histograms, bars = figure.axes[::2], figure.axes[1::2]
    for axes, (name, column) in zip(histograms, diagnosis.columns.items(), strict=True):
        (steps,) = (patch for patch in axes.patches if isinstance(patch, StepPatch))
        np.testing.assert_array_equal(steps.get_data().values, column.lengths.counts)
        np.testing.assert_array_equal(steps.get_data().edges, column.lengths.edges)
        assert axes.get_title(loc="left").startswith(f"{name}: rows by length")
        assert [text.get_text() for text in axes.texts] == [f"{column.lengths.cut_share:.1%} cut at 40"]
        assert list(axes.lines[0].get_xdata()) == [40, 40]
    assert [text.get_text() for text in bars[0].texts] == ["de\n67%", "en\n33%"]


def test_a_limit_far_beyond_all_texts_is_told_not_drawn() -> None:
    histogram, other = doctor_figure(clean()).axes

    assert [text.get_text() for text in histogram.texts] == ["0.0% cut at 512 →"]
    assert not histogram.lines
    assert other.get_xlabel() == "tokens"


def test_files_hold_the_diagnosis(diagnosis: Diagnosis, tmp_path: Path) -> None:
    hostile = replace(diagnosis, columns={"an$chor_{": diagnosis.columns["anchor"]})
    written = write_diagnosis(tmp_path, hostile)

    assert read_back(json.loads(written["diagnosis"].read_text(encoding="utf-8"))) == hostile
    assert sorted(path.name for path in tmp_path.iterdir()) == ["doctor.json", "doctor.png", "doctor.svg"]
    assert written["figure"] == tmp_path / "doctor.png"
