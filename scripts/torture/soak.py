"""Long runs: memory, handles, threads and objects stay level over thousands of updates and tens of evaluations.

python -m scripts.torture.soak [--updates 2000] [--json FILE]. Each case runs in a process of its own: a training as the
command line starts it, the same with two data workers, and a search over a corpus whose embeddings are larger than the
address space that the process may use.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP, EVERY = 200, 50  # updates before the first sample, and from one to the next
LEVEL = 1024  # bytes an update by which memory may grow: the logged rows, which a run keeps, are 100 to 200 of it
PER_EPOCH, WORKERS = 100, (0, 2)
GROWTH = 300_000_000  # bytes that a search may take beside what it began with
WORDS = """
data=pairs data.train=train.jsonl data.evaluation=evaluation.jsonl encoder=pretrained encoder.model=tiny pooling=saved
dims=[32,16] batch_size=4 split=same trainer.precision=32-true trainer.accelerator=cpu
trainer.enable_progress_bar=false baselines=[] logger=none export=none hydra.run.dir=run
"""
Sample = dict[str, float]


def sample(update: int) -> Sample:
    """What the process holds now; what it could give back is given back first."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return {
        "update": update,
        "resident": resident(),
        "handles": count("/proc/self/fd"),
        "threads": count("/proc/self/task"),
        "objects": len(gc.get_objects()),
    }


def count(folder: str) -> int:
    """How many entries a folder has."""
    return sum(1 for _ in Path(folder).iterdir())


def resident() -> int:
    """Bytes of the process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def train(folder: Path, updates: int, workers: int) -> list[Sample]:
    """Samples of a training with an evaluation every PER_EPOCH updates; updates must be a multiple."""
    from matryoshka.cli import app
    from matryoshka.export.sentence_transformers import SentenceTransformersFolder
    from matryoshka.training.module import EmbeddingModule
    from tests.tiny import tiny_encoder

    os.environ |= {"MATRYOSHKA_CACHE": str(folder / "cache"), "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "120"}
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1), folder / "tiny")
    for name, count in (("train", 4 * PER_EPOCH), ("evaluation", 40)):
        rows = [
            {"anchor": f"frage {i} {name}", "positive": f"antwort {i} {'x ' * (i % 9)}{name}"} for i in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    os.chdir(folder)
    samples, update = list[Sample](), EmbeddingModule.update

    def sampled(module: EmbeddingModule) -> None:
        update(module)
        if module.updates >= WARM_UP and module.updates % EVERY == 0:
            samples.append(sample(module.updates))

    EmbeddingModule.update = sampled  # type: ignore[method-assign]
    sys.argv = ["train.py", *WORDS.split(), f"trainer.max_epochs={updates // PER_EPOCH}", f"workers={workers}"]
    with contextlib.redirect_stdout(io.StringIO()):
        app.train()
    return samples


def verdict(samples: list[Sample], what: str) -> dict[str, Any]:
    """Whether the samples are level, and a sentence with what was measured."""
    slopes = {key: fitted([s["update"] for s in samples], [s[key] for s in samples]) for key in ("resident", "objects")}
    first, last = samples[0], samples[-1]
    level = slopes["resident"] <= LEVEL and slopes["objects"] <= 1
    for key in ("handles", "threads"):
        level = level and last[key] <= first[key]
    fact = (
        f"{what}: from update {first['update']:,} to {last['update']:,} resident memory went from "
        f"{first['resident'] / 1e6:.1f} to {last['resident'] / 1e6:.1f} MB ({slopes['resident']:+.0f} bytes an "
        f"update), Python objects from {first['objects']:,} to {last['objects']:,}, file handles from "
        f"{first['handles']} to {last['handles']}, threads from {first['threads']} to {last['threads']}."
    )
    return {"lost": not level, "fact": fact}


def fitted(x: list[float], y: list[float]) -> float:
    """The slope of the line of least squares."""
    return float(np.polyfit(x, y, 1)[0])


def search_on_disk(folder: Path) -> dict[str, Any]:
    """A search over more embeddings than the process may hold; each query's nearest document is known."""
    import torch

    from matryoshka.evaluation.mapped_rows import MappedRows
    from matryoshka.evaluation.nearest import search

    rows, width, chunk, dims = 250_000, 1024, 5000, [1024, 64]
    generator = torch.Generator().manual_seed(0)
    documents = MappedRows(rows, width, folder)
    planted = torch.arange(0, rows, chunk)
    queries_QD = torch.empty(len(planted), width)
    for number, start in enumerate(range(0, rows, chunk)):
        values_CD = torch.randn(chunk, width, generator=generator)
        documents[range(start, start + chunk)] = values_CD
        queries_QD[number] = values_CD[0] + 0.01 * torch.randn(width, generator=generator)
    search(queries_QD, queries_QD, dims, 10)  # so that everything is there that a search needs
    before = sample(0)["resident"]
    limit = 2 * GROWTH + resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    hits = search(queries_QD, documents, dims, 10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    found = all(torch.equal(hits[dim].documents_Qk[:, 0], planted) for dim in dims)
    fact = (
        f"{rows:,} documents of {width} numbers ({documents.bytes / 1e6:,.0f} MB on disk) were searched at dims "
        f"{', '.join(map(str, dims))} with {2 * GROWTH / 1e6:.0f} MB more address space than at the start; resident "
        f"memory grew by {peak / 1e6:.0f} MB at its peak, and every query found its document."
    )
    return {"lost": peak > GROWTH or not found, "fact": fact}


def case(name: str, updates: int) -> dict[str, Any]:
    """One case, in this process."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        try:
            if name == "search":
                return search_on_disk(Path(folder))
            workers = int(name.rpartition("-")[2])
            with_workers = f"with {workers} data workers" if workers else "without data workers"
            return verdict(train(Path(folder), updates, workers), f"{updates:,} updates {with_workers}")
        finally:
            os.chdir("/")


def main() -> None:
    """Runs every case; exits with 1 if one is not level."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--json", type=Path, help="write the counts here too")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(case(options.case, options.updates)))
        return
    cases = []
    for name in (*(f"training-{workers}" for workers in WORKERS), "search"):
        command = [sys.executable, "-m", "scripts.torture.soak", "--case", name, "--updates", str(options.updates)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        failed = {"lost": True, "fact": f"{name} ended with exit code {done.returncode}."}
        cases.append(json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else failed)
        print(f"{name:>10}  {'LOST' if cases[-1]['lost'] else 'level'}  {cases[-1]['fact']}", flush=True)
    lost = sum(each["lost"] for each in cases)
    print(f"soak: {len(cases)} cases tried, {lost} lost something")
    if options.json:
        facts = [each["fact"] for each in cases]
        counts = {"name": "soak", "tried": len(cases), "lost": lost, "facts": facts}
        options.json.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
