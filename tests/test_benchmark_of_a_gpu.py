"""benchmarks/gpu.py as a CPU can try it: all of its parts, tiny; its limits; and the page that it writes."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
LINES: list[dict[str, Any]] = [
    {"part": "machine", "device": "NVIDIA H200", "torch": "9.8.7", "cuda": "13.0"},
    {"part": "machine", "products": "bfloat16", "teraflops": 788.0},
    {"part": "machine", "seconds": 9.0},
    {"part": "steps", "way": "merged", "first_seconds": 2.0, "seconds_an_update": 0.25, "tokens_per_second": 240_000.0}
    | {"mfu": 0.431, "launches": 4321, "peak_gigabytes": 21.0, "estimated_gigabytes": 20.0},
    {"part": "steps", "failed": "ended after 150 s, its limit; too slow", "seconds": 150.0},
    {"part": "search", "queries": 10, "documents": 100, "dims": [8], "seconds": 0.5, "equal_to_the_hosts": False},
    {"part": "search", "seconds": 4.0},
]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FOLDER))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("gpu"):
            del sys.modules[name]


@pytest.mark.usefixtures("modules")
def test_the_page_has_every_figure_and_says_what_failed(tmp_path: Path) -> None:
    page = importlib.import_module("gpu_page").write_page(LINES, tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "Never run on a GPU" not in page
    assert "| merged | 250 ms | 240,000 | 43.1% | 4,321 | 21 GB | 20 GB | 2 s |" in page
    assert "products in bfloat16 | 788 TFLOP/s" in page and "- steps: ended after 150 s, its limit; too slow" in page
    assert "**not those of the host**" in page


@pytest.mark.usefixtures("modules")
def test_the_page_of_a_cpu_says_that_no_gpu_was_there(tmp_path: Path) -> None:
    lines = [{**LINES[0], "device": "CPU"}, *LINES[1:]]
    page = importlib.import_module("gpu_page").write_page(lines, tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "**Never run on a GPU.**" in page


def test_the_page_in_the_docs_is_one_of_them() -> None:
    page = (FOLDER.parent / "docs" / "gpu.md").read_text(encoding="utf-8")
    assert page.startswith("# On a GPU") and "## An update, way by way" in page
    assert ("Never run on a GPU" in page) == ("| device | CPU |" in page)


@pytest.mark.slow
@pytest.mark.usefixtures("modules")
def test_a_part_that_takes_too_long_is_ended_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu: ModuleType = importlib.import_module("gpu")
    monkeypatch.setitem(gpu.PARTS, "machine", replace(gpu.PARTS["machine"], seconds=0.1))
    (line,) = gpu.lines_of("machine", "cpu", tmp_path)
    assert line["part"] == "machine" and "its limit" in line["failed"]


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path: Path) -> None:
    """But for the tests, which run where they stand."""
    parts = ["machine", "kernels", "steps", "theirs", "encoding", "search", "run"]
    command = [sys.executable, str(FOLDER / "gpu.py"), "--device", "cpu", "--folder", str(tmp_path), "--only", *parts]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["part"] for line in lines} == set(parts)
    ways = {line["way"]: line for line in lines if "way" in line}
    assert ways["merged"]["launches"] < 0.6 * ways["one at a time"]["launches"]
    (agreed,) = [line for line in lines if "loss_difference_fp32" in line]
    assert agreed["loss_difference_fp32"] < 1e-4 and agreed["gradient_difference_fp32"] < 1e-4
    assert [line["equal_to_the_hosts"] for line in lines if "equal_to_the_hosts" in line] == [True]
    assert "Never run on a GPU" in (tmp_path / "gpu.md").read_text(encoding="utf-8")
