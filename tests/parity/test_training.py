"""A whole training run against sentence-transformers' Trainer: batches, losses, rates, norms, and what comes out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset

from matryoshka.data.samplers import NoDuplicatesSampler, ShuffledSampler
from matryoshka.encoder import Encoder
from tests.parity.conftest import Parity, release
from tests.parity.german_texts import german_pairs
from tests.parity.two_encoders import PROMPTS, embedded_encoder, saved_and_loaded
from tests.parity.two_trainings import Recipe, our_training, their_training
from tests.tiny import tiny_encoder

AREA = "Training"
THEIRS = f"{release('sentence-transformers')}, Trainer"
DIMS = (32, 16, 8)
UPDATES = 30
ROWS = 150  # 19 micro-batches an epoch: the last holds 6 rows, and the last update of an epoch has one micro-batch
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",  # Lightning's advice
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # a deprecation inside Lightning
)

RECIPES = {
    "AdamW": Recipe(DIMS),
    "AdamW, positives ask": Recipe(DIMS, direction="positive_to_anchor"),
    "AdamW, both directions": Recipe(DIMS, direction="both"),
    "AdamW, two dims a step, generator seeded before train()": Recipe(DIMS, dims_per_step=2),
    "AdamW with eps 1e-4, weights, hard negatives": Recipe(
        DIMS, weights=(1.0, 0.5, 2.0), negatives=True, lr=1e-3, eps=1e-4
    ),
    "SGD": Recipe(DIMS, optimizer="sgd", lr=3e-3),
}


def texts(rows: int, sharing: int = 60, negatives: bool = False) -> Dataset:
    """German questions and passages, of the first `sharing` rows two on each; others' passages as hard negatives."""
    questions, passages = zip(*german_pairs(2 * rows), strict=True)
    shared = [passages[i - i % 2] if i < sharing else passages[i] for i in range(rows)]
    columns = {"anchor": questions[:rows], "positive": shared}
    return Dataset.from_dict(columns | ({"negative": passages[rows:]} if negatives else {}))


def compare(parity: Parity, encoder: Encoder, pairs: Dataset, recipe: Recipe, folder: Path, run: str) -> int:
    """Train on both sides and compare; returns the number of updates."""
    model = saved_and_loaded(encoder, folder)
    before = {name: weight.clone() for name, weight in encoder.backbone.state_dict().items()}
    ours = our_training(encoder, pairs, recipe, folder)
    theirs = their_training(model, pairs, recipe, folder)
    moved = max(float((weight - before[name]).abs().max()) for name, weight in ours.weights.items())
    assert moved > 2e-5, "too little for a comparison within 1e-5"
    parity.equal("batches, token by token", THEIRS, ours.batches, theirs.batches)
    # In fp32 a loss of 8 has neighbours 1e-6 away, so losses are compared as a share of their value.
    loss, their_loss = torch.tensor(ours.losses), torch.tensor(theirs.losses)
    parity.within("loss of each update, relative", THEIRS, loss / their_loss, torch.ones(len(loss)), 1e-6)
    parity.within("learning rate of each update", THEIRS, ours.rates, theirs.rates, 1e-12)
    norm, their_norm = torch.tensor(ours.norms), torch.tensor(theirs.norms)
    # Theirs adds up squares in fp32; with 118 million of them that alone is off by 1.2e-5, ours (in fp64) by 4e-7.
    parity.within("gradient norm of each update, relative", THEIRS, norm / their_norm, torch.ones(len(norm)), 3e-5)
    # The gradient of a key's bias is 0, since the softmax does not feel it, and rounding noise in practice. Adam
    # divides by the gradient's own size, so at eps 1e-8 it makes full steps of the noise, and no two programs agree.
    # Those biases change no embedding; with eps 1e-4 or SGD they agree like all others.
    without = recipe.optimizer == "adamw" and recipe.eps < 1e-4
    assert ours.weights.keys() == theirs.weights.keys()
    for name, weight in ours.weights.items():
        if not (without and name.endswith("key.bias")):
            shown = f"weights afterwards, {run}" + (", without the keys' biases" if without else "")
            parity.within(shown, THEIRS, weight, theirs.weights[name], 1e-5)
    questions = pairs["anchor"][:24]
    embeddings = model.encode(questions, prompt=PROMPTS["query"], normalize_embeddings=True)
    parity.within(f"embeddings afterwards, {run}", THEIRS, encoder.encode(questions, prompt="query"), embeddings, 1e-5)
    return len(loss)


@pytest.mark.slow
@pytest.mark.parametrize("run", RECIPES)
def test_training(parity: Parity, tmp_path: Path, run: str) -> None:
    encoder = tiny_encoder(prompts=PROMPTS)
    encoder.max_seq_length = 64
    pairs = texts(ROWS, negatives=RECIPES[run].negatives)
    updates = compare(parity, encoder, pairs, RECIPES[run], tmp_path, run)
    assert updates == UPDATES


def test_the_texts_of_the_runs_clash() -> None:
    """Or else the runs would not show that rows with a text in common are kept apart in the same way."""
    seed = Recipe(DIMS).seed
    numbers: dict[str, int] = {}
    rows = [[numbers.setdefault(text, len(numbers)) for text in row.values()] for row in texts(ROWS)]
    for epoch in range(3):
        apart, shuffled = NoDuplicatesSampler(rows, 8, seed), ShuffledSampler(rows, 8, seed)
        for sampler in (apart, shuffled):
            sampler.set_epoch(epoch)
        assert apart.batches() != shuffled.batches()
        assert len(apart) == len(shuffled)  # their Trainer takes no more batches than the rows would fill


@pytest.mark.slow
def test_training_of_the_embedded_encoder(parity: Parity, tmp_path: Path) -> None:
    recipe = Recipe((768, 512, 256, 128, 64), epochs=1, accumulation=1)
    assert compare(parity, embedded_encoder(), texts(24, sharing=0), recipe, tmp_path, "AdamW, embedded encoder") == 3
