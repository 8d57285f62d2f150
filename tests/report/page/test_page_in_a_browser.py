"""A real browser opens a page: nothing in it runs, and nothing makes it scroll sideways on a narrow screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from matryoshka.report.page.report import Report, html_report
from matryoshka.report.sweep.sweep_page import html_sweep
from tests.report.sweep.sweeps import job, sweep, without_result
from tests.report.whole import whole_record

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")
NARROW = 360  # a browser's own window is at least 500 wide, so the page is shown in a frame
FRAME = '<iframe width="{width}" height="800" frameborder="0" srcdoc="{page}"></iframe>'
FRAMES = """<!DOCTYPE html><title>frames</title><body>
{frames}
<script>addEventListener("load", () => {{
  const acting = part => [...part.attributes].some(a => a.name.startsWith("on") || /^\\s*javascript:/i.test(a.value));
  for (const frame of document.querySelectorAll("iframe")) {{
    const page = frame.contentDocument, root = page.scrollingElement;
    for (const part of page.querySelectorAll("details")) part.open = true;
    const found = {{inner: frame.contentWindow.innerWidth, whole: root.scrollWidth,
      title: page.title, sections: page.querySelectorAll("section").length,
      scripts: page.querySelectorAll("script").length, images: page.querySelectorAll("img, iframe, object").length,
      acting: [...page.querySelectorAll("*")].filter(acting).length}};
    document.body.append(document.createElement("output"));
    document.body.lastChild.textContent = JSON.stringify(found);
  }}
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


def opened(pages: Mapping[str, str], folder: Path) -> dict[str, dict[str, Any]]:
    """What a browser found in each of the pages."""
    assert BROWSER is not None
    shown = [page.replace("Content-Security-Policy", "x-none") for page in pages.values()]  # it would hide a script
    frames = "\n".join(FRAME.format(width=NARROW, page=html.escape(page)) for page in shown)
    path = folder / "frames.html"
    path.write_text(FRAMES.format(frames=frames), encoding="utf-8")

    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = [BROWSER, *flags, "--dump-dom", path.as_uri()]
    document = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found = [json.loads(html.unescape(text)) for text in re.findall("<output>([^<]*)</output>", document)]
    return dict(zip(pages, found, strict=True))


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


def hostile_run() -> str:
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
    return html_report(Report.of_training(record))


def hostile_sweep(folder: Path) -> str:
    """Names, settings, overrides and errors of its jobs."""
    jobs = [replace(job(), name=f"{i} {WHOLE}", settings={WHOLE: f"{i} {WHOLE}"}) for i in (1, 2, 3)]
    jobs[0] = replace(jobs[0], config={"name": WHOLE}, overrides=(f"x={WHOLE}", f"~y={WHOLE}"))
    jobs[2] = without_result(jobs[2], "failed", WHOLE)
    return html_sweep(sweep(*jobs, keys=(WHOLE,), name=WHOLE, split=WHOLE, stand_in=(WHOLE,)), folder)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All pages in one browser, which takes longer to start than to show them."""
    folder = tmp_path_factory.mktemp("browser")
    links = '<a href="javascript:1">x</a>'
    pages = {
        "run": html_report(Report.of_training(whole_record())),
        "hostile run": hostile_run(),
        "hostile sweep": hostile_sweep(folder / "sweep"),
        "not escaped": f"<!DOCTYPE html><title>calm</title><section>{HOSTILE[0]}{HOSTILE[1]}{links}</section>",
    }
    return opened(pages, folder)


def test_nothing_runs_and_nothing_overflows(found: dict[str, dict[str, Any]]) -> None:
    page = found["run"]
    assert page["title"] == Report.of_training(whole_record()).title
    assert (page["inner"], page["sections"]) == (NARROW, 10)
    assert page["whole"] <= NARROW
    assert (page["scripts"], page["images"], page["acting"]) == (1, 0, 0)  # the one of the page itself


def test_no_text_of_a_run_gets_out_of_its_place(found: dict[str, dict[str, Any]]) -> None:
    page = found["hostile run"]
    assert page["title"].startswith(HOSTILE[0])
    assert (page["scripts"], page["images"], page["acting"], page["sections"]) == (1, 0, 0, 10)


def test_no_text_of_a_sweep_gets_out_of_its_place(found: dict[str, dict[str, Any]]) -> None:
    page = found["hostile sweep"]
    assert page["title"].endswith(": 3 jobs")
    assert (page["scripts"], page["images"], page["acting"], page["sections"]) == (0, 0, 0, 6)


def test_the_browser_tells_what_is_not_escaped(found: dict[str, dict[str, Any]]) -> None:
    """Else the tests above could not fail."""
    page = found["not escaped"]
    assert (page["title"], page["scripts"], page["images"], page["acting"]) == ("ran", 1, 1, 2)
