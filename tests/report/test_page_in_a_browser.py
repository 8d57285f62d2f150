"""A real browser opens a page: nothing in it runs, and nothing makes it scroll sideways on a narrow screen."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from matryoshka.report.page import Report, html_report
from tests.report.whole import whole_record

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
NARROW = 360  # a browser's own window is at least 500 wide, so the page is shown in a frame
FRAME = """<!DOCTYPE html><title>frame</title><body data-done="no">
<iframe width="{width}" height="800" frameborder="0" srcdoc="{page}"></iframe>
<script>addEventListener("load", () => {{
  const page = document.querySelector("iframe"), root = page.contentDocument.scrollingElement;
  for (const part of page.contentDocument.querySelectorAll("details")) part.open = true;
  Object.assign(document.body.dataset, {{done: "yes", inner: page.contentWindow.innerWidth, whole: root.scrollWidth,
    title: page.contentDocument.title, sections: page.contentDocument.querySelectorAll("section").length}});
}});</script>"""


@pytest.mark.skipif(BROWSER is None, reason=f"none of {', '.join(BROWSERS)} is installed")
def test_nothing_runs_and_nothing_overflows(tmp_path: Path) -> None:
    assert BROWSER is not None
    report = Report.of_training(whole_record())
    page = html_report(report).replace("Content-Security-Policy", "x-none")  # it would hide a script that got in
    path = tmp_path / "frame.html"
    path.write_text(FRAME.format(width=NARROW, page=html.escape(page)), encoding="utf-8")

    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [BROWSER, *flags, "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    body = re.search(r"<body [^>]*>", shown)
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', body[0] if body else ""))
    assert found.pop("done") == "yes"
    assert html.unescape(found.pop("title")) == report.title
    assert (found["inner"], found["sections"]) == (str(NARROW), "9")
    assert int(found["whole"]) <= NARROW
