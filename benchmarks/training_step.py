"""A training step against sentence-transformers': `python benchmarks/training_step.py [--repeats 3]`.

Equal weights, pairs, batches, loss, optimizer and dropout rates; forward, loss at five dims, backward, clipping,
update. sentence-transformers: its model and MatryoshkaLoss(MultipleNegativesRankingLoss), in the order of its
Trainer's step.
Left out on both sides: tokenizing, the loop, logging. Batches are new in every step and the same on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import load_dataset
from record import Comparison, Record
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss as TheirMatryoshkaLoss
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sides import DIMS, LENGTH, PROMPTS, arguments, autocast_forward, interleaved, load
from torch import Tensor, nn

from matryoshka.data.packing import PackedBatch
from matryoshka.embedded.german_help import FOLDER
from matryoshka.encoder import Encoder
from matryoshka.encoder.compact_vocabulary import tokens_in
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.module import clip_gradients

Pairs = Sequence[tuple[str, str]]


def packed(encoder: Encoder, pairs: Pairs) -> PackedBatch:
    """A batch as our loader gives it."""
    anchors, positives = zip(*pairs, strict=True)
    return PackedBatch.from_ids([encoder.tokenize(anchors, "query"), encoder.tokenize(positives, "document")])


def padded(theirs: SentenceTransformer, pairs: Pairs) -> list[dict[str, Any]]:
    """A batch as their collator gives it: each column padded to its longest text."""
    anchors, positives = zip(*pairs, strict=True)
    columns = ([PROMPTS["query"] + text for text in anchors], [PROMPTS["document"] + text for text in positives])
    return [theirs.preprocess(column) for column in columns]


def our_loss(encoder: Encoder, loss: MatryoshkaLoss, batch: PackedBatch, bf16: bool) -> Tensor:
    """The loss of a batch."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        embeddings_SD = encoder(batch)
    return loss(*embeddings_SD.tensor_split([batch.columns[0]])).total


def their_loss(loss: TheirMatryoshkaLoss, batch: list[dict[str, Any]]) -> Tensor:
    """The loss of a batch; they write into the features, so each call gets its own."""
    total: Tensor = loss([dict(column) for column in batch], None)
    return total


def update(loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer, clip: Any) -> None:
    """Backward, clip, step."""
    loss.backward()
    clip(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", batch=32, steps=2)
    rows = load_dataset("json", data_files=str(FOLDER / "train.jsonl"), split="train")
    texts: Pairs = list(zip(rows["anchor"], rows["positive"], strict=True))
    count = 1 + options.repeats * options.steps
    batches = [texts[i * options.batch : (i + 1) * options.batch] for i in range(count)]
    if len(batches[-1]) < options.batch:
        raise SystemExit(f"{count} batches of {options.batch} are more than the {len(texts)} pairs")
    encoder, theirs = load()
    loss = MatryoshkaLoss(RankingLoss(scale=20.0), DIMS)
    their = TheirMatryoshkaLoss(theirs, MultipleNegativesRankingLoss(theirs, scale=20.0), list(DIMS))
    ours_packed, theirs_padded = [packed(encoder, b) for b in batches], [padded(theirs, b) for b in batches]
    tokens = sum(sum(batch.lengths) for batch in ours_packed) / count / options.batch
    print(f"texts      German pairs, {tokens:.0f} tokens a pair on average, {LENGTH} a text at most")
    print(f"step       {options.batch} pairs, dims {', '.join(map(str, DIMS))}")

    encoder.eval(), theirs.eval()
    with torch.no_grad():
        difference = abs(our_loss(encoder, loss, ours_packed[0], False) - their_loss(their, theirs_padded[0])).item()
    agree = "agree" if difference < 1e-4 else "DO NOT AGREE"
    print(f"losses     {agree}: they differ by {difference:.1e} (first batch, fp32, dropout off; at most 1e-4)")

    bf16 = options.precision == "bf16"
    if bf16:
        autocast_forward(theirs)
    encoder.compact_vocabulary(tokens_in(batch.input_ids_T.tolist() for batch in ours_packed))  # as our task does
    encoder.train(), theirs.train()
    dropouts = {m.p for m in theirs.modules() if isinstance(m, nn.Dropout)}
    print(f"dropout    {', '.join(map(str, sorted(dropouts)))} on both sides")
    ours_optimizer = torch.optim.AdamW(encoder.parameters(), lr=2e-5, weight_decay=0.0, fused=True)
    their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=2e-5, weight_decay=0.0, fused=True)

    def our_steps(which: Sequence[PackedBatch]) -> None:
        for batch in which:
            update(our_loss(encoder, loss, batch, bf16), encoder, ours_optimizer, clip_gradients)

    def their_steps(which: Sequence[list[dict[str, Any]]]) -> None:
        for batch in which:
            update(their_loss(their, batch), theirs, their_optimizer, nn.utils.clip_grad_norm_)

    our_steps(ours_packed[:1]), their_steps(theirs_padded[:1])  # a first step, not measured
    n = options.steps
    fast, slow = interleaved(
        lambda repeat: our_steps(ours_packed[1 + repeat * n : 1 + (repeat + 1) * n]),
        lambda repeat: their_steps(theirs_padded[1 + repeat * n : 1 + (repeat + 1) * n]),
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
