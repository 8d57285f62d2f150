"""Batches of rows that are drawn from: what each epoch gives, with workers, after a break, and of plain rows."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from matryoshka.data.negatives import EveryOther, KnownPositives
from matryoshka.data.packing import PackedBatch
from matryoshka.data.samplers import NoDuplicatesSampler
from matryoshka.data.split import DevOfTrain, SameSet, Split
from matryoshka.data.tokens import tokenized_pairs
from matryoshka.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.tasks.pair_tokens import drawn_texts
from matryoshka.training.datamodule import PairsModule, Workers
from tests.data.test_training_rows import source
from tests.tiny import tiny_encoder

ROWS = [
    {
        "query": f"frage {i}",
        "pos": [f"antwort {i} {k}" for k in range(1 + i % 3)],
        "neg": [f"falsch {i} {k}" for k in range(i % 4)],
        "pos_scores": [1 + k / 8 for k in range(1 + i % 3)],
        "neg_scores": [k / 8 for k in range(i % 4)],
    }
    for i in range(13)
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return tiny_encoder(prompts={"query": "query: ", "document": "passage: "})


@pytest.fixture
def split(tmp_path: Path) -> Split:
    return SameSet().split(source(tmp_path, ROWS, negatives_per_row=2))


def module(split: Split, encoder: Encoder, workers: Workers = 0, seed: int = 5) -> PairsModule:
    prompts = {name: encoder.prompts["query" if name == "anchor" else "document"] for name in split.pairs.column_names}
    tokens = tokenized_pairs(split.pairs, encoder.tokenizer, 64, prompts)
    sampler = partial(NoDuplicatesSampler, batch_size=4, seed=1)
    return PairsModule(tokens, sampler, workers, split.pairs, drawn=drawn_texts(split, encoder, seed))


def told(batch: PackedBatch) -> tuple[object, ...]:
    mask = None if batch.mask_BN is None else batch.mask_BN.tolist()
    return batch.input_ids_T.tolist(), batch.lengths, mask, str(batch.numbers)


def epochs(made: PairsModule, count: int) -> list[list[PackedBatch]]:
    loader, batches = made.train_dataloader(), []
    for epoch in range(count):
        loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]  # as Lightning does
        batches.append(list(loader))
    return batches


def test_a_batch_has_the_drawn_texts_with_their_prompts_scores_and_mask(split: Split, encoder: Encoder) -> None:
    made = module(split, encoder)
    assert made.drawn is not None
    for epoch, batches in enumerate(epochs(made, 3)):
        for batch in batches:
            texts = [made.drawn.texts(draw, split.pairs) for draw in batch.rows]
            assert all(draw // len(ROWS) == epoch for draw in batch.rows)
            rows = [ROWS[draw % len(ROWS)] for draw in batch.rows]
            assert [text["anchor"] for text in texts] == [row["query"] for row in rows]
            columns = [[text[name] for text in texts] for name in split.pairs.column_names]
            ids = [encoder.tokenize(column, "document" if i else "query") for i, column in enumerate(columns)]
            assert batch.input_ids_T.tolist() == [token for column in ids for text in column for token in text]
            for i, (row, text) in enumerate(zip(rows, texts, strict=True)):
                assert text["positive"] in row["pos"]
                own = batch.numbers["teacher_BN"][i]
                assert own[i] == row["pos_scores"][row["pos"].index(text["positive"])]  # type: ignore[attr-defined]
                for k in (1, 2):
                    candidate = k * len(rows) + i
                    enough = len(row["neg"]) >= k
                    assert enough != own[candidate].isnan()
                    assert batch.mask_BN is None or bool(batch.mask_BN[:, candidate].all()) == (not enough)
                    assert enough or batch.mask_BN is not None


def test_every_epoch_draws_others(split: Split, encoder: Encoder) -> None:
    made = module(split, encoder)
    assert made.drawn is not None
    drawn = [
        {draw % len(ROWS): made.drawn.texts(draw, split.pairs) for batch in batches for draw in batch.rows}
        for batches in epochs(made, 3)
    ]
    assert {drawn[epoch][2]["positive"] for epoch in range(3)} == set(ROWS[2]["pos"])
    assert len({frozenset((drawn[epoch][3]["negative_1"], drawn[epoch][3]["negative_2"])) for epoch in range(3)}) == 3


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_draw_the_same(split: Split, encoder: Encoder) -> None:
    alone, beside = (epochs(module(split, encoder, workers), 3) for workers in (0, 2))
    assert [[told(batch) for batch in epoch] for epoch in alone] == [
        [told(batch) for batch in epoch] for epoch in beside
    ]


def test_a_run_that_goes_on_draws_the_same(split: Split, encoder: Encoder) -> None:
    whole = epochs(module(split, encoder), 3)
    made = module(split, encoder)
    made.sampler.load_state_dict({"reached": (1, 2)})
    assert [told(batch) for batch in made.train_dataloader()] == [told(batch) for batch in whole[1][2:]]


def test_another_seed_draws_otherwise(split: Split, encoder: Encoder) -> None:
    assert told(module(split, encoder).collate([2, 3])) != told(module(split, encoder, seed=6).collate([2, 3]))


def test_counts_are_those_of_the_first_epoch_and_tokens_those_of_all(split: Split, encoder: Encoder) -> None:
    made = module(split, encoder)
    counts = made.token_counts()
    batch = made.collate(range(len(ROWS)))
    assert [count for column in counts.values() for count in column] == list(batch.lengths)
    every = {token for epoch in epochs(made, 12) for batch in epoch for token in batch.input_ids_T.tolist()}
    assert made.distinct_tokens() == every
    assert made.masks(made.sampler.summary())


def test_one_text_a_list_is_the_same_as_columns(tmp_path: Path, encoder: Encoder) -> None:
    rows = [{"query": row["query"], "pos": row["pos"][:1], "neg": [f"falsch {i}"]} for i, row in enumerate(ROWS)]
    plain = [{"anchor": row["query"], "positive": row["pos"][0], "negative": row["neg"][0]} for row in rows]
    (drawn, columns) = (SameSet().split(source(tmp_path, table)) for table in (rows, plain))
    assert drawn.pools is not None and columns.pools is None
    assert drawn.pairs.to_dict() == columns.pairs.to_dict()
    one, other = (epochs(module(given, encoder), 2) for given in (drawn, columns))
    assert [[told(batch) for batch in epoch] for epoch in one] == [[told(batch) for batch in epoch] for epoch in other]


def test_what_is_held_out_is_held_out_with_all_texts_of_its_row(tmp_path: Path) -> None:
    shared = [
        *ROWS,
        {**ROWS[0], "query": "andere", "pos": ["neu"], "pos_scores": [1], "neg": ["antwort 2 2"], "neg_scores": [0]},
    ]
    split = DevOfTrain(share=0.4).split(source(tmp_path, shared, negatives_per_row=2))
    assert split.pools is not None and split.dev is not None and split.rows is not None
    assert len(split.pools) == len(split.pairs) == len(split.rows)
    trained = {text for row in range(len(split.pools)) for text in split.pools.texts_of(row)}
    held_out = {
        text for name, text in split.dev.corpus.items() if name in {d for ds in split.dev.relevant.values() for d in ds}
    }
    assert not trained & held_out
    by_query = {text: name for name, text in split.dev.queries.items()}
    for row in shared:
        if row["query"] in by_query:
            answers = split.dev.grades[by_query[str(row["query"])]]
            assert {split.dev.corpus[name] for name in answers} == set(row["pos"])  # type: ignore[arg-type]
    assert ("frage 2" in by_query) == ("andere" in by_query)  # a text of one list is in one of the other


def test_negatives_that_know_columns_alone_are_refused(split: Split, encoder: Encoder) -> None:
    class ByColumn(KnownPositives):
        pass

    tokens = tokenized_pairs(split.pairs, encoder.tokenizer, 64, {})
    sampler = partial(NoDuplicatesSampler, batch_size=4)
    drawn = drawn_texts(split, encoder, 0)
    with pytest.raises(UserError, match="negatives: ByColumn knows the first texts of each row"):
        PairsModule(tokens, sampler, 0, split.pairs, ByColumn, drawn=drawn)
    assert PairsModule(tokens, sampler, 0, split.pairs, EveryOther, drawn=drawn).collate([0]).mask_BN is not None


def test_rows_with_prompts_of_their_own_have_them_in_front(tmp_path: Path) -> None:
    encoder = tiny_encoder()
    rows = [{**row, "prompt": f"aufgabe {i % 2}: "} for i, row in enumerate(ROWS)]
    split = SameSet().split(source(tmp_path, rows))
    made = module(split, encoder)
    batch = made.collate([1])
    assert batch.input_ids_T[: batch.lengths[0]].tolist() == encoder.tokenize(["aufgabe 1: frage 1"], "query")[0]
