"""A page shows the record's own numbers, stands alone, and no text can break it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from matryoshka.evaluation.result import NO_DIM
from matryoshka.report.page.report import SCRIPT, Report, html_report, write_report
from matryoshka.report.record import TrainingRecord
from tests.report.records import DIMS, METRICS, record
from tests.report.whole import LONG, NASTY, measured, whole_record

VOID = {"meta", "br", "img", "link", "use", "path", "rect", "circle", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def all(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            yield from child.all()

    def find(self, tag: str) -> list[Element]:
        return [element for element in self.all() if element.tag == tag]

    @property
    def text(self) -> str:
        return "".join(text for element in self.all() for text in element.texts)

    def cells(self) -> list[list[str]]:
        """Every table row below, as texts."""
        rows = self.find("tr")
        return [
            [" ".join(["".join(c.texts[:1]), *(s.text for s in c.find("small"))]) for c in row.children] for row in rows
        ]


class Page(HTMLParser):
    """The tree of a page; fails where tags do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(page)
        self.close()
        assert self.open == [self.root]
        self.sections = {element.attributes["id"]: element for element in self.root.find("section")}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "br"):
            self.open.append(self.open[-1].children[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}, texts=[]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].texts.append(data)


@pytest.fixture(scope="module")
def run() -> TrainingRecord:
    return whole_record()


@pytest.fixture(scope="module")
def source(run: TrainingRecord) -> str:
    return html_report(Report.of_training(run))


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_every_section_is_there_and_in_the_contents(page: Page) -> None:
    links = [link.attributes["href"] for link in page.root.find("nav")[0].find("a")]

    names = [
        "summary",
        "protocols",
        "doctor",
        "curves",
        "changed",
        "metrics",
        "deploy",
        "failures",
        "config",
        "environment",
    ]
    assert links == [f"#{name}" for name in names]
    assert list(page.sections) == names
    headings = {name: section.find("h2")[0].text for name, section in page.sections.items()}
    assert [link.text for link in page.root.find("nav")[0].find("a")] == list(headings.values())


def test_the_main_table_has_the_results_own_values(page: Page, run: TrainingRecord) -> None:
    head, *rows = page.sections["summary"].cells()

    assert head == ["dim", "model", "nDCG@10", "MAP@100", "accuracy@1"]
    names = ["ndcg@10", "map@100", "accuracy@1"]
    expected = []
    for dim in [*DIMS, NO_DIM]:
        first = [str(dim or "–")]
        for label, shown in (("base", run.base), ("tuned", run.tuned), *((b.model, b) for b in run.baselines)):
            if dim in shown.metrics:
                values = [shown.metrics[dim].get(name) for name in names]
                ends = [shown.intervals.get(dim, {}).get(name) for name in names]
                cells = [_cell(value, interval) for value, interval in zip(values, ends, strict=True)]
                expected.append([*first, label, *cells])
                first = []
    assert rows == expected
    assert len(expected) == 2 * 3 + 2


def _cell(value: float | None, ends: tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" {ends[0]:.3f}–{ends[1]:.3f}" if ends else "")


def test_the_summary_says_what_nobody_may_miss(page: Page, run: TrainingRecord) -> None:
    summary = page.sections["summary"].text
    assert run.diagnosis and run.deployment
    assert len(run.diagnosis.warnings) > 1

    said = [*run.stand_in, run.split, *run.diagnosis.warnings, *run.deployment.choices()]
    said += [
        "8 numbers keep 94% of the nDCG@10 of 32",
        "4,957 pairs of letters",
        "update 19",
        "an abacus",
        "20 min 34 s",
    ]
    assert [sentence for sentence in said if sentence not in summary] == []


def test_both_protocols_stand_side_by_side(page: Page, run: TrainingRecord) -> None:
    tables = page.sections["protocols"].find("table")

    assert [table.find("caption")[0].text for table in tables] == ["nDCG@10", "MAP@100", "accuracy@1"]
    for table, name in zip(tables, ("ndcg@10", "map@100", "accuracy@1"), strict=True):
        for dim, row in zip(DIMS, table.cells()[2:], strict=True):
            base, tuned = run.base, run.tuned
            values = [base.metrics[dim][name], tuned.metrics[dim][name], tuned.expected[dim][name], 0.111]
            values += [base.merged[dim][name], tuned.merged[dim][name], 0.999]
            assert [cell.split()[0] for cell in row] == [str(dim), *(f"{value:.3f}" for value in values)]


