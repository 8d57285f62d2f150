"""Which code a run is of: the commit of this project's checkout, and what has been changed since."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

from matryoshka.credentials import masked

LIMIT = 1_000_000  # characters of a diff
NAMED = 50  # changed files
PATIENCE = 10  # seconds


@dataclass(frozen=True)
class CodeState:
    """commit: its hash. changed: files that differ from it, as `git status` says. diff: of the tracked ones."""

    commit: str
    changed: tuple[str, ...]
    diff: str


@functools.cache
def code_state(checkout: Path | None = None) -> CodeState | None:
    """The state of the project's checkout; None where it is installed without one, or git cannot say.

    The diff is masked and cut after LIMIT characters. Read once: a run is of the code that it began with.
    """
    folder = checkout or _checkout()
    if folder is None or not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD").strip()
        changed = _git(folder, "status", "--porcelain").splitlines()
        diff = masked(_git(folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color"))
    except (OSError, subprocess.SubprocessError):
        return None
    if len(diff) > LIMIT:
        diff = f"{diff[:LIMIT]}\n... cut after {LIMIT:,} of {len(diff):,} characters\n"
    return CodeState(commit, tuple(masked(line) for line in changed[:NAMED]), diff)


def _checkout() -> Path | None:
    """The folder that this package is run from, not one that it is merely installed within."""
    source = Path(__file__).resolve().parents[2]
    return source.parent if source.name == "src" and (source.parent / "conf" / "train.yaml").is_file() else None


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "--no-optional-locks", *words]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
    return done.stdout.decode(errors="replace")
