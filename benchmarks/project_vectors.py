"""Stored vectors through a matrix, beside a copy of their file: `python benchmarks/project_vectors.py [--vectors N]`.

A .npy file of random vectors, 1,024 wide in float32, is copied and projected to 128 numbers by turns on the same disk,
both flushed to disk. `matryoshka project` is a process of its own, its start counted, with its peak memory (VmHWM).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import Fact, Record
from sides import arguments

from matryoshka.projection.saved import SavedProjection

WIDTH, DIM = 1024, 128
COMMAND = """
import sys
from pathlib import Path
from matryoshka.cli.console import main
main()
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def write_vectors(path: Path, count: int, part: int = 20_000) -> None:
    """Normal numbers, written part by part and flushed to disk."""
    generator = np.random.default_rng(0)
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, WIDTH)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, count, part):
            file.write(generator.standard_normal((min(part, count - start), WIDTH), np.float32).data)
        file.flush()
        os.fsync(file.fileno())


def write_matrix(folder: Path) -> None:
    """A random one: its numbers do not matter to the time."""
    generator = np.random.default_rng(1)
    matrix_DD, calibration_MD = (generator.standard_normal((rows, WIDTH), np.float32) for rows in (WIDTH, 256))
    SavedProjection(matrix_DD, calibration_MD, dims=(DIM,)).write(folder)


def copied(path: Path, to: Path) -> float:
    """Seconds of a copy."""
    start = time.perf_counter()
    shutil.copyfile(path, to)
    with to.open("rb+") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    to.unlink()
    return seconds


def projected(run: Path, path: Path, to: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB of the command."""
    words = [sys.executable, "-c", COMMAND, "project", str(run), str(path), str(to), f"dim={DIM}"]
    start = time.perf_counter()
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    to.unlink()
    return seconds, int(done.stdout.split()[-1]) * 1024 / 1e6


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", repeats=3, vectors=1_000_000)
    record, count = Record("Stored vectors"), options.vectors
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < (needed := count * 4 * (2 * WIDTH + DIM)):
            sys.exit(
                f"{needed / 1e9:.1f} GB are needed in {folder}, {free / 1e9:.1f} GB are free; take fewer --vectors"
            )
        path = folder / "vectors.npy"
        write_vectors(path, count)
        write_matrix(folder / "run")
        copies, works, peaks = [], [], []
        for _ in range(options.repeats):
            copies.append(copied(path, folder / "copy.npy"))
            seconds, peak = projected(folder / "run", path, folder / "short.npy")
            works.append(seconds)
            peaks.append(peak)
            print(f"copy {copies[-1]:.2f} s, project {seconds:.2f} s, peak {peak:.0f} MB")
    ratio = statistics.median(copy / work for copy, work in zip(copies, works, strict=True))
    large = count >= 1_000_000  # below, Python's start weighs more than the work
    size = f"{count:,} x {WIDTH:,} float32"
    record.facts = [
        Fact(f"copy of {size}, flushed", statistics.median(copies), "s"),
        Fact(f"matryoshka project of {size} to {DIM}, flushed", statistics.median(works), "s"),
        Fact("speed of projecting / speed of copying", ratio, "times", 0.5 if large else None, at_least=True),
        Fact("peak memory of projecting (VmHWM)", max(peaks), "MB", 300),
    ]
    record.notes.append("Copy and projection by turns, on one disk; what the system keeps of the input is left to it.")
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
