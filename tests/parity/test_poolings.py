"""Each pooling of sentence-transformers, alone and beside each other, with a prompt and without its tokens."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as TheirPooling

from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.encoder import Prompt
from matryoshka.encoder.saved_pooling import MODE_OF
from tests.parity.conftest import Parity, release
from tests.parity.german_texts import BLANK, UNUSUAL, long_texts, texts_of
from tests.parity.two_encoders import ALLOWED, PROMPTS, saved_and_loaded

AREA = "Embeddings"
THEIRS = release("sentence-transformers")
ASKED: list[Prompt | None] = [None, "query", "document"]
TEXTS = [*texts_of("evaluation", "anchor", 4), *texts_of("documents", "positive", 2), *UNUSUAL[:3], *BLANK[:2]]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # transformers warns of its own code
Sides = tuple[Encoder, SentenceTransformer]


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    encoder = Pretrained("embedded:e5_small", prompts=PROMPTS, max_seq_length=64).load(Pooling(["cls"]))
    with tempfile.TemporaryDirectory() as folder:  # half a gigabyte: not to be kept for later, as pytest would
        yield encoder, saved_and_loaded(encoder, Path(folder))


def compare(sides: Sides, names: Sequence[str], include_prompt: bool, parity: Parity, item: str) -> None:
    ours, theirs = sides
    ours.pooling = Pooling([MODE_OF[name] for name in names], include_prompt)
    theirs[1] = TheirPooling(ours.backbone.config.hidden_size, tuple(names), include_prompt)
    for prompt in ASKED:
        texts = [*TEXTS, long_texts()[0]] if len(names) == 1 else TEXTS[::3]
        expected = theirs.encode(texts, prompt_name=prompt, normalize_embeddings=True)
        parity.within(item, THEIRS, ours.encode(texts, prompt=prompt), expected, ALLOWED)


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("name", MODE_OF)
def test_each_mode(sides: Sides, name: str, include_prompt: bool, parity: Parity) -> None:
    item = "each pooling mode, each prompt and none" + ("" if include_prompt else ", without the prompt's tokens")
    compare(sides, [name], include_prompt, parity, item)


@pytest.mark.parametrize("first", MODE_OF)
def test_two_modes_side_by_side(sides: Sides, first: str, parity: Parity) -> None:
    for names in permutations(MODE_OF, 2):
        if names[0] == first:
            compare(sides, names, first < names[1], parity, "each two pooling modes side by side, in either order")
