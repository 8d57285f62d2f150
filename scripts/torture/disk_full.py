"""Runs whose disk fills up at any moment: `python -m scripts.torture.disk_full [--cases 12]`.

The run's folder is on a tmpfs of its own, which a file takes up but for a few bytes at a random call that changes the
disk. Then room is made, and the same command goes on. Without the right to mount a tmpfs nothing is tried, and said so.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matryoshka.training.checkpoints.kept import KeptCheckpoints
from scripts.torture.kill import CALLS, KINDS, Whole, run_whole
from scripts.torture.runs import differences, ended, prepare, report, start

SIZE = 64 << 20  # bytes of the tmpfs
LARGEST_REST = 120_000  # bytes left at the most: about a checkpoint of the small run


def fill_at_call(number: int, disk: Path, rest: int) -> Callable[[], None]:
    """Let the disk be full but for `rest` bytes from this call of CALLS on."""

    def patch() -> None:
        made = [0]

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*args: Any, **options: Any) -> Any:
                made[0] += 1
                if made[0] == number:
                    fill(disk, rest)
                return call(*args, **options)

            return counting

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))

    return patch


def fill(disk: Path, rest: int) -> None:
    """Take all of it but so many bytes."""
    place = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, place.f_bavail * place.f_frsize - rest))


def try_case(folder: Path, disk: Path, number: int, whole: dict[str, Whole]) -> tuple[str, list[str]]:
    """Fill the disk under a run, make room, and let it go on; returns what was seen and what was lost."""
    choose = random.Random(number)
    kind = list(KINDS)[number % len(KINDS)]
    outputs = disk / f"case_{number}"
    words = (*KINDS[kind], f"hydra.run.dir={outputs}")
    said = folder / "said.txt"
    said.unlink(missing_ok=True)
    call, rest = choose.randint(1, whole[kind].calls), choose.randint(0, LARGEST_REST)
    code = ended(start(folder, words, fill_at_call(call, disk, rest)))
    (disk / "ballast").unlink(missing_ok=True)
    text = said.read_text(encoding="utf-8")
    lost = []
    if code not in (0, 1, 2):
        lost.append(f"exit code {code}")
    if code == 1 and ("the disk is full" not in text or "Traceback" in text):
        lost.append("no plain message that the disk is full")
    if code and (lasts := KeptCheckpoints(outputs).lasts()) and KeptCheckpoints(outputs).newest() is None:
        lost.append(f"the checkpoints {lasts}")
    again = ended(start(folder, words))
    lost += [f"exit code {again} when there was room"] if again else differences(outputs, whole[kind].outcome)
    if lost:
        print(text[-2000:])
    return f"{kind}, {rest:,} bytes left from call {call} on, exit code {code}", lost


def main() -> None:
    """Tries so many cases; exits with 1 if one of them lost something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--json", type=Path, help="write the counts here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        disk = folder / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            report("disk_full", 0, 0, ["No tmpfs could be mounted here (which takes root), so none filled up."], None)
        try:
            prepare(folder)
            whole = {kind: run_whole(folder, kind) for kind in KINDS}
            tried = []
            for number in range(options.cases):
                done, lost = try_case(folder, disk, number, whole)
                print(f"{number + 1:>3}  {done}: {'lost ' + ', '.join(lost) if lost else 'equal'}", flush=True)
                tried.append((done, lost))
        finally:
            sys.stdout.flush()
            subprocess.run(["umount", str(disk)], check=False)
    lost = sum(bool(what) for _, what in tried)
    ended_early = sum(not done.endswith("code 0") for done, _ in tried)
    facts = [
        f"{len(tried)} runs had their disk filled up at a random moment; {ended_early} of them ended by it, with a "
        "message and without a traceback.",
        f"{lost} of them lost a checkpoint, or ended otherwise than the undisturbed run when there was room again.",
    ]
    report("disk_full", len(tried), lost, facts, options.json)


if __name__ == "__main__":
    main()
