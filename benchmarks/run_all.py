"""All benchmarks, one after another: `python benchmarks/run_all.py [--only NAME ...] [--quick] [--output PAGE]`.

Each is a process of its own with the machine to itself. Records go to outputs/benchmarks/<date>/, the page made from
them to docs/benchmarks.md; where only some were run, or with tiny sizes, it stays beside the records. Exits with 1 if
one fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import torch
from page import DEFAULT, ROOT, write_page
from record import Run
from rich.console import Console
from rich.markup import escape

from matryoshka.report.environment.environment import environment
from matryoshka.training.precision import choose_precision

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Benchmark:
    """A script of this folder. minutes: what it may take on 2 cores; quick: options for a run of tiny sizes."""

    name: str
    minutes: float
    quick: str = ""

    @property
    def path(self) -> Path:
        """Its file."""
        return HERE / f"{self.name}.py"


BENCHMARKS = (
    Benchmark("training_step", 3, "--batch 4 --steps 1"),
    Benchmark("evaluation", 8, "--queries 8 --documents 12"),
    Benchmark("whole_job", 8, "--pairs 8 --batch 4 --queries 3 --documents 5 --epochs 1"),
    Benchmark("time_to_quality", 15, "--pairs 96 --queries 8 --documents 12 --smallest 36"),
    Benchmark("lengths", 5, "--batch 3 --tokens 64"),
    Benchmark("search", 4, "--queries 10 --documents 2000"),
    Benchmark("start", 3),
    Benchmark("memory", 3),
    Benchmark("batch_size", 3),
    Benchmark("step_profile", 2, "--batch 4"),
    Benchmark("project_vectors", 2, "--vectors 20000"),
    Benchmark("models", 2, "--texts 8"),
)


def main() -> None:
    """Run them, then write the page."""
    options = arguments()
    chosen = [item for item in BENCHMARKS if item.path.is_file() and (not options.only or item.name in options.only)]
    started = datetime.now()
    folder = ROOT / "outputs" / "benchmarks" / started.strftime("%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True)
    choice = choose_precision(torch.device("cpu"))
    run = Run(
        date=started.strftime("%Y-%m-%d %H:%M"),
        environment=environment(),
        capability=torch.backends.cpu.get_cpu_capability(),
        precision="bf16" if "bf16" in choice.precision else "fp32",
        reason=choice.reason,
        sentence_transformers=version("sentence-transformers"),
        quick=options.quick,
    )
    run_each(chosen, run, folder)
    run.write(folder)
    whole = not options.only and not options.quick
    page = write_page(folder, options.output or (DEFAULT if whole else folder / DEFAULT.name))
    print(f"records    {folder}\npage       {page}")
    if run.failed:
        sys.exit(f"failed: {', '.join(run.failed)}")


def arguments() -> argparse.Namespace:
    """The options."""
    names = [item.name for item in BENCHMARKS if item.path.is_file()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the machinery")
    parser.add_argument("--output", type=Path, help="the page to write")
    return parser.parse_args()


def run_each(chosen: Sequence[Benchmark], run: Run, folder: Path) -> None:
    """One after another, with the time gone and the time left above its output; notes seconds and failures in run."""
    console = Console(highlight=False)
    start = time.perf_counter()
    for i, item in enumerate(chosen):
        gone, left = (time.perf_counter() - start) / 60, sum(other.minutes for other in chosen[i:])
        where = f"{i + 1} of {len(chosen)}: {item.name}; {gone:.0f} min gone"
        where += "" if run.quick else f", about {left:.0f} min left"
        console.rule(where, align="left")
        began = time.perf_counter()
        with console.status(where):
            status = run_one(item, run.quick, folder, console, start)
        run.seconds[item.name] = time.perf_counter() - began
        if status:
            run.failed.append(item.name)
            console.print(f"{item.name} failed")


def run_one(item: Benchmark, quick: bool, folder: Path, console: Console, start: float) -> int:
    """Show a script's output line by line, each with the time gone since the start; returns its exit status."""
    words = [sys.executable, str(item.path), "--json", str(folder / f"{item.name}.json")]
    words += ["--repeats", "1", *item.quick.split()] if quick else []
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        words, cwd=ROOT, env=unbuffered, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            minutes, seconds = divmod(int(time.perf_counter() - start), 60)
            console.print(f"{minutes:02d}:{seconds:02d}  {escape(line.rstrip())}", soft_wrap=True)
    return process.returncode


if __name__ == "__main__":
    main()
