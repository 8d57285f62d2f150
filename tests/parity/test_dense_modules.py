"""Dense modules behind the pooling: saved here and by sentence-transformers 3.0.1, read here, by 3.0.1 and by 6.2."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from matryoshka.encoder import Encoder
from matryoshka.encoder.dense import Dense
from matryoshka.encoder.encoder import Prompt
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.parity.conftest import Parity, release
from tests.parity.files import names_of_files, read_json, weights
from tests.parity.german_texts import UNUSUAL, texts_of
from tests.parity.oldest_release import OLDEST, Answer, in_oldest_release, saved_by_transformers
from tests.parity.two_encoders import ALLOWED, PROMPTS, embedded_encoder

AREA = "Saved model"
NEWEST = release("sentence-transformers")
MODULES = ["Transformer", "Pooling", "Dense", "Dense", "Normalize"]
CASES: list[tuple[Prompt | None, int | None]] = [(None, None), ("query", None), ("document", 256)]
TEXTS = [*texts_of("evaluation", "anchor", 4), *texts_of("evaluation", "positive", 2), *UNUSUAL]
WHOLE, CUT, THEIRS = "dense", "cut", "built with dense"  # names of models
ITEM = "embeddings behind Dense modules: prompts, truncate_dim"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # transformers warns of its own code


@dataclass
class Saved:
    """768 numbers, then 512 by a matrix, a bias and Tanh, then 384 by a matrix; saved whole, and cut to 192."""

    encoder: Encoder
    folders: dict[str, Path]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # gigabytes: not to be kept for later, as pytest would
        yield Path(name)


@pytest.fixture(scope="module")
def saved(folder: Path) -> Saved:
    encoder = embedded_encoder()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder.dense = nn.Sequential(Dense(768, 512, bias=True, activation=nn.Tanh()), Dense(512, 384))
    exported = {WHOLE: None, CUT: 192}
    return Saved(encoder, {n: SentenceTransformersFolder(dim).save(encoder, folder / n) for n, dim in exported.items()})


@pytest.fixture(scope="module")
def oldest(saved: Saved, oldest_release: Path, folder: Path) -> Answer:
    request = {
        "models": {name: str(path) for name, path in saved.folders.items()},
        "texts": TEXTS,
        "cases": CASES,
        "transformer": str(saved_by_transformers(saved.encoder, folder / "transformer")),
        "max_seq_length": saved.encoder.max_seq_length,
        "pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        "settings": {"prompts": PROMPTS, "similarity_fn_name": "cosine"},
        "dense": [[768, 512, True, "Tanh"], [512, 384, False, "Identity"]],
    }
    return Answer(in_oldest_release(oldest_release, Path(__file__).with_name("in_3_0_1.py"), request, folder))


@pytest.mark.release_3_0_1
def test_the_modules_are_those_that_3_0_1_saves(saved: Saved, oldest: Answer, parity: Parity) -> None:
    folders = (saved.folders[WHOLE], oldest.folder / THEIRS)
    ours, theirs = ([read_json(folder / "modules.json")] for folder in folders)
    parity.equal("content of modules.json, with Dense", OLDEST, ours, theirs)
    for path in ("2_Dense", "3_Dense"):
        names, others = (names_of_files(folder / path) for folder in folders)
        parity.equal("names of a Dense module's files", OLDEST, names, others)
        ours, theirs = ([read_json(folder / path / "config.json")] for folder in folders)
        parity.equal("content of a Dense module's config.json", OLDEST, ours, theirs)
        shapes, expected = ([tensor[:3] for tensor in weights(folder / path)] for folder in folders)
        parity.equal("names, types and shapes of a Dense module's weights", OLDEST, shapes, expected)


@pytest.mark.release_3_0_1
def test_they_load_in_3_0_1(saved: Saved, oldest: Answer, parity: Parity) -> None:
    facts = oldest.facts["models"]
    assert (facts[WHOLE]["modules"], facts[WHOLE]["width"]) == (MODULES, 384)
    assert (facts[CUT]["modules"], facts[CUT]["width"]) == (MODULES, 192)
    for prompt, dim in CASES:
        ours, theirs = saved.encoder.encode(TEXTS, prompt=prompt, dim=dim), oldest.embeddings(WHOLE, prompt, dim)
        parity.within(ITEM, OLDEST, ours, theirs, ALLOWED)
    ours, theirs = saved.encoder.encode(TEXTS, prompt="query", dim=192), oldest.embeddings(CUT, "query", None)
    parity.within("embeddings of a model saved with fewer numbers", OLDEST, ours, theirs, ALLOWED)


@pytest.mark.release_3_0_1
def test_those_that_3_0_1_saves_load_here(oldest: Answer, parity: Parity) -> None:
    encoder = Encoder.load(str(oldest.folder / THEIRS))
    for prompt, dim in CASES:
        ours, theirs = encoder.encode(TEXTS, prompt=prompt, dim=dim), oldest.embeddings(THEIRS, prompt, dim)
        parity.within("embeddings of a model that it built and saved with Dense modules", OLDEST, ours, theirs, ALLOWED)


def test_they_load_in_the_newest(saved: Saved, parity: Parity) -> None:
    def loaded(name: str) -> Any:
        return SentenceTransformer(str(saved.folders[name]), device="cpu", local_files_only=True)

    model = loaded(WHOLE)
    assert [type(module).__name__ for module in model] == MODULES
    for prompt, dim in CASES:
        with model.truncate_embeddings(dim):
            theirs = model.encode(TEXTS, prompt_name=prompt, normalize_embeddings=True, batch_size=8)
        parity.within(ITEM, NEWEST, saved.encoder.encode(TEXTS, prompt=prompt, dim=dim), theirs, ALLOWED)
    theirs, ours = loaded(CUT).encode(TEXTS, batch_size=8), saved.encoder.encode(TEXTS, dim=192)
    parity.within("embeddings of a model saved with fewer numbers", NEWEST, ours, theirs, ALLOWED)