def test_all_metrics_of_every_dim_have_four_digits(page: Page, run: TrainingRecord) -> None:
    parts = page.sections["metrics"].find("details")

    assert [part.find("summary")[0].text for part in parts] == [*(f"{dim} dimensions" for dim in DIMS), "BM25"]
    rows = {row[0]: row for row in parts[0].cells()}
    for name, shown in zip(METRICS, ("accuracy@1", "nDCG@10", "MAP@100"), strict=True):
        assert rows[shown][2].split()[0] == f"{run.tuned.metrics[32][name]:.4f}"
        assert rows[f"{shown}, merged"][2].split()[0] == f"{run.tuned.merged[32][name]:.4f}"


def test_the_page_needs_nothing_from_anywhere(page: Page, source: str) -> None:
    tags = Counter(element.tag for element in page.root.all())
    assert not {"link", "img", "iframe", "object", "embed", "base", "image", "form"} & set(tags)
    for element in page.root.all():
        for name, value in element.attributes.items():
            assert name not in ("src", "srcset", "data", "action")
            assert name not in ("href", "xlink:href") or value.startswith("#"), value
            assert "url(" not in value.replace("url(#", ""), value
    for style in page.root.find("style"):
        assert "url(" not in style.text and "@import" not in style.text
    assert len(source) < 1_500_000


def test_no_text_becomes_markup(page: Page, source: str) -> None:
    (script,) = page.root.find("script")
    assert script.text == SCRIPT
    assert not any(name.startswith("on") for element in page.root.all() for name in element.attributes)
    for name in ("summary", "doctor", "failures", "config", "environment"):
        assert NASTY.split(" & ")[0] in page.sections[name].text, name
    (policy,) = [e for e in page.root.find("meta") if e.attributes.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert policy.attributes["content"].startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in policy.attributes["content"]


def test_ids_are_unique_and_every_reference_is_to_one(page: Page, source: str) -> None:
    ids = Counter(element.attributes["id"] for element in page.root.all() if "id" in element.attributes)
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', source))

    assert [name for name, count in ids.items() if count > 1] == []
    assert len(references) > 20 and references <= set(ids)


def test_figures_are_there_in_light_and_dark_and_have_a_name(page: Page) -> None:
    figures = [figure for section in page.sections.values() for figure in section.find("figure")]

    assert len(figures) == 5
    for figure in figures:
        light, dark = (box for box in figure.children if box.tag == "div")
        assert (light.attributes["class"], dark.attributes["class"]) == ("light", "dark")
        assert "#16181d" not in light.text + str([e.attributes for e in light.all()])
        for (svg,) in (light.find("svg"), dark.find("svg")):
            assert svg.attributes["role"] == "img"
            assert svg.attributes["aria-label"] == svg.find("title")[0].text
            assert svg.find("text")


def test_every_table_scrolls_in_a_box_of_its_own(page: Page) -> None:
    for box in page.root.all():
        for child in box.children:
            assert child.tag != "table" or box.attributes.get("class") == "scroll"


def test_without_copies_one_sentence_says_that_both_protocols_are_the_same() -> None:
    tuned = measured(0.2, copies=0)
    page = Page(html_report(Report.of_training(record(base=measured(0.1, copies=0), tuned=tuned, history=()))))

    assert "the same whether copies count as one document or not" in page.sections["protocols"].text
    assert not page.sections["protocols"].find("table")
    assert "copies" not in page.sections["summary"].text
    assert "merged" not in page.sections["metrics"].text


def test_an_evaluation_alone_has_no_base_and_no_training(run: TrainingRecord, tmp_path: Path) -> None:
    tuned = replace(run.tuned, model=f"a {NASTY} model")
    report = Report.of_evaluation(tuned, {}, 61.4, config={}, baselines=run.baselines, failures=run.failures)
    path = write_report(tmp_path, report)
    page = Page(path.read_text(encoding="utf-8"))

    assert path == tmp_path / "report.html"
    assert list(page.sections) == ["summary", "protocols", "metrics", "failures", "config", "environment"]
    assert [link.attributes["href"][1:] for link in page.root.find("nav")[0].find("a")] == list(page.sections)
    assert page.sections["summary"].cells()[1][:3] == ["32", tuned.model, _cell(0.2 + 0.032 + 1 / 7, (0.355, 0.405))]
    assert "1 min 01 s" in page.sections["summary"].text and LONG[:100] in page.sections["failures"].text
    assert "base" not in {cell for section in page.sections.values() for row in section.cells() for cell in row}
