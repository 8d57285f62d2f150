"""A pooling of one's own, with weights that are trained: attention."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from matryoshka.encoder import Encoder
from tests.composing import plain, problems
from tests.extending.additions import (
    Addition,
    add,
    outcome,
    rows,
    train,
    train_counting,
    train_tiny,
    train_until_call,
)
from tests.extending.recorder import RECORDER, recorded
from tests.tiny import tiny_encoder

ATTENTION = Addition(
    python='''"""Pooling by attention: how much each token counts is learnt."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """The mean over each sequence's tokens, weighted by the softmax of hidden state times a learnt query.

    width: of the hidden states. Source: Yang et al. 2016, Hierarchical Attention Networks, without the MLP.
    """

    def __init__(self, width: int = 384) -> None:
        super().__init__()
        self.modes, self.factor = ["attention"], 1
        self.query_H = nn.Parameter(torch.randn(width) / width**0.5)

    def forward(self, hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
        """Hidden states of packed sequences to one vector each: (S, H)."""
        sequences_T = torch.repeat_interleave(lengths_S, output_size=len(hidden_TH))
        scores_T = hidden_TH @ self.query_H
        weights_T = (scores_T - scores_T.detach().max()).exp()
        sums_SH = hidden_TH.new_zeros(len(lengths_S), hidden_TH.shape[1])
        sums_SH = sums_SH.index_add(0, sequences_T, weights_T[:, None] * hidden_TH)
        weights_S = weights_T.new_zeros(len(lengths_S)).index_add(0, sequences_T, weights_T)
        return sums_SH / weights_S[:, None]
''',
    group="pooling",
    choice="attention",
    yaml="""# How much each token counts is learnt. No saved format can describe it: with export=none.
_target_: attention_pooling.AttentionPooling
width: 384
""",
)
WORDS = ("pooling=attention", "export=none")


@pytest.fixture
def searchpath(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return add(monkeypatch, ATTENTION, RECORDER)


def test_it_embeds_texts_as_a_loop_does(searchpath: str) -> None:
    pooling = instantiate(plain(searchpath, *WORDS, "pooling.width=32", "dims=[32]")["pooling"])
    cls = tiny_encoder()
    encoder = Encoder(cls.backbone, cls.tokenizer, pooling, max_seq_length=32)
    hidden_TH, lengths = torch.randn(9, 32, generator=torch.Generator().manual_seed(0)), [2, 1, 6]

    pooled_SH = pooling(hidden_TH, torch.tensor(lengths))

    for found_H, sequence_TH in zip(pooled_SH, hidden_TH.split(lengths), strict=True):
        weights_T = (sequence_TH @ pooling.query_H).softmax(0)
        torch.testing.assert_close(found_H, weights_T @ sequence_TH)
    torch.nn.init.zeros_(pooling.query_H)  # all tokens count alike
    mean = tiny_encoder(modes=("mean",))
    texts = ["das haus", "und der baum", "x"]
    torch.testing.assert_close(torch.as_tensor(encoder.encode(texts)), torch.as_tensor(mean.encode(texts)))


@pytest.mark.parametrize(
    ("words", "key", "remedy"),
    [
        (("export=none", "+pooling.widht=3"), "pooling.widht", "did you mean pooling.width?"),
        (("export=none", "pooling.width=x"), "pooling.width", "not a valid integer"),
        (("export=none", "dims=[768]"), "dims[0]", "use dims=[384]"),
        ((), "export", "use export=none"),
    ],
)
def test_its_arguments_are_checked(searchpath: str, words: tuple[str, ...], key: str, remedy: str) -> None:
    dims = () if "dims=[768]" in words else ("dims=[64]",)
    ((found, message),) = problems(searchpath, "pooling=attention", *dims, *words)

    assert found == key
    assert remedy in message


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_its_weights_are_drawn_by_the_seed_and_trained(searchpath: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [searchpath, *WORDS, "pooling.width=32", "callbacks=[recorder]"]
    for number, seed in enumerate((42, 42, 7)):
        torch.rand(number)  # as if something had been drawn before
        folder = f"run_{number}"
        words_of_run = [*words, f"seed={seed}", f"hydra.run.dir={folder}", f"callbacks.recorder.folder=of_{number}"]
        assert train_tiny(monkeypatch, *words_of_run) == 0
    queries = [[weights["pooling.query_H"] for weights in recorded(f"of_{number}")] for number in range(3)]

    assert not torch.equal(queries[0][0], queries[0][-1])
    assert all(map(torch.equal, queries[0], queries[1])) and rows("run_0") == rows("run_1")
    assert not torch.equal(queries[0][0], queries[2][0])


@pytest.mark.slow
def test_on_the_embedded_encoder_its_weights_survive_a_kill_to_the_bit(searchpath: str) -> None:
    words = (searchpath, *WORDS, "dims=[384,8]")
    calls = train_counting(*words, "hydra.run.dir=whole")
    call = random.Random("pooling").randint(1, calls)
    train_until_call(call, *words, "hydra.run.dir=killed")
    train(*words, "hydra.run.dir=killed")
    assert outcome("killed") == outcome("whole"), f"killed before call {call}"
