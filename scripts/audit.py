"""Known vulnerabilities of what a run depends on, by pip-audit: python -m scripts.audit

Ends with 1 where there are any. Where the advisories cannot be had, it says so and ends with 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.dependency_list import Dependency, dependencies

TIMEOUT = 10  # seconds for an answer of the service
PATIENCE = 300  # for all of them


def main() -> None:
    """Ask, and print what was found."""
    answer = asked(dependencies())
    lines, found = summary(answer)
    print("\n".join(lines))
    sys.exit(1 if found else 0)


def asked(found: Sequence[Dependency]) -> list[dict[str, Any]]:
    """pip-audit's answer, an item a dependency; empty where it could not be had."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        # Advisories know no builds, as in 2.13.0+cpu.
        file.write("".join(f"{item.name}=={item.version.partition('+')[0]}\n" for item in found))
        file.flush()
        options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
        command = [Path(sys.executable).with_name("pip-audit"), "-r", file.name, *options, "--timeout", str(TIMEOUT)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
            answer: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        except (OSError, subprocess.TimeoutExpired, ValueError, KeyError):
            return []
    return answer


def summary(answer: Sequence[dict[str, Any]]) -> tuple[list[str], int]:
    """Lines to print, and how many vulnerabilities there are."""
    audited = [item for item in answer if "skip_reason" not in item]
    if not audited:
        return ["vulnerabilities: not audited, the advisories cannot be had from here"], 0
    lines = [
        f"{item['name']} {item['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none yet'}"
        for item in audited
        for known in item["vulns"]
    ]
    skipped = len(answer) - len(audited)
    count = f"vulnerabilities: {len(lines)} in {len(audited)} dependencies"
    return [*lines, count + (f"; {skipped} could not be audited" if skipped else "")], len(lines)


if __name__ == "__main__":
    main()
