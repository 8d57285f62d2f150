"""Training on long texts against sentence-transformers': `python benchmarks/lengths.py [--repeats 3]`.

A curve of pairs/s against the length at which long texts are cut, and one row on texts of very different length. The
texts are whole pages of the embedded help, its passages joined, each with the page's first heading as its anchor;
`--pairs FILE.jsonl` takes other pairs (anchor, positive) for the row. Otherwise as benchmarks/training_step.py.
"""

from __future__ import annotations

import random
import statistics
from itertools import groupby
from pathlib import Path

from datasets import load_dataset
from record import Comparison, Curve, Record
from sides import arguments, interleaved
from steps import Batch, Pairs, TrainingSides

from matryoshka.embedded.german_help import FOLDER

LENGTHS = (32, 64, 128, 256, 512)
LONGEST = LENGTHS[-1]
CURVE_REPEATS = 2
PAIRS_AT_MOST = 32


def pages(path: Path) -> list[tuple[str, str]]:
    """Heading and text of every page of the help, passages in their order on the page."""
    rows = load_dataset("json", data_files=str(path), split="train").to_list()
    rows.sort(key=lambda row: (row["source"], int(row["id"].rpartition("#")[2])))
    whole = [list(group) for _, group in groupby(rows, key=lambda row: row["source"])]
    return [(page[0]["anchor"], " ".join(row["positive"] for row in page)) for page in whole]


def pairs_of(path: Path) -> list[tuple[str, str]]:
    """Anchor and positive of a JSON lines file."""
    rows = load_dataset("json", data_files=str(path), split="train")
    return list(zip(rows["anchor"], rows["positive"], strict=True))


def curve_batches(sides: TrainingSides, longest: Pairs, tokens: int) -> dict[int, list[Batch]]:
    """For each length a batch a repeat, each of about so many tokens, all positives cut at that length."""
    batches = {}
    for length in LENGTHS:
        size = max(2, min(PAIRS_AT_MOST, tokens // length))
        parts = [longest[i * size : (i + 1) * size] for i in range(CURVE_REPEATS)]
        batches[length] = [sides.batch(part, length) for part in parts]
    if any(set(batch.packed.lengths[batch.pairs :]) != {length} for length in LENGTHS for batch in batches[length]):
        raise SystemExit(f"there are too few texts of {LONGEST} tokens")
    return batches


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", files=["pairs"], batch=16, tokens=2048)
    help_pages = pages(FOLDER / "train.jsonl")
    long_first = sorted(help_pages, key=lambda page: -len(page[1]))
    mixed: Pairs = pairs_of(options.pairs) if options.pairs else help_pages
    wanted = options.batch * options.repeats
    if len(mixed) < wanted:
        raise SystemExit(f"{options.repeats} batches of {options.batch} are more than the {len(mixed)} pairs")
    chosen = random.Random(0).sample(mixed, wanted)
    sides = TrainingSides()
    curve = curve_batches(sides, long_first, options.tokens)
    varied = [sides.batch(chosen[i : i + options.batch], LONGEST) for i in range(0, wanted, options.batch)]

    differences = [sides.loss_difference(batches[0]) for batches in [*curve.values(), varied]]
    agree = "agree" if max(differences) < 1e-4 else "DO NOT AGREE"
    agreement = f"losses {agree}: they differ by at most {max(differences):.1e} (fp32, dropout off)"
    print(f"{agreement}, at {len(curve)} lengths and on the texts of different length", flush=True)
    sides.start(options.precision, [*help_pages, *mixed])
    sides.ours(curve[LENGTHS[0]][:1]), sides.sentence_transformers(curve[LENGTHS[0]][:1])  # not measured
    record = Record("Long texts", curves=[measured_curve(sides, curve, options.precision)])
    record.comparisons.append(measured_row(sides, varied, options.precision, options.best, agreement))
    record.show()
    record.write(options.json)


def measured_curve(sides: TrainingSides, batches: dict[int, list[Batch]], precision: str) -> Curve:
    """pairs/s of both sides at every length, the median of the repeats."""
    lines: dict[str, list[float | None]] = {"matryoshka": [], "sentence-transformers": []}
    for of_length in batches.values():
        seconds = interleaved(
            lambda repeat, of_length=of_length: sides.ours(of_length[repeat : repeat + 1]),
            lambda repeat, of_length=of_length: sides.sentence_transformers(of_length[repeat : repeat + 1]),
            CURVE_REPEATS,
        )
        for line, side in zip(lines.values(), seconds, strict=True):
            line.append(of_length[0].pairs / statistics.median(side))
    sizes = ", ".join(str(of_length[0].pairs) for of_length in batches.values())
    title = f"Training on texts of equal length, {precision}; {sizes} pairs a batch"
    return Curve("lengths", title, "tokens a text", "pairs/s", list(batches), lines)


def measured_row(sides: TrainingSides, batches: list[Batch], precision: str, best: str, agreement: str) -> Comparison:
    """One step a repeat on texts of different length."""
    lengths = [length for batch in batches for length in batch.packed.lengths[batch.pairs :]]
    ours, theirs = interleaved(
        lambda repeat: sides.ours(batches[repeat : repeat + 1]),
        lambda repeat: sides.sentence_transformers(batches[repeat : repeat + 1]),
        len(batches),
    )
    job = (
        f"training on long texts of very different length, {LONGEST} tokens at most "
        f"({min(lengths)} to {max(lengths)}, {statistics.mean(lengths):.0f} on average), "
        f"batch {batches[0].pairs}, {precision}"
    )
    speeds = [[batch.pairs / seconds for batch, seconds in zip(batches, side, strict=True)] for side in (ours, theirs)]
    return Comparison(job, "pairs/s", *speeds, True, agreement, 5.0 if precision == best else None)


if __name__ == "__main__":
    main()
