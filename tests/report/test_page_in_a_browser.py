"""A real browser opens a page: nothing in it runs, and nothing makes it scroll sideways on a narrow screen."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from matryoshka.report.page import Report, html_report
from matryoshka.report.sweep_page import html_sweep
from tests.report.sweeps import job, sweep, without_result
from tests.report.whole import whole_record

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
NARROW = 360  # a browser's own window is at least 500 wide, so the page is shown in a frame
FRAME = """<!DOCTYPE html><title>frame</title><body data-done="no">
<iframe width="{width}" height="800" frameborder="0" srcdoc="{page}"></iframe>
<script>addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument, root = page.scrollingElement;
  const window_ = document.querySelector("iframe").contentWindow;
  for (const part of page.querySelectorAll("details")) part.open = true;
  const acting = part => [...part.attributes].some(a => a.name.startsWith("on") || /^\\s*javascript:/i.test(a.value));
  Object.assign(document.body.dataset, {{done: "yes", inner: window_.innerWidth, whole: root.scrollWidth,
    title: page.title, sections: page.querySelectorAll("section").length,
    scripts: page.querySelectorAll("script").length, images: page.querySelectorAll("img, iframe, object").length,
    acting: [...page.querySelectorAll("*")].filter(acting).length}});
}});</script>"""
# Each tries to get out of where it stands: an element, an attribute, a script, a line.
HOSTILE = (
    "<script>document.title = 'ran'</script>",
    "</script></style></svg></title><img src=x onerror=\"document.title='ran'\">",
    '" onmouseover="document.title=\'ran\'" autofocus onfocus="document.title=\'ran\'" x="',
    "' onload='document.title=1' <svg onload=document.title='ran'>",
    "javascript:document.title='ran'",
    "\u2028document.title='ran'\u2029//<!--<script>-->",
    "&lt;script&gt;document.title='ran'&lt;/script&gt;",
)
WHOLE = " ".join(HOSTILE)


def opened(page: str, folder: Path) -> dict[str, str]:
    """What a browser found in the page."""
    assert BROWSER is not None
    page = page.replace("Content-Security-Policy", "x-none")  # it would hide a script that got in
    path = folder / "frame.html"
    path.write_text(FRAME.format(width=NARROW, page=html.escape(page)), encoding="utf-8")

    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = [BROWSER, *flags, "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    body = re.search(r"<body [^>]*>", shown)
    found = {name: html.unescape(value) for name, value in re.findall(r'data-(\w+)="([^"]*)"', body[0] if body else "")}
    assert found.pop("done") == "yes"
    return found


def hostile(value: Any) -> Any:
    """The same values with every text in them a hostile one, names of classes aside."""
    if isinstance(value, str):
        return WHOLE
    if isinstance(value, Mapping):
        return {key: hostile(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(hostile, value))
    if is_dataclass(value) and not isinstance(value, type):
        changed = {item.name: hostile(getattr(value, item.name)) for item in fields(value) if item.init}
        return replace(value, **changed)
    return value


@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")
def test_nothing_runs_and_nothing_overflows(tmp_path: Path) -> None:
    report = Report.of_training(whole_record())
    found = opened(html_report(report), tmp_path)

    assert found["title"] == report.title
    assert (found["inner"], found["sections"]) == (str(NARROW), "9")
    assert int(found["whole"]) <= NARROW
    assert (found["scripts"], found["images"], found["acting"]) == ("1", "0", "0")  # the one of the page itself


@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")
def test_no_text_of_a_run_gets_out_of_its_place(tmp_path: Path) -> None:
    """Passages, queries and their ids, names of models, data and the run, the data doctor's findings."""
    whole = whole_record()
    record = replace(
        whole,
        name=WHOLE,
        base_model=WHOLE,
        stand_in=(WHOLE,),
        split=WHOLE,
        pairs=replace(whole.pairs, name=WHOLE),
        tuned=replace(whole.tuned, model=WHOLE, data=WHOLE),
        baselines=tuple(replace(other, model=f"{other.model} {WHOLE}") for other in whole.baselines),
        failures=hostile(whole.failures),
        diagnosis=hostile(whole.diagnosis),
        environment={WHOLE: WHOLE},
        config={**whole.config, WHOLE: WHOLE},
    )
    page = html_report(Report.of_training(record))
    found = opened(page, tmp_path)

    assert found["title"].startswith(HOSTILE[0])
    assert (found["scripts"], found["images"], found["acting"], found["sections"]) == ("1", "0", "0", "9")


@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")
def test_no_text_of_a_sweep_gets_out_of_its_place(tmp_path: Path) -> None:
    jobs = [replace(job(), name=f"{i} {WHOLE}", settings={WHOLE: f"{i} {WHOLE}"}) for i in (1, 2, 3)]
    jobs[0] = replace(jobs[0], config={"name": WHOLE}, overrides=(f"x={WHOLE}", f"~y={WHOLE}"))
    jobs[2] = without_result(jobs[2], "failed", WHOLE)
    page = html_sweep(sweep(*jobs, keys=(WHOLE,), name=WHOLE, split=WHOLE, stand_in=(WHOLE,)), tmp_path / "sweep")
    found = opened(page, tmp_path)

    assert found["title"].endswith(": 3 jobs")
    assert (found["scripts"], found["images"], found["acting"], found["sections"]) == ("0", "0", "0", "6")


@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")
def test_the_browser_tells_what_is_not_escaped(tmp_path: Path) -> None:
    """Else the tests above could not fail."""
    links = '<a href="javascript:1">x</a>'
    found = opened(f"<!DOCTYPE html><title>calm</title><section>{HOSTILE[0]}{HOSTILE[1]}{links}</section>", tmp_path)

    assert (found["title"], found["scripts"], found["images"], found["acting"]) == ("ran", "1", "1", "2")
