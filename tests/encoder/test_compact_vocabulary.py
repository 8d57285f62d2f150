"""Training the rows that occur is training the whole table, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from matryoshka.data.packing import PackedBatch
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder import Encoder
from matryoshka.encoder.compact_vocabulary import CompactVocabulary, is_exact_with
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.training.clipping import clip_gradients
from tests.tiny import tiny_encoder

TEXTS = ["der die das", "und der", "<pad> und", "", "das da"]
ANSWERS = ["schule", "die und der", "da", "das", "und"]
Make = Callable[[Iterable[nn.Parameter]], Optimizer]


def trained(encoder: Encoder, make: Make, clip: float) -> Encoder:
    encoder.train()
    optimizer = make(list(encoder.parameters()))
    loss = MatryoshkaLoss(RankingLoss(), [32, 8])
    for _ in range(4):
        batch = PackedBatch.from_ids([encoder.tokenize(TEXTS), encoder.tokenize(ANSWERS)])
        loss(*encoder(batch).tensor_split([len(TEXTS)])).total.backward()
        clip_gradients(encoder.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
    return encoder.eval()


@pytest.mark.parametrize("clip", [0.1, 1e9])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.0),
        lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.0, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    ],
    ids=["adamw", "fused", "sgd"],
)
def test_equals_training_the_whole_table_bit_for_bit(make: Make, clip: float) -> None:
    whole, compact = tiny_encoder(), tiny_encoder()
    vocabulary = compact.compact_vocabulary(TokenIds.of(compact.tokenize(TEXTS + ANSWERS)).distinct())
    assert vocabulary.rows[0] < vocabulary.rows[1] == len(whole.tokenizer)
    assert len(compact.backbone.get_input_embeddings().weight) == vocabulary.rows[0]  # type: ignore[arg-type]

    trained(whole, make, clip)
    trained(compact, make, clip)
    assert (whole.encode(TEXTS) == compact.encode(TEXTS)).all()
    compact.whole_vocabulary()
    for (name, weight), (_, other) in zip(whole.state_dict().items(), compact.state_dict().items(), strict=True):
        assert torch.equal(weight, other), name
    table = "backbone.embeddings.word_embeddings.weight"
    assert not torch.equal(tiny_encoder().state_dict()[table], whole.state_dict()[table])
    assert (whole.encode(["zyx 123"]) == compact.encode(["zyx 123"])).all()  # tokens that were set aside


def test_an_encoder_has_its_names_and_its_table_back() -> None:
    encoder = tiny_encoder()
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    encoder.compact_vocabulary([5, 6])
    encoder.whole_vocabulary()
    encoder.whole_vocabulary()

    after = encoder.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    embeddings = encoder.backbone.get_input_embeddings()
    assert isinstance(embeddings, nn.Embedding)
    assert embeddings.padding_idx == 1


def test_a_token_that_was_not_named_is_an_error() -> None:
    encoder = tiny_encoder()
    encoder.compact_vocabulary(TokenIds.of(encoder.tokenize(["der"])).distinct())

    assert encoder.encode(["der"]).shape == (1, 32)
    (letter,) = encoder.tokenizer.convert_tokens_to_ids(["z"])
    told = r"has no row: the word-embedding table is cut to 5 of \d+ rows; name it"
    with pytest.raises(IndexError, match=told):
        encoder.encode(["zyx"])
    with pytest.raises(IndexError, match=f"token id {letter} {told}"):
        encoder(PackedBatch.from_ids([[[0, letter, 2]]]))


def test_a_token_that_was_not_named_is_found_before_it_goes_to_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On `meta`, which has no numbers, as on a GPU, whose numbers would be waited for; it knows no autocast."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    encoder = tiny_encoder()
    encoder.compact_vocabulary(TokenIds.of(encoder.tokenize(["der"])).distinct())
    there = encoder.to("meta")
    (letter,) = encoder.tokenizer.convert_tokens_to_ids(["z"])

    with pytest.raises(IndexError, match=f"token id {letter} has no row"):
        next(there.encode_batches([(0, PackedBatch.from_ids([[[0, 2], [0, letter, 2]]]))], "fp32"))
    batch = PackedBatch.from_ids([[[0, letter, 2]]]).to("meta")
    assert there(batch).shape == (1, 32)  # ids of a device are not read


@pytest.mark.parametrize("wrong", [-1, -70, 10**6])
def test_ids_beyond_the_table_are_told_too(wrong: int) -> None:
    vocabulary = tiny_encoder().compact_vocabulary([5, 6])

    vocabulary.require(torch.tensor([5, 6, 0, 6]))
    vocabulary.require(torch.tensor([], dtype=torch.int64))
    with pytest.raises(IndexError, match=f"token id {wrong} has no row"):
        vocabulary.require(torch.tensor([5, wrong]))


def test_what_is_saved_is_three_times_the_rows_set_aside() -> None:
    encoder = tiny_encoder()
    vocabulary = encoder.compact_vocabulary([5, 6])

    kept, whole = vocabulary.rows
    assert kept == len({0, 1, 2, 3, 5, 6})
    assert vocabulary.bytes_saved == 3 * (whole - kept) * 32 * 4


def test_a_model_that_is_padded_is_refused() -> None:
    encoder = tiny_encoder()
    encoder.first_position = None

    with pytest.raises(ValueError, match="a xlm-roberta model may need its own numbers"):
        encoder.compact_vocabulary([5])
    assert encoder.vocabulary is None


def test_tied_tables_are_refused() -> None:
    encoder = tiny_encoder()
    encoder.backbone.get_output_embeddings = lambda: nn.Linear(2, 2)  # type: ignore[method-assign]

    with pytest.raises(ValueError, match="tied to an output layer"):
        CompactVocabulary(encoder.backbone, [5])


@pytest.mark.parametrize(
    ("make", "exact"),
    [
        (lambda p: torch.optim.AdamW(p, weight_decay=0.0), True),
        (lambda p: torch.optim.AdamW(p, weight_decay=0.01), False),
        (lambda p: torch.optim.Adam(p, fused=True), True),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), True),
        (lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1), False),
        (lambda p: torch.optim.Adafactor(p), False),  # scales an update by the norm of the table
    ],
    ids=["adamw", "decay", "adam", "sgd", "sgd decay", "adafactor"],
)
def test_exactness_is_tried_with_the_optimizer_itself(make: Make, exact: bool) -> None:
    assert is_exact_with(make) == exact
