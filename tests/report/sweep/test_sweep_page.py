"""The page of a sweep shows its jobs, leads to their reports, stands alone, and no text can break it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from matryoshka.report.sweep.search_table import read_front, show_front
from matryoshka.report.sweep.sweep_page import html_sweep
from matryoshka.sweep.effects import main_effects
from matryoshka.sweep.result import Outcome, Sweep
from tests.report.page.test_page import Page
from tests.report.sweep.sweeps import drawn_sweep, job, sweep, whole_sweep, without_result
from tests.report.whole import LONG, NASTY


@pytest.fixture(scope="module")
def whole() -> Sweep:
    found = whole_sweep()
    best = replace(
        found.jobs[0], config={"name": "bmf", "scheduler": {}, "dims": [768, 256, 64], "optimizer": {"lr": 5e-5}}
    )
    return replace(found, jobs=(best, *found.jobs[1:]))


@pytest.fixture(scope="module")
def folder(whole: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reports of all jobs but the third, the log of the failed one."""
    folder = tmp_path_factory.mktemp("sweep")
    for found in whole.done:
        (folder / found.name).mkdir()
        if found is not whole.done[2]:
            (folder / found.name / "report.html").touch()
    (folder / whole.failed[0].name).mkdir()
    (folder / whole.failed[0].name / "train.log").touch()
    return folder


@pytest.fixture(scope="module")
def source(whole: Sweep, folder: Path) -> str:
    return html_sweep(whole, folder)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_every_section_is_there_and_in_the_contents(page: Page) -> None:
    names = ["summary", "jobs", "figures", "effects", "unfinished", "again"]
    assert list(page.sections) == names
    assert [link.attributes["href"] for link in page.root.find("nav")[0].find("a")] == [f"#{name}" for name in names]


def test_the_table_has_the_jobs_own_values_and_links_each_report_that_is_there(
    page: Page, whole: Sweep, folder: Path
) -> None:
    head, *rows = page.sections["jobs"].find("tr")
    assert [cell.texts[0] for cell in head.children] == [
        "#", "dims", "lr", "scheduler", "nDCG@10 at 64", "nDCG@10 at 768", "nDCG@10 at 64", "time", "report",
    ]  # fmt: skip
    linked = []
    for row, found in zip(rows, whole.done, strict=True):
        assert found.tuned
        cells = [cell.texts[0] for cell in row.children[:-1]]
        values = [f"{found.tuned.metrics[dim]['ndcg@10']:.3f}" for dim in (768, 64)]
        assert cells[4:7] == [f"{found.value:.4f}", *values]
        low, high = found.tuned.intervals[64]["ndcg@10"]
        assert row.children[6].find("small")[0].text == f"{low:.3f}–{high:.3f}"
        linked += [link.attributes["href"] for link in row.find("a")]
    assert [unquote(link) for link in linked] == [f"{j.name}/report.html" for j in whole.done if j is not whole.done[2]]
    assert all((folder / unquote(link)).is_file() for link in linked)
    assert not [link for link in linked if re.search(r"[ \"'<>,=]", link)]


def test_the_summary_says_what_came_of_it(page: Page, whole: Sweep) -> None:
    text = page.sections["summary"].text
    effects = main_effects(whole)
    assert effects is not None

    wanted = [*whole.stand_in, whole.split, effects.finding(), "16 done, 1 failed, 1 stopped", "2e-5 | 5e-5 | 1e-4"]
    wanted += ["scheduler=cosine is the best of 16 jobs by nDCG@10 at 64 (0.5363)", "11 of the other 15 jobs overlap"]
    assert [sentence for sentence in wanted if sentence not in text] == []


def test_effects_stand_by_the_models_own(page: Page, whole: Sweep) -> None:
    effects = main_effects(whole)
    assert effects is not None

    shown = [value for effect in effects.effects for value in effect.levels.values()]
    cells = [cell.text for cell in page.sections["effects"].find("td") if re.fullmatch(r"[+−]\d\.\d{4}", cell.text)]
    assert cells == [f"{value:+.4f}".replace("-", "−") for value in shown]
    assert len(page.sections["effects"].find("i")) == len(shown)


def test_jobs_without_a_result_stand_there_with_their_reason(page: Page, whole: Sweep) -> None:
    rows = [row.text for row in page.sections["unfinished"].find("tr")[1:]]

    assert "failedout of memory: lower batch_size" in rows[0]
    assert rows[1].endswith("stoppedkilled before its end")
    (link,) = page.sections["unfinished"].find("a")
    assert unquote(link.attributes["href"]) == f"{whole.failed[0].name}/train.log"


