"""Training and evaluation files in each layout that people have, and what is refused of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from datasets import Dataset

from matryoshka.data.hub import HubPairs
from matryoshka.data.pools import Pools
from matryoshka.data.sources import PairFiles
from matryoshka.data.training_rows import as_lists
from matryoshka.errors import DataError

FLAG = [
    {"query": "q1", "pos": ["a", "b"], "neg": ["x", "y", "z"], "pos_scores": [0.9, 0.5], "neg_scores": [0.3, 0, -1.5]},
    {"query": "q2", "pos": ["c"], "neg": ["x"], "pos_scores": [1], "neg_scores": [0.25]},
    {"query": "q3", "pos": ["d"], "neg": [], "pos_scores": [1], "neg_scores": []},
]
LABELLED = [
    {"sentence1": "q1", "sentence2": "a", "label": 1},
    {"sentence1": "q2", "sentence2": "a", "label": 0},
    {"sentence1": "q1", "sentence2": "x", "label": 0},
    {"sentence1": "q1", "sentence2": "b", "label": 1},
    {"sentence1": "q3", "sentence2": "c", "label": 1},
]


def source(folder: Path, rows: Sequence[Any], ending: str = ".jsonl", **options: Any) -> PairFiles:
    """The rows as a file to train and to measure on, written anew."""
    path = folder / f"rows{ending}"
    if ending == ".parquet":
        parquet.write_table(pa.Table.from_pylist(list(rows)), path)
    elif ending == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) if ending == ".jsonl" else f"[{','.join(lines)}]", encoding="utf-8")
    return PairFiles("mine", str(path), str(path), **{"negatives": None, **options})


def lists(rows: Dataset) -> list[tuple[str, list[str], list[str]]]:
    """Anchor, positives and negatives of each row."""
    pools = Pools.of(rows)
    assert pools is not None
    sides = ((pools.positives, pools.negatives) for _ in range(1))
    ((right, wrong),) = sides
    return [
        (anchor, [pools.texts[i] for i in right.of(row)], [pools.texts[i] for i in wrong.of(row)])
        for row, anchor in enumerate(rows["anchor"])
    ]


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
def test_flag_embedding_rows(tmp_path: Path, ending: str) -> None:
    mine = source(tmp_path, FLAG, ending)
    rows = mine.training_pairs()

    assert list(mine.problems()) == []
    assert lists(rows) == [(row["query"], row["pos"], row["neg"]) for row in FLAG]
    columns = ["anchor", "positive", "negative_1", "negative_2"]  # half of the rows with any have two
    assert rows.select_columns(columns)[:] == {
        "anchor": ["q1", "q2", "q3"],
        "positive": ["a", "c", "d"],
        "negative_1": ["x", "x", "d"],
        "negative_2": ["y", "x", "d"],
    }
    pools = Pools.of(rows)
    assert pools is not None and pools.positives.scores is not None and pools.negatives.scores is not None
    assert pools.positives.scores.tolist() == pytest.approx([0.9, 0.5, 1, 1])
    assert pools.negatives.scores.tolist() == pytest.approx([0.3, 0, -1.5, 0.25])
    assert pools.kinds == {"teacher_BN"}
    assert tuple(mine.read_as()) == (
        "read as FlagEmbedding rows (query, pos, neg)",
        "pos_scores and neg_scores are a teacher's scores, for a loss that takes teacher_BN",
        "of each row an epoch takes one of up to 2 positives and 2 of up to 3 negatives",
        "2 of 3 rows have fewer than 2 negatives: theirs are repeated, and count once; "
        "data.negatives_per_row=1 repeats fewer",
    )


def test_a_hub_data_set_is_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Dataset.from_list(FLAG)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: rows)
    hub = HubPairs("mine", "owner/name", negatives=None)

    assert lists(hub.training_pairs()) == lists(source(tmp_path, FLAG).training_pairs())
    assert "read as FlagEmbedding rows (query, pos, neg)" in hub.read_as()
    assert hub.retrieval_set().relevant == source(tmp_path, FLAG).retrieval_set().relevant


@pytest.mark.parametrize(("asked", "columns"), [(0, 0), (1, 1), (3, 3), (9, 3), (None, 2)])
def test_so_many_negatives_are_columns_as_are_asked_for(tmp_path: Path, asked: int | None, columns: int) -> None:
    rows = source(tmp_path, FLAG, negatives_per_row=asked).training_pairs()
    names = [name for name in rows.column_names if name.startswith("negative_")]
    assert names == [f"negative_{i + 1}" for i in range(columns)]


def test_positives_alone(tmp_path: Path) -> None:
    rows = source(tmp_path, [{"query": row["query"], "pos": row["pos"]} for row in FLAG]).training_pairs()
    assert rows.column_names == ["anchor", "positive", "positives"]
    assert lists(rows) == [(row["query"], row["pos"], []) for row in FLAG]


def test_lists_in_named_columns(tmp_path: Path) -> None:
    named = [{"frage": row["query"], "richtig": row["pos"], "falsch": row["neg"]} for row in FLAG]
    mine = source(tmp_path, named, anchor="frage", positive="richtig", negatives=["falsch"])
    assert lists(mine.training_pairs()) == lists(source(tmp_path, FLAG).training_pairs())


def test_n_tuples_are_columns_as_before_and_drawn_from_where_fewer_are_asked_for(tmp_path: Path) -> None:
    rows = [{"query": f"q{i}", "positive": f"p{i}", **{f"negative_{k}": f"n{i}{k}" for k in (1, 2, 3)}} for i in (0, 1)]
    by_name = source(tmp_path, rows).training_pairs()
    named = source(tmp_path, rows, anchor="query", negatives=["negative_1", "negative_2", "negative_3"])

    assert by_name.to_dict() == named.training_pairs().to_dict()
    assert Pools.of(by_name) is None
    drawn = source(tmp_path, rows, negatives_per_row=2).training_pairs()
    assert drawn.column_names == ["anchor", "positive", "negative_1", "negative_2", "positives", "negatives"]
    assert lists(drawn) == [(f"q{i}", [f"p{i}"], [f"n{i}{k}" for k in (1, 2, 3)]) for i in (0, 1)]


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_labelled_pairs_of_one_anchor_are_brought_together(tmp_path: Path, ending: str) -> None:
    mine = source(tmp_path, LABELLED, ending)

    assert lists(mine.training_pairs()) == [("q1", ["a", "b"], ["x"]), ("q3", ["c"], [])]
    assert tuple(mine.read_as())[:2] == (
        "read as labelled pairs (sentence1, sentence2, label)",
        "1 of 3 anchors have no right answer and are left out",
    )
    found = mine.retrieval_set()
    assert sorted(found.queries.values()) == ["q1", "q3"]
    assert sorted(found.corpus.values()) == ["a", "b", "c"]


def test_graded_labels_take_a_threshold_and_are_scores(tmp_path: Path) -> None:
    graded = [{**row, "label": (0.75 if row["label"] else 0.25)} for row in LABELLED]
    with pytest.raises(DataError, match=r"row 1: 'label' is 0.75, neither 0 nor 1; with data.threshold=0.5"):
        source(tmp_path, graded).training_pairs()
    rows = source(tmp_path, graded, threshold=0.5).training_pairs()
    assert lists(rows) == lists(source(tmp_path, LABELLED).training_pairs())
    pools = Pools.of(rows)
    assert pools is not None and pools.negatives.scores is not None
    assert pools.negatives.scores.tolist() == [0.25]


def test_a_label_may_stand_in_a_named_column(tmp_path: Path) -> None:
    named = [{"anchor": row["sentence1"], "positive": row["sentence2"], "gut": row["label"]} for row in LABELLED]
    mine = source(tmp_path, named, label="gut")
    assert lists(mine.training_pairs()) == lists(source(tmp_path, LABELLED).training_pairs())


def test_a_label_beside_the_usual_names_is_read_and_a_score_beside_others_is_told(tmp_path: Path) -> None:
    usual = [{"anchor": row["sentence1"], "positive": row["sentence2"], "label": row["label"]} for row in LABELLED]
    assert lists(source(tmp_path, usual).training_pairs()) == [("q1", ["a", "b"], ["x"]), ("q3", ["c"], [])]

    scored = source(tmp_path, [{"question": "q", "answer": "a", "score": 0}])
    assert list(scored.training_pairs()["anchor"]) == ["q"]
    assert "column 'score' is not read; data.label=score takes it" in " ".join(scored.read_as())


def test_prompts_of_an_evaluation_file_are_not_read_and_told(tmp_path: Path) -> None:
    mine = source(tmp_path, [{"query": "q", "pos": ["a"], "neg": [], "prompt": "Ask: "}])
    assert list(mine.retrieval_set().queries.values()) == ["q"]
    assert "its prompts are not read" in " ".join(mine.read_as())


def test_only_so_many_rows_are_drawn_and_of_labelled_pairs_anchors(tmp_path: Path) -> None:
    assert len(source(tmp_path, FLAG, pairs_at_most=2).training_pairs()) == 2
    assert len(lists(source(tmp_path, FLAG, pairs_at_most=2).training_pairs())) == 2
    (only,) = lists(source(tmp_path, LABELLED, pairs_at_most=1).training_pairs())
    assert only in [("q1", ["a", "b"], ["x"]), ("q3", ["c"], [])]


def test_well_known_names_in_an_evaluation_file(tmp_path: Path) -> None:
    mine = source(tmp_path, [{"nr": 7, "question": "q", "answer": "a"}], id="nr")
    assert mine.retrieval_set().queries == {"q-7": "q"}
    assert tuple(mine.read_as()) == (f"{mine.evaluation}: read as pairs (question, answer)",)


def test_each_answer_of_a_list_counts_in_an_evaluation_file(tmp_path: Path) -> None:
    mine = source(tmp_path, [{"id": i, **row} for i, row in enumerate(FLAG)], id="id")
    mine = PairFiles("mine", None, mine.evaluation, [mine.evaluation], id="id", negatives=None)
    found = mine.retrieval_set()
    assert found.queries == {"q-0": "q1", "q-1": "q2", "q-2": "q3"}
    assert found.relevant["q-0"] == {"d-0", "d-0-1"}
    assert {name: text for name, text in found.corpus.items() if name[0] == "d"} == {
        "d-0": "a", "d-0-1": "b", "d-1": "c", "d-2": "d"
    }  # fmt: skip
    assert [text for name, text in found.corpus.items() if name[0] == "x"] == ["a", "b", "c", "d"]


ROW = {"query": "q", "pos": ["p"], "neg": ["n"]}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a positive that is a text among lists": ({"pos": "p"}, "row 2: 'pos' is 'p', not a list of texts; write a list"),
    "a number in a list": ({"neg": ["n", 3]}, "row 2: 'neg' has 3, not a text; write a list"),
    "a list in a list": ({"neg": [["n"]]}, r"row 2: 'neg' has \['n'\], not a text; write a list"),
    "null in a list": ({"neg": ["n", None]}, "row 2: 'neg' has a text that is empty; remove"),
    "an empty text in a list": ({"pos": ["p", " "]}, "row 2: 'pos' has a text that is empty; remove"),
    "no positive": ({"pos": []}, "row 2: 'pos' is empty; give the row a text there, or remove it"),
    "a positive of null": ({"pos": None}, "row 2: 'pos' is empty; give the row a text there, or remove it"),
    "an object for a list": ({"pos": {"a": "p"}}, "row 2: 'pos' is {'a': 'p'}, not a list of texts"),
    "fewer scores": ({"neg_scores": []}, "row 2: 'neg_scores' has 0 numbers for the 1 of 'neg'; give each its own"),
    "a score of text": ({"neg_scores": ["high"]}, "row 2: 'neg_scores' has 'high', not a number; write a number"),
    "a score of null": ({"neg_scores": [None]}, "row 2: 'neg_scores' has None, not a number; write a number"),
    "a score that is no list": ({"neg_scores": 1}, "row 2: 'neg_scores' is 1, not a list; write a number"),
    "an empty query": ({"query": ""}, "row 2: 'query' is empty; remove the row"),
    "a prompt of a number": ({"prompt": 3}, "row 2: 'prompt' is 3, not a text; put it in quotes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_row_is_named(tmp_path: Path, name: str) -> None:
    changed, says = WRONG[name]
    first = {**ROW, **({"neg_scores": [0.5]} if "neg_scores" in changed else {})}
    with pytest.raises(DataError, match=says):
        source(tmp_path, [first, {**first, **changed}]).training_pairs()


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (2, "row 2: 'label' is 2, neither 0 nor 1; with data.threshold=2"),
        (-1, "row 2: 'label' is -1, neither 0 nor 1"),
        (None, "row 2: 'label' is None, not a number; write 1 for a right answer, 0 for a wrong one"),
        (0, "row 2: 'label' is 0, and an earlier row of the same texts has 1; keep one of them"),
    ],
)
def test_a_wrong_label_is_named(tmp_path: Path, label: object, says: str) -> None:
    row = {"sentence1": "q", "sentence2": "p", "label": 1}
    with pytest.raises(DataError, match=says):
        source(tmp_path, [row, {**row, "label": label}]).training_pairs()


def test_labels_of_wrong_answers_alone_are_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row has a label of 1 or more .*; no anchor has a right answer"):
        source(tmp_path, [{**row, "label": 0} for row in LABELLED]).training_pairs()


def test_lists_that_are_written_as_texts_are_refused(tmp_path: Path) -> None:
    row = {"query": "q", "pos": "[1] p [2]", "neg": "['n', 'm']"}
    with pytest.raises(DataError, match=r"row 1: 'neg' is \"\['n', 'm'\]\", a list written as a text"):
        source(tmp_path, [row], ".csv").training_pairs()
    with pytest.raises(DataError, match=r"row 2: 'pos' is .*, a list written as a text"):
        source(tmp_path, [row, {**row, "pos": '["p"]'}], ".csv").retrieval_set()

    assert source(tmp_path, [{**row, "neg": "[n]"}], ".csv").training_pairs()["positive"][:] == ["[1] p [2]"]


def test_numbers_of_columns_do_not_go_with_lists(tmp_path: Path) -> None:
    row = {"query": "q", "pos": ["p"], "neg": ["n"], "pos_teacher": [1.0], "neg_teacher": [0.5]}
    with pytest.raises(DataError, match="lists have theirs in pos_scores and neg_scores"):
        source(tmp_path, [row], numbers=["teacher"]).training_pairs()


def test_lists_in_several_columns_of_negatives_are_refused(tmp_path: Path) -> None:
    rows = [{"query": "q", "pos": ["p"], "neg": ["n"], "negative_1": "m"}]
    with pytest.raises(DataError, match="columns 'neg', 'negative_1' beside lists of texts; keep one"):
        source(tmp_path, rows).training_pairs()


def test_rows_of_columns_and_rows_of_lists_can_stand_below_each_other(tmp_path: Path) -> None:
    plain = Dataset.from_dict({"anchor": ["q"], "positive": ["p"], "negative_1": ["n"], "negative_2": ["m"]})
    listed = as_lists(source(tmp_path, FLAG).training_pairs())
    assert as_lists(plain)[:] == {"anchor": ["q"], "positives": [["p"]], "negatives": [["n", "m"]]}
    assert as_lists(plain.select_columns(["anchor", "positive"]))["negatives"][:] == [[]]
    assert listed.column_names == ["anchor", "positives", "negatives", "positives_teacher", "negatives_teacher"]
    assert as_lists(listed).to_dict() == listed.to_dict()
