"""From the start of the program to the first update: `python benchmarks/start.py [--repeats 1]`.

Ours: `python train.py +experiment=bmf`, which measures the untrained encoder first; a first run with empty caches, then
second ones, which find token ids and embeddings. sentence-transformers: benchmarks/start_theirs.py, its Trainer on the
same pairs, with the same weights and batch size, without an evaluation; its files were read once as well. Each run is a
process of its own. It ends after its first update, which is known by the row that it logs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from record import Comparison, Fact, Record
from sides import DIMS, arguments, load

from matryoshka.embedded.german_help import FOLDER
from matryoshka.export.sentence_transformers import SentenceTransformersFolder

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 10.0  # seconds to the first update of a second run
BATCH = 32  # of experiment=bmf without a GPU
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}


@dataclass(frozen=True)
class Start:
    """Seconds from the start of the process to the row of its first update, and that row's loss."""

    seconds: float
    loss: float


def first_update(words: list[str], rows: Path, folder: Path) -> Start:
    """Run a program until `rows` has a row with a training loss, then end it. Raises SystemExit if it ends before."""
    caches = {"MATRYOSHKA_CACHE": str(folder / "cache"), "HF_DATASETS_CACHE": str(folder / "datasets")}
    quiet = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "output.txt").open("w+", encoding="utf-8") as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env={**os.environ, **quiet, **caches}, stdout=output, stderr=output
        )
        try:
            while (loss := first_loss(rows)) is None:
                if process.poll() is not None:
                    output.seek(0)
                    raise SystemExit(f"{' '.join(words)} ended before its first update:\n{output.read()[-4000:]}")
                time.sleep(0.01)
            return Start(time.perf_counter() - begun, loss)
        finally:
            process.kill()
            process.wait()


def first_loss(rows: Path) -> float | None:
    """The loss of the first row that has one; None while there is no such row."""
    lines = rows.read_text(encoding="utf-8").splitlines(keepends=True) if rows.is_file() else []
    losses = [json.loads(line).get("train/loss") for line in lines if line.endswith("\n")]
    return next((float(loss) for loss in losses if loss is not None), None)


def ours(folder: Path, run: str, precision: str) -> Start:
    """train.py to its first update. precision: as Lightning calls it, or auto."""
    words = ["+experiment=bmf", "logger=none", "export=none", "trainer.log_every_n_steps=1"]
    words += [f"trainer.precision={precision}", f"hydra.run.dir={folder / run}"]
    return first_update(["train.py", *words], folder / run / "metrics.jsonl", folder)


def sentence_transformers(folder: Path, run: str, precision: str) -> Start:
    """Their Trainer to its first update."""
    place = folder / run
    place.mkdir()
    start = {"model": str(folder / "model"), "train": str(FOLDER / "train.jsonl"), "dims": DIMS, "batch": BATCH}
    start |= {"precision": precision, "folder": str(place), "rows": str(place / "rows.jsonl")}
    (place / "start.json").write_text(json.dumps(start), encoding="utf-8")
    return first_update(["benchmarks/start_theirs.py", str(place / "start.json")], place / "rows.jsonl", folder)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", repeats=1)
    # `auto` is part of the command: it measures, and so takes its time.
    lightnings = "auto" if options.precision == options.best else PRECISIONS[options.precision]
    fast: list[Start] = []
    slow: list[Start] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SentenceTransformersFolder().save(load()[0], folder / "model")
        first = ours(folder, "first", lightnings)
        sentence_transformers(folder, "theirs_first", options.precision)
        for repeat in range(options.repeats):
            fast.append(ours(folder, f"ours_{repeat}", lightnings))
            slow.append(sentence_transformers(folder, f"theirs_{repeat}", options.precision))
    seconds, their_seconds = [start.seconds for start in fast], [start.seconds for start in slow]
    record = Record("Start")
    record.facts.append(Fact("start to first update, first run", first.seconds, "s"))
    record.facts.append(Fact("start to first update, second run", statistics.median(seconds), "s", limit=LIMIT))
    record.comparisons.append(
        Comparison(
            f"start to first update of {BATCH} pairs, second run, {options.precision}; ours with a base evaluation",
            "s",
            seconds,
            their_seconds,
            False,
            f"first losses {fast[0].loss:.2f} and {slow[0].loss:.2f} (dropout is drawn apart)",
        )
    )
    record.notes.append(
        "A first run converts the embedded encoder, tokenizes and encodes. A second one finds all that; the rest of "
        "its start is imports and loading."
    )
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
