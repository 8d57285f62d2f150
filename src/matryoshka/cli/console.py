"""The console script `matryoshka`."""

from __future__ import annotations

import sys

from matryoshka.cli.app import evaluate, train
from matryoshka.cli.dashboard import dashboard
from matryoshka.cli.exit_codes import ended

USAGE = "usage: matryoshka {train,evaluate,dashboard} [options and overrides]; matryoshka train --help shows choices"


def main() -> None:
    """`matryoshka train ...`, `matryoshka evaluate ...` and `matryoshka dashboard ...`."""
    commands = {"train": train, "evaluate": evaluate, "dashboard": dashboard}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        if sys.argv[1:2] in (["-h"], ["--help"]):
            sys.stdout.write(f"{USAGE}\n")
            sys.exit()
        ended(2, USAGE)
    command = sys.argv.pop(1)
    sys.argv[0] = f"matryoshka {command}"
    commands[command]()
