"""Peak memory of training against sentence-transformers', and our estimate: `python benchmarks/memory.py`.

Each side trains in a process of its own (one_training.py says what counts): equal weights, batches of German pairs,
loss at five dims, AdamW, dropout on. Ours trains as a run does, with the compact vocabulary, and with the whole one.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from one_training import Setting, run
from record import Comparison, Fact, Record
from sides import LENGTH, arguments, load

from matryoshka.export.sentence_transformers import SentenceTransformersFolder


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", repeats=1, batch=32, updates=2)
    bf16 = options.precision == "bf16"
    plain = Setting(batch=options.batch, updates=options.updates, bf16=bf16, estimate=True, give_back=True)
    settings = {
        "as a run trains": plain,
        "whole vocabulary": replace(plain, compact=False),
        "gradient checkpointing": replace(plain, checkpointing=True),
        "pairs_at_once=8": replace(plain, pairs_at_once=8),
        "batch 8": replace(plain, batch=8),
    }
    record = Record("Memory")
    with tempfile.TemporaryDirectory() as folder:
        path = str(SentenceTransformersFolder().save(load()[0], Path(folder) / "model"))
        found = {name: [run(setting) for _ in range(options.repeats)] for name, setting in settings.items()}
        theirs = [run(replace(plain, folder=path)) for _ in range(options.repeats)]
        off = [run(replace(plain, folder=side, updates=1, dropout=False))["losses"][0] for side in (None, path)]
    difference = abs(off[0] - off[1])
    agree = "agree" if difference < 1e-3 else "DO NOT AGREE"
    for name in ("as a run trains", "whole vocabulary"):
        record.comparisons.append(
            Comparison(
                f"peak memory of training, {LENGTH} tokens at most, batch {options.batch}, {options.precision}, {name}",
                "MB",
                [result["peak_mb"] for result in found[name]],
                [result["peak_mb"] for result in theirs],
                False,
                f"losses {agree}: they differ by {difference:.1e} (dropout off; at most 1e-3)",
                1.0,
            )
        )
    for name, results in found.items():
        peak, estimated = (max(result[key] for result in results) for key in ("peak_mb", "estimated_mb"))
        record.facts.append(Fact(f"estimated / measured, {name} ({peak:.0f} MB)", estimated / peak, "times", 1.15))
        record.facts.append(Fact(f"estimated / measured, {name}, not below", estimated / peak, "times", 0.85, True))
    seconds = statistics.median(result["estimate_seconds"] for results in found.values() for result in results)
    record.facts.append(Fact("time of an estimate, median of all settings", seconds, "s", 2.0))
    record.notes.append(
        "Peaks are beside Python, libraries and tokenizer, with blocks above 256 KB given back when freed."
    )
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
