"""All trials by force, one after another: `python -m scripts.torture.run_all [--only NAME ...] [--output PAGE]`.

Each is a process of its own. The page made of what they count goes to docs/reliability.md where all were run, else
only to --output. Exits with 1 if something was lost or a trial broke off.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from matryoshka.atomic import write_atomically
from matryoshka.durations import in_words
from scripts.torture.page import TRIALS, Outcome, Trial, page

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run them, print the count of each, write the page."""
    options = arguments()
    chosen = [trial for trial in TRIALS if not options.only or trial.name in options.only]
    outcomes = [outcome_of(trial) for trial in chosen]
    for outcome in outcomes:
        print(outcome.line)
    output = options.output or (None if options.only else ROOT / "docs" / "reliability.md")
    if output:
        print(f"page  {write_atomically(output, page(outcomes, date.today().isoformat()))}")
    if any(outcome.broken or outcome.lost for outcome in outcomes):
        sys.exit(1)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    names = [trial.name for trial in TRIALS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--output", type=Path, help="the page to write")
    return parser.parse_args(words)


def outcome_of(trial: Trial) -> Outcome:
    """Run one as a process, its output shown as it comes."""
    print(f"== {trial.name}: about {trial.minutes} min ==", flush=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "outcome.json"
        words = [sys.executable, "-m", f"scripts.torture.{trial.name}", *trial.words, "--json", str(record)]
        status = subprocess.run(words, cwd=ROOT).returncode
        outcome = Outcome.read(trial, record) if record.is_file() else Outcome(trial, broken=True)
    # Whatever a trial counts, one that ends with an error and no loss broke off.
    broken = outcome.broken or (status != 0 and not outcome.lost)
    return replace(outcome, broken=broken, took=in_words(time.perf_counter() - start))


if __name__ == "__main__":
    main()
