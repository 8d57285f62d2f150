"""The console script `matryoshka`. Modules are imported when called: `project` needs no torch and no Hydra."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {
    "train": "matryoshka.cli.app",
    "evaluate": "matryoshka.cli.app",
    "dashboard": "matryoshka.cli.dashboard",
    "project": "matryoshka.cli.project_vectors",
}
USAGE = f"usage: matryoshka {{{','.join(COMMANDS)}}} [options and overrides]; matryoshka train --help shows choices"


def main() -> None:
    """`matryoshka train ...`, and `evaluate`, `dashboard` and `project`."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        asked = sys.argv[1:2] in (["-h"], ["--help"])
        (sys.stdout if asked else sys.stderr).write(f"{USAGE}\n")
        sys.exit(0 if asked else 2)
    command = sys.argv.pop(1)
    sys.argv[0] = f"matryoshka {command}"
    getattr(import_module(COMMANDS[command]), command)()
