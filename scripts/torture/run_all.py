"""All trials by force, one after another: `python -m scripts.torture.run_all [--only NAME ...] [--output PAGE]`.

Each is a process of its own, and what it counted is kept in outputs/torture/. The page made of that is written where
there is a count of every trial, to docs/reliability.md. Exits with 1 if something was lost or a trial broke off.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from matryoshka.durations import in_words
from matryoshka.storage.atomic import write_atomically
from scripts.torture.page import TRIALS, Outcome, Trial, page

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "outputs" / "torture"
PAGE = ROOT / "docs" / "reliability.md"


def main() -> None:
    """Run them, print the count of each, write the page."""
    options = arguments()
    chosen = [trial for trial in TRIALS if not options.only or trial.name in options.only]
    outcomes = [outcome_of(trial) for trial in chosen]
    for outcome in outcomes:
        print(outcome.line)
    kept = [Outcome.read(trial, _record(trial)) for trial in TRIALS if _record(trial).is_file()]
    if len(kept) == len(TRIALS):
        print(f"page  {write_atomically(options.output, page(kept))}")
    if any(outcome.broken or outcome.lost for outcome in outcomes):
        sys.exit(1)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    names = [trial.name for trial in TRIALS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page to write")
    return parser.parse_args(words)


def outcome_of(trial: Trial) -> Outcome:
    """Run one as a process, its output shown as it comes."""
    print(f"== {trial.name}: about {trial.minutes} min ==", flush=True)
    start = time.perf_counter()
    record = _record(trial)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    words = [sys.executable, "-m", f"scripts.torture.{trial.name}", *trial.words, "--json", str(record)]
    status = subprocess.run(words, cwd=ROOT).returncode
    outcome = Outcome.read(trial, record) if record.is_file() else Outcome(trial, broken=True)
    if status and not outcome.lost:  # whatever it counted, it did not come to its end
        outcome = replace(outcome, broken=True)
    outcome = replace(outcome, took=in_words(time.perf_counter() - start), date=date.today().isoformat())
    outcome.write(record)
    return outcome


def _record(trial: Trial) -> Path:
    return RECORDS / f"{trial.name}.json"


if __name__ == "__main__":
    main()
