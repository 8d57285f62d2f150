"""Every malformed input, one after another: `python -m tests.malformed.count`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's client

import datasets

from tests.malformed.case import Case
from tests.malformed.meeting import met, save_tiny_model
from tests.malformed.tables import TABLES


def tried() -> Iterator[tuple[str, Case, list[str]]]:
    """Each case with its table's name and what is wrong with how it is met."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"MATRYOSHKA_CACHE": str(folder / "cache"), "MATRYOSHKA_BMF": "nowhere"}
        datasets.config.HF_DATASETS_CACHE = folder / "datasets"
        save_tiny_model(folder / "model")
        for table, cases in TABLES.items():
            for number, case in enumerate(cases):
                own = folder / f"{table} {number}"
                own.mkdir()
                yield table, case, met(case, own, folder / "model")


def main() -> None:
    """Prints those met wrongly and the counts; exits with 1 if there are any."""
    count, wrong = Counter[str](), 0
    for table, case, problems in tried():
        count[table] += 1
        wrong += bool(problems)
        for problem in problems:
            print(f"{table}, {case.name}: {problem}")
    for table, cases in count.items():
        print(f"  {table}: {cases}")
    print(f"malformed inputs tried: {count.total()}; met wrongly: {wrong}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
