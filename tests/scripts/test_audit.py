"""Licences and known vulnerabilities of what is installed: what is denied ends with an error."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.audit import summary
from scripts.dependency_list import Dependency, dependencies


def test_everything_that_a_run_needs_has_a_licence_that_is_allowed() -> None:
    found = dependencies()

    assert {"torch", "numpy", "hydra-core", "jinja2", "markupsafe"} <= {item.name for item in found}
    assert "matryoshka" not in {item.name for item in found}
    assert [(item.name, item.problem) for item in found if item.problem] == []


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "Apache-2.0 WITH LLVM-exception AND BSD-3-Clause AND BSL-1.0",
        "GPL-3.0-only OR MIT",
        "Mozilla Public License 2.0 (MPL 2.0)",
        "3-Clause BSD License",
        "MIT, BSD",
    ],
)
def test_free_licences(licence: str) -> None:
    assert Dependency("x", "1", licence).problem == ""


@pytest.mark.parametrize(
    ("licence", "problem"),
    [
        ("GPL-3.0-only", "is denied"),
        ("MIT AND AGPL-3.0-or-later", "is denied"),
        ("GNU General Public License v2 (GPLv2)", "is denied"),
        ("SSPL-1.0", "is denied"),
        ("CC-BY-NC-4.0", "is denied"),
        ("Apache-2.0 with Commons Clause", "is denied"),
        ("", "names no licence"),
        ("Whatever", "is not known to be free"),
        ("MIT AND Whatever", "is not known to be free"),
    ],
)
def test_others(licence: str, problem: str) -> None:
    assert Dependency("x", "1", licence).problem == problem


def test_cudas_own_libraries_are_what_they_are() -> None:
    assert Dependency("nvidia-cublas-cu12", "12", "LicenseRef-NVIDIA-Proprietary").problem == ""


SAFE = {"name": "a", "version": "1", "vulns": []}
KNOWN = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}, {"id": "CVE-2", "fix_versions": []}],
}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answer", "last", "found"),
    [
        ([SAFE, KNOWN], "vulnerabilities: 2 in 2 dependencies", 2),
        ([SAFE, SKIPPED], "vulnerabilities: 0 in 1 dependencies; 1 could not be audited", 0),
        ([SKIPPED], "vulnerabilities: not audited, the advisories cannot be had from here", 0),
        ([], "vulnerabilities: not audited, the advisories cannot be had from here", 0),
    ],
)
def test_what_is_said_of_vulnerabilities(answer: list[dict[str, Any]], last: str, found: int) -> None:
    lines, count = summary(answer)

    assert (lines[-1], count) == (last, found)
    assert ("b 2: CVE-1, mended in 3" in lines) == bool(found)
