"""Speed and memory over the batch size, in parts of equal size: `python benchmarks/batch_size.py [--largest 256]`.

Ours with pairs_at_once, sentence-transformers with CachedMultipleNegativesRankingLoss(mini_batch_size) inside its
MatryoshkaLoss; equal weights, batches of German pairs, five dims, AdamW, dropout on. Each size and side in a process of
its own, one update after another; the first update is not timed unless it is the only one.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from one_training import Setting, run
from record import Comparison, Curve, Record
from sides import LENGTH, arguments, load

from matryoshka.export.sentence_transformers import SentenceTransformersFolder

SIZES = (16, 32, 64, 256, 1024, 4096)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", repeats=1, pairs_at_once=16, largest=256)
    at_once = options.pairs_at_once
    sizes = [size for size in SIZES if size <= options.largest]
    setting = Setting(pairs_at_once=at_once, bf16=options.precision == "bf16")
    speeds: dict[str, list[float | None]] = {"matryoshka": [], "sentence-transformers": []}
    peaks: dict[str, list[float | None]] = {"matryoshka": [], "sentence-transformers": []}
    with tempfile.TemporaryDirectory() as folder:
        sides = {"matryoshka": None, "sentence-transformers": str(Path(folder) / "model")}
        SentenceTransformersFolder().save(load()[0], Path(folder) / "model")
        for size in sizes:
            for name, path in sides.items():
                one = replace(setting, folder=path, batch=size, updates=2 if size <= 64 else 1)
                found = [run(one) for _ in range(options.repeats)]
                speeds[name].append(statistics.median(size / result["seconds"][-1] for result in found))
                peaks[name].append(max(result["peak_mb"] for result in found))
        off = replace(setting, batch=2 * at_once, updates=1, dropout=False)
        losses = [run(replace(off, folder=path))["losses"][0] for path in sides.values()]
    difference = abs(losses[0] - losses[1])
    agree = "agree" if difference < 1e-3 else "DO NOT AGREE"
    agreement = f"losses {agree}: they differ by {difference:.1e} (batch {2 * at_once}, dropout off; at most 1e-3)"
    job = f"batch {sizes[-1]} in parts of {at_once} pairs, {LENGTH} tokens at most, {options.precision}"
    record = Record("Batch size")
    for what, unit, found, more in (("training", "pairs/s", speeds, True), ("peak memory", "MB", peaks, False)):
        ours, theirs = ([float(values[-1] or 0)] for values in found.values())
        record.comparisons.append(Comparison(f"{what}, {job}", unit, ours, theirs, more, agreement))
        title = f"{what.capitalize()} over the batch size, in parts of {at_once} pairs, {options.precision}"
        record.curves.append(Curve(f"batch_size_{what.split()[-1]}", title, "pairs in a batch", unit, sizes, found))
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