def test_a_trial_that_was_given_up_is_no_failure(tmp_path: Path) -> None:
    drawn = drawn_sweep()
    page = Page(html_sweep(drawn, tmp_path))

    assert "1 of 20 jobs" in [strong.text for strong in page.sections["summary"].find("strong")]
    assert "11 done, 1 failed, 8 pruned" in page.sections["summary"].text
    (folded,) = page.sections["unfinished"].find("details")
    assert folded.find("summary")[0].text == "8 given up early, behind the others"
    assert len(folded.find("tr")) == 1 + 8 and len(page.sections["unfinished"].find("tr")) == 1 + 1 + 1 + 8
    without_failure = replace(drawn, jobs=tuple(job for job in drawn.jobs if job.state != "failed"))
    page = Page(html_sweep(without_failure, tmp_path))
    assert not page.sections["summary"].find("a") and page.sections["unfinished"].find("details")


def test_the_best_job_can_be_run_again(page: Page, folder: Path) -> None:
    command, experiment = (part.text for part in page.sections["again"].find("pre"))

    assert command == f"python train.py --config-dir {folder} +experiment=best_job export=sentence_transformers"
    assert "# @package _global_" in experiment and "override /scheduler: cosine" in experiment


def test_the_page_needs_nothing_from_anywhere(page: Page, source: str) -> None:
    tags = Counter(element.tag for element in page.root.all())
    assert not {"link", "img", "iframe", "object", "embed", "base", "image", "form", "script"} & set(tags)
    assert tags["svg"] == 6
    for element in page.root.all():
        for name, value in element.attributes.items():
            assert name not in ("src", "srcset", "data", "action") and not name.startswith("on")
            assert "url(" not in value.replace("url(#", ""), value
            assert name not in ("href", "xlink:href") or "://" not in value, value
    ids = Counter(element.attributes["id"] for element in page.root.all() if "id" in element.attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    assert len(source) < 700_000


def test_the_front_of_a_search_is_shown_and_its_numbers_are_linked(whole: Sweep, tmp_path: Path) -> None:
    sizes = [(256, 0.52, True), (1024, 0.53, True), (3072, 0.51, False)]
    outcomes = [Outcome(i, f"trial_{i:03d}", value, size, best) for i, (size, value, best) in enumerate(sizes)]
    show_front(tmp_path, outcomes, whole.stand_in)
    assert read_front(tmp_path) == outcomes
    section = Page(html_sweep(whole, tmp_path)).sections["figures"]

    first, *others = section.find("figure")
    assert "2 of 3 trials are on the front" in first.text and "bytes per vector" in first.text
    assert len(first.find("svg")) == 2 and len(others) == 3
    assert [link.attributes["href"] for link in section.find("a")] == ["pareto.csv"]
    assert (tmp_path / "pareto.csv").is_file()


def test_no_text_becomes_markup(tmp_path: Path) -> None:
    key = f"key {NASTY}"
    jobs = [replace(job(), name=f"javascript:{i}{NASTY}", settings={key: f"{i} {NASTY} {LONG}"}) for i in (1, 2, 3)]
    jobs[0] = replace(jobs[0], config={"name": NASTY}, overrides=(f"x={NASTY}", f"~y={NASTY}"))
    jobs[2] = without_result(jobs[2], "failed", NASTY)
    odd = sweep(*jobs, keys=(key,), name=NASTY, split=NASTY, stand_in=(NASTY,))
    page = Page(html_sweep(odd, tmp_path / NASTY.replace("/", "_")))

    assert not page.root.find("script") and not page.root.find("img")
    assert not any(name.startswith("on") for element in page.root.all() for name in element.attributes)
    for name in ("summary", "jobs", "figures", "effects", "unfinished", "again"):
        assert NASTY.split(" & ")[0].removeprefix("</pre>")[:30] in page.sections[name].text, name


def test_an_address_is_never_taken_for_another_scheme(tmp_path: Path) -> None:
    name = "javascript:alert(1)//é #?%"
    (tmp_path / name).mkdir(parents=True)
    (tmp_path / name / "report.html").touch()
    page = Page(html_sweep(sweep(replace(job(), name=name)), tmp_path))

    (link,) = page.sections["jobs"].find("a")
    assert re.fullmatch(r"[A-Za-z0-9%/._~-]+", link.attributes["href"])
    assert unquote(link.attributes["href"]) == f"{name}/report.html"


def test_without_a_single_job_there_is_a_page_still(tmp_path: Path) -> None:
    page = Page(html_sweep(sweep(), tmp_path))
    assert list(page.sections) == ["summary"] and "There are no jobs" in page.sections["summary"].text
