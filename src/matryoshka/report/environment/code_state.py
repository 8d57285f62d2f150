"""Which code a run is of: the commit of this project's checkout, and what has been changed since."""

from __future__ import annotations

import functools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from matryoshka.storage.credentials import masked, without_secrets

LIMIT = 1_000_000  # characters of a diff
NAMED = 50  # changed files
PATIENCE = 10  # seconds for a command
HEADER = re.compile(r"^(@@ [^@\n]* @@).*$", re.MULTILINE)  # ends with some earlier line of the file


@dataclass(frozen=True)
class CodeState:
    """commit: its hash. changed: files that differ from it, as `git status` says. diff: of the tracked ones.

    changed and diff are None where git did not say in time.
    """

    commit: str
    changed: tuple[str, ...] | None
    diff: str | None


@functools.cache
def code_state(checkout: Path | None = None) -> CodeState | None:
    """The state of the project's checkout; None where it is installed without one, or git cannot say.

    The diff is masked and cut after LIMIT characters. Read once: a run is of the code that it began with.
    """
    folder = checkout or _checkout()
    if folder is None or not (folder / ".git").exists():
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _git(folder, "status", "--porcelain")
    diff = _git(folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color")
    named = None if changed is None else tuple(map(masked, changed.splitlines()[:NAMED]))
    return CodeState(commit.strip(), named, None if diff is None else _to_be_shown(diff))


def _to_be_shown(diff: str) -> str:
    diff = without_secrets(HEADER.sub(r"\1", diff))
    if len(diff) <= LIMIT:
        return diff
    return f"{diff[:LIMIT]}\n... cut after {LIMIT:,} of {len(diff):,} characters\n"


def _checkout() -> Path | None:
    """The folder that this package is run from, not one that it is merely installed within."""
    source = Path(__file__).resolve().parents[3]
    return source.parent if source.name == "src" and (source.parent / "conf" / "train.yaml").is_file() else None


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where it fails or takes too long, as `status` may in a large checkout."""
    command = ["git", "-C", str(folder), "--no-optional-locks", *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")
