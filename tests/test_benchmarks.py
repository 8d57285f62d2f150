"""The benchmarks' page shows what the records say, and every script starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
HELP_OF_ALL = """
import runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
        sys.exit(f"{script} ran on")
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    """record.py and page.py, which find each other as scripts of one folder do."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import page
    import record

    yield record, page
    for name in ("record", "page", "curve_figure"):
        sys.modules.pop(name)


def write_records(record: ModuleType, folder: Path, precision: str = "fp32", failed: bool = True) -> Path:
    """A run whose numbers are easy to find again."""
    folder.mkdir()
    environment = {"processor": "Some CPU, 2 cores, AVX2", "threads": "2", "matryoshka": "0.1.0", "torch": "9.8.7"}
    environment |= {"transformers": "6.5.4", "pytorch-lightning": "3.2.1"}
    seconds = {"training_step": 60.0, "lengths": 120.0, "search": 1.0}
    missing = ["search"] if failed else []
    record.Run("2026-01-31 12:00", environment, "AVX2", precision, "measured", "6.2.0", False, seconds, missing).write(
        folder
    )
    row = record.Comparison
    rows = [
        row("a | job", "pairs/s", [9.0, 10.0, 8.0], [3.0, 4.0, 4.0], True, "losses agree", 2.5),
        row("a slower job", "s", [10.0], [30.0], False, "they DO NOT AGREE", 8.0),
        row("a job without a target", "s", [1.0], [2.0], False, "equal"),
    ]
    facts = [
        record.Fact("cost of dims", 1.25, "times", 1.1),
        record.Fact("rate", 0.75, "of peak", 0.7, at_least=True),
        record.Fact("size", 1234.0, "MB"),
    ]
    record.Record("One", rows, facts, notes=["Half of it is products."]).write(folder / "training_step.json")
    lines = {"matryoshka": [30.0, 20.0, 2.0], "sentence-transformers": [10.0, 3.0, None]}
    curve = record.Curve("made_up", "Pairs against length", "tokens", "pairs/s", [32, 64, 512], lines)
    record.Record("Two", curves=[curve]).write(folder / "lengths.json")
    return folder


def test_the_page_shows_the_records(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    record, page = modules
    records = write_records(record, tmp_path / "records")
    text = page.write_page(records, tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    # ratios of the first row: 3, 2.5, 2; median speeds 9 and 4
    assert (
        "| a \\| job | 4 pairs/s | 9 pairs/s | 2.50 (2.00 to 3.00, 3 repeats) | 2.5, reached | losses agree |" in text
    )
    assert "| a slower job | 30 s | 10 s | 3.00 (1 repeat) | **8, missed** | **they DO NOT AGREE** |" in text
    assert "| a job without a target | 2 s | 1 s | 2.00 (1 repeat) | not applicable | equal |" in text
    assert "Reached: 1 of 2 targets. **Missed:**\n\n- a slower job: 3.00 (1 repeat), target 8" in text
    assert "| cost of dims | 1.25 times | at most 1.1 times | **no** |" in text
    assert "| rate | 0.75 of peak | at least 0.7 of peak | yes |" in text
    assert "| size | 1,234 MB |  |  |" in text
    assert "| 512 | 2 |  |" in text and "Half of it is products." in text
    assert "Failed, so that their figures are missing: `search.py`" in text
    for said in ("Some CPU, 2 cores, AVX2; 2 threads", "no bf16 units", "torch 9.8.7", "sentence-transformers 6.2.0"):
        assert said in text
    assert "2026-01-31" in text and "Nothing here was run on a GPU" in text and "tiny sizes" not in text
    (image,) = re.findall(r"!\[Pairs against length\]\((.+)\)", text)
    assert (tmp_path / "docs" / image).read_bytes().startswith(b"\x89PNG")


def test_a_machine_with_bf16_units_and_a_quick_run_are_named(
    modules: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    record, page = modules
    records = write_records(record, tmp_path / "records", "bf16", failed=False)
    run = record.Run.read(records)
    run.quick = True
    run.write(records)
    text = page.write_page(records, tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "no bf16 units" not in text and "not applicable" not in text and "Failed" not in text
    assert "| 2.00 (1 repeat) | none | equal |" in text
    assert "They say nothing about speed" in text


def test_a_record_reads_what_it_wrote(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    record, _ = modules
    folder = write_records(record, tmp_path / "records")
    for name in ("training_step", "lengths"):
        found = record.Record.read(folder / f"{name}.json")
        found.write(folder / "again.json")
        assert record.Record.read(folder / "again.json") == found


@pytest.mark.slow
def test_every_script_has_help() -> None:
    """In one process, since most of the time goes into imports."""
    names = re.findall(r'Benchmark\("(\w+)"', (FOLDER / "run_all.py").read_text(encoding="utf-8"))
    scripts = [str(path) for name in [*names, "run_all", "page"] if (path := FOLDER / f"{name}.py").is_file()]
    assert len(scripts) > 4
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", HELP_OF_ALL, *scripts]
    done = subprocess.run(words, cwd=FOLDER, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage:") == len(scripts)
