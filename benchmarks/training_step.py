"""A training step against sentence-transformers': `python benchmarks/training_step.py [--repeats 3]`.

Equal weights, pairs, batches, loss, optimizer and dropout rates; forward, loss at five dims, backward, clipping,
update. sentence-transformers: its model and MatryoshkaLoss(MultipleNegativesRankingLoss), in the order of its
Trainer's step.
Left out on both sides: tokenizing, the loop, logging. Batches are new in every step and the same on both sides.
"""

from __future__ import annotations

from datasets import load_dataset
from record import Comparison, Record
from sides import DIMS, LENGTH, arguments, interleaved
from steps import Pairs, TrainingSides

from matryoshka.embedded.german_help import FOLDER


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", batch=32, steps=2)
    rows = load_dataset("json", data_files=str(FOLDER / "train.jsonl"), split="train")
    texts: Pairs = list(zip(rows["anchor"], rows["positive"], strict=True))
    count = 1 + options.repeats * options.steps
    chosen = [texts[i * options.batch : (i + 1) * options.batch] for i in range(count)]
    if len(chosen[-1]) < options.batch:
        raise SystemExit(f"{count} batches of {options.batch} are more than the {len(texts)} pairs")
    sides = TrainingSides()
    batches = [sides.batch(pairs) for pairs in chosen]
    tokens = sum(batch.tokens for batch in batches) / count / options.batch
    print(f"texts      German pairs, {tokens:.0f} tokens a pair on average, {LENGTH} a text at most")
    print(f"step       {options.batch} pairs, dims {', '.join(map(str, DIMS))}")

    difference = sides.loss_difference(batches[0])
    agree = "agree" if difference < 1e-4 else "DO NOT AGREE"
    print(f"losses     {agree}: they differ by {difference:.1e} (first batch, fp32, dropout off; at most 1e-4)")
    sides.start(options.precision, texts)
    print(f"dropout    {', '.join(map(str, sides.dropouts))} on both sides")

    sides.ours(batches[:1]), sides.sentence_transformers(batches[:1])  # a first step, not measured
    n = options.steps
    fast, slow = interleaved(
        lambda repeat: sides.ours(batches[1 + repeat * n : 1 + (repeat + 1) * n]),
        lambda repeat: sides.sentence_transformers(batches[1 + repeat * n : 1 + (repeat + 1) * n]),
        options.repeats,
    )
    pairs = options.batch * n
    record = Record("Training step")
    record.comparisons.append(
        Comparison(
            f"training, {LENGTH} tokens at most, batch {options.batch}, five dims, {options.precision}",
            "pairs/s",
            [pairs / seconds for seconds in fast],
            [pairs / seconds for seconds in slow],
            True,
            f"losses {agree}: they differ by {difference:.1e}",
            2.5 if options.precision == "fp32" else 4.0,
        )
    )
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
