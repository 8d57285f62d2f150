"""Files of every reader, changed at random: `python -m scripts.torture.fuzz [seconds] [--json FILE] [--seed N]`.

Each is to be read or refused with an error for the user. The readers run in a child process: one that crashes or does
not end is found, and the file that did it is kept and named.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from matryoshka.tasks.quiet_libraries import quiet_libraries
from tests.malformed.changes import changed, read, valid_files

PATIENCE = 60.0  # seconds that one file may take


def main() -> None:
    """Fuzzes for so many seconds; exits with 1 if a file was met with anything but rows or an error for the user."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float, nargs="?", default=60)
    parser.add_argument("--json", type=Path, help="write the counts here too")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tried, lost = _fuzz(options.seconds, options.seed, Path(name))
    for kind, outcomes in sorted(tried.items()):
        print(f"{kind}: {outcomes['read']} read, {outcomes['refused']} refused")
    count = sum(outcomes.total() for outcomes in tried.values())
    print(f"fuzz: {count} cases tried, {len(lost)} lost something")
    if options.json:
        refused = sum(outcomes["refused"] for outcomes in tried.values())
        facts = [
            f"{count} files of {len(tried)} kinds were changed at random and read in {options.seconds:g} seconds: "
            f"{refused} were refused with a message, the others read.",
            f"{len(lost)} ended in another error, a crash or a wait of more than {PATIENCE:g} seconds.",
        ]
        record = {"name": "fuzz", "tried": count, "lost": len(lost), "facts": facts}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    sys.exit(bool(lost))


def _fuzz(seconds: float, seed: int, folder: Path) -> tuple[dict[str, Counter[str]], list[str]]:
    """How often each kind was read and refused, and what else happened."""
    draw, tried, lost = random.Random(seed), {kind: Counter[str]() for kind in valid_files()}, []
    child, end = _Child(folder), time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        kind = draw.choice(list(tried))
        content = changed(valid_files()[kind], draw)
        outcome = child.read(kind, content, number)
        tried[kind][outcome if outcome in ("read", "refused") else "lost"] += 1
        if outcome not in ("read", "refused"):
            kept = Path(tempfile.gettempdir()) / f"fuzz-{seed}-{number}-{kind.replace('/', '-')}"
            kept.write_bytes(content)
            lost.append(outcome)
            print(f"{kind}, number {number} of seed {seed}: {outcome}; the file is {kept}")
    child.stop()
    return tried, lost


class _Child:
    """A process that reads files for this one, and another one where it crashed or did not end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.here, there = context.Pipe()
        self.process = context.Process(target=_serve, args=(there, self.folder), daemon=True)
        self.process.start()
        there.close()

    def read(self, kind: str, content: bytes, number: int) -> str:
        """read, refused, or what went wrong."""
        self.here.send((kind, content, number))
        try:
            if self.here.poll(PATIENCE):
                return str(self.here.recv())
            outcome = f"not done after {PATIENCE:g} seconds"
        except EOFError:
            self.process.join()
            outcome = f"the process ended with {self.process.exitcode}"
        self.stop()
        self._start()
        return outcome

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.here.close()


def _serve(there: Connection, folder: Path) -> None:
    """Reads what is sent, each file in a folder of its own."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "MATRYOSHKA_CACHE": str(folder / "cache")}
    import datasets

    datasets.config.HF_DATASETS_CACHE = folder / "datasets"
    quiet_libraries()
    while True:
        kind, content, number = there.recv()
        own = folder / str(number)
        own.mkdir()
        there.send(read(kind, content, own))
        shutil.rmtree(own, ignore_errors=True)


if __name__ == "__main__":
    main()
