"""Runs killed at any moment, then begun again by the same command: `python -m scripts.torture.kill [--cases 60]`."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.torture.runs import differences, ended, outcome, prepare, report, start

LANES = 2  # runs at a time
CALLS = ("replace", "rename", "fsync", "link", "unlink", "rmdir", "mkdir")  # of os: all of what changes a folder
KINDS = {
    "carry": ("accumulation=3", "dims_per_step=1"),
    "flush": ("accumulation=3", "accumulation_across_epochs=flush", "scheduler=reduce_on_plateau", "pairs_at_once=2"),
}


@dataclass(frozen=True)
class Whole:
    """An undisturbed run. seconds: how long it took. calls: how many of CALLS it made."""

    outcome: dict[str, Any]
    seconds: float
    calls: int


def kill_at_call(number: int, after: bool) -> Callable[[], None]:
    """Let the process kill itself at this call of CALLS, before it or after it; 0: only count, into calls.txt."""

    def patch() -> None:
        made = [0]

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*args: Any, **options: Any) -> Any:
                made[0] += 1
                if made[0] == number and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = call(*args, **options)
                if made[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                if not number:
                    os.pwrite(counter, str(made[0]).encode(), 0)
                return result

            return counting

        counter = -1 if number else os.open("calls.txt", os.O_WRONLY | os.O_CREAT)
        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))

    return patch


def run_whole(folder: Path, kind: str) -> Whole:
    """The undisturbed run, whose process counts its calls."""
    for run in (f"warm_{kind}", f"whole_{kind}"):  # the first one fills the cache
        begun = time.monotonic()
        words = (*KINDS[kind], f"hydra.run.dir={run}")
        code = ended(start(folder, words, kill_at_call(0, after=False)))
        assert code == 0, (folder / "said.txt").read_text(encoding="utf-8")
    seconds = time.monotonic() - begun
    return Whole(outcome(folder / f"whole_{kind}"), seconds, int((folder / "calls.txt").read_text()))


def try_case(folder: Path, number: int, seed: int, whole: dict[str, Whole]) -> tuple[str, list[str]]:
    """Kill a run once or twice, then let it end; returns what was done and what was lost."""
    choose = random.Random(f"{seed} {number}")
    kind = list(KINDS)[number % len(KINDS)]
    words = (*KINDS[kind], f"hydra.run.dir=case_{number}")
    done = [kind]
    for _ in range(1 + (choose.random() < 0.25)):
        if choose.random() < 0.5:
            call, after = choose.randint(1, whole[kind].calls), choose.random() < 0.5
            code = ended(start(folder, words, kill_at_call(call, after)))
            moment = f"{'after' if after else 'before'} call {call}"
        else:
            seconds = choose.uniform(0, whole[kind].seconds)
            pid = start(folder, words)
            timer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
            timer.start()
            code, moment = ended(pid), f"after {seconds:.1f} s"
            timer.cancel()
        done.append(f"killed {moment}" if code == -signal.SIGKILL else f"ended with {code}, kill {moment} came late")
    code = ended(start(folder, words))
    lost = [f"exit code {code}"] if code else differences(folder / f"case_{number}", whole[kind].outcome)
    return ", ".join(done), lost


def lane(folder: Path, numbers: range, seed: int, whole: dict[str, Whole], results: Path) -> None:
    """Try these cases one after another, a line each into the file."""
    for number in numbers:
        done, lost = try_case(folder, number, seed, whole)
        print(f"{number + 1:>3}  {done}: {'lost ' + ', '.join(lost) if lost else 'equal'}", flush=True)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"done": done, "lost": lost}) + "\n")


def main() -> None:
    """Tries so many cases; exits with 1 if one of them does not end as the undisturbed run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the counts here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        whole = {kind: run_whole(folder, kind) for kind in KINDS}
        pids = []
        for first in range(LANES):
            if not (pid := os.fork()):
                numbers = range(first, options.cases, LANES)
                lane(folder, numbers, options.seed, whole, folder / "results.jsonl")
                os._exit(0)
            pids.append(pid)
        for pid in pids:
            ended(pid)
        cases = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    lost = sum(bool(case["lost"]) for case in cases) + options.cases - len(cases)
    kills = sum(case["done"].count("killed") for case in cases)
    facts = [
        f"{len(cases)} runs were killed {kills} times by SIGKILL, at random moments and at random calls of "
        f"{', '.join(CALLS)}, then begun again by the same command.",
        f"{lost} of them ended with other weights, results or rows of the log than the undisturbed run, to the bit, "
        "or with other files.",
    ]
    report("kill", options.cases, lost, facts, options.json)


if __name__ == "__main__":
    main()
