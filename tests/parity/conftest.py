"""Comparisons with other people's code: each is asserted, and all of them make the table of `make parity`.

pytest tests/parity                                    the table on the terminal
pytest tests/parity --parity-page docs/parity.md       and as a page, if all was measured and agrees
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from torch import Tensor

from matryoshka.storage.atomic import write_atomically
from tests.parity.models_page import ModelsPage
from tests.parity.table import AREAS, Comparison, page, rows, terminal_table

PROJECT = Path(__file__).resolve().parents[2]


class Parity:
    """Asserts that two sides agree, and keeps by how much they differ."""

    def __init__(self, area: str, kept: list[tuple[str, object]]) -> None:
        self.area = area
        self._kept = kept

    def within(self, item: str, against: str, ours: Any, theirs: Any, allowed: float) -> None:
        """The largest absolute difference of two numbers, arrays or tensors of equal shape is at most `allowed`."""
        a, b = _numbers(ours), _numbers(theirs)
        assert a.shape == b.shape, f"{item}: shapes {a.shape} and {b.shape}"
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, which is to be shown as what it is
            difference = float(np.abs(a - b).max(initial=0.0))
        self._keep(Comparison(self.area, item, against, difference, allowed))

    def equal(self, item: str, against: str, ours: Sequence[object], theirs: Sequence[object]) -> None:
        """Two sequences are equal, entry by entry; what is missing on one side counts as different."""
        different = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b]
        count = len(different) + abs(len(ours) - len(theirs))
        shown = [(i, ours[i], theirs[i]) for i in different[:3]]
        self._keep(Comparison(self.area, item, against, count, 0), f"{shown}, lengths {len(ours)} and {len(theirs)}")

    def _keep(self, comparison: Comparison, detail: str = "") -> None:
        self._kept.append(("parity", comparison.as_dict()))
        assert comparison.holds, f"{comparison.item}, {comparison.against}: {comparison.difference} {detail}"


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Parity:
    """Comparisons of the area that the test's module names in AREA."""
    return Parity(request.module.AREA, request.node.user_properties)


@pytest.fixture(scope="session")
def oldest_release() -> Path:
    """The Python of an environment with sentence-transformers 3.0.1, the oldest release that we are compared with."""
    python = PROJECT / ".venv-3.0.1" / "bin" / "python"
    if not python.exists():
        pytest.fail(f"{python} is not there: run `make parity`, which builds it")
    return python


def release(package: str) -> str:
    """A package with its version, as the table names it."""
    return f"{package} {version(package)}"


def _numbers(values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    plain = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values
    return np.asarray(plain, dtype=np.float64)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is slow: the other libraries' imports alone take seconds."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--parity-page", type=Path, help="write the table there if every area was measured and every test passed"
    )
    parser.addoption("--models-page", type=Path, help="write docs/models.md there if all of its models agree")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # of several processes, the one that hears of all tests
        config.pluginmanager.register(Summary(config.getoption("parity_page", default=None)))
        config.pluginmanager.register(ModelsPage(config.getoption("models_page", default=None)))


class Summary:
    """Gathers the comparisons of all tests, whichever process they ran in, and shows them."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.comparisons: list[Comparison] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            found: list[Any] = [value for name, value in report.user_properties if name == "parity"]
            self.comparisons += [Comparison(**value) for value in found]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        measured = rows(sorted(self.comparisons, key=lambda comparison: AREAS.index(comparison.area)))
        if measured:
            width = terminalreporter._tw.fullwidth if sys.stdout.isatty() else 150  # a log has no edge
            Console(width=width).print(terminal_table(measured))
        if not self.path:
            return
        skipped = len(terminalreporter.stats.get("skipped", ()))
        if reason := self.why_no_page(exitstatus, skipped):
            terminalreporter.write_line(f"{self.path} is left as it was: {reason}", red=True)
        else:
            write_atomically(self.path, page(measured))
            terminalreporter.write_line(f"all {len(measured)} items agree: {self.path}")

    def why_no_page(self, exitstatus: int, skipped: int) -> str:
        """What speaks against a page that shows all that is compared, as agreeing; empty if nothing does."""
        if not all(comparison.holds for comparison in self.comparisons):
            return "not everything agrees"
        if exitstatus != pytest.ExitCode.OK or skipped:
            return "not every test passed"
        seen = {comparison.area for comparison in self.comparisons}
        missing = [area for area in AREAS if area not in seen]
        return f"nothing was measured of {', '.join(missing)}" if missing else ""
