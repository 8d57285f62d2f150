"""Pairs and retrieval sets out of files and folders; problems told before anything is read."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from matryoshka.data.beir import BeirFolder
from matryoshka.data.hub import HubPairs
from matryoshka.data.pairs import texts_and_numbers
from matryoshka.data.sources import PairFiles
from matryoshka.errors import DataError

Row = Mapping[str, Any]

ROWS = [
    {
        "nr": "007",
        "question": "Wer?",
        "answer": 'Der "Notar",\nso heißt es.',
        "wrong": "Die Post",
        "worse": "Niemand",
    },
    {"nr": "07", "question": "NA", "answer": "2024", "wrong": "Der Wald", "worse": "Die See"},
    {"nr": "7", "question": "Wann?", "answer": "Morgen\tfrüh", "wrong": "Gestern", "worse": "Nie"},
]


ENDINGS = ".jsonl, .json, .csv, .tsv, .parquet (all but the last also with .gz)"
READ = "(read with data.separator=',' and data.encoding=utf-8)"


def write(path: Path, rows: Sequence[Row]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            separator = "\t" if path.suffix == ".tsv" else ","
            writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def pair_files(folder: Path, ending: str = ".jsonl", **options: Any) -> PairFiles:
    path = write(folder / f"rows{ending}", ROWS)
    return PairFiles("mine", train=path, evaluation=path, anchor="question", positive="answer", **options)


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_kind_of_file_gives_the_same_pairs_and_set(tmp_path: Path, ending: str) -> None:
    source = pair_files(tmp_path, ending, negatives=["worse", "wrong"], id="nr")

    pairs = source.training_pairs()
    assert pairs.column_names == ["anchor", "positive", "negative_1", "negative_2"]
    assert pairs[:] == {
        "anchor": [row["question"] for row in ROWS],
        "positive": [row["answer"] for row in ROWS],
        "negative_1": [row["worse"] for row in ROWS],
        "negative_2": [row["wrong"] for row in ROWS],
    }
    found = source.retrieval_set()
    assert found.name == "mine"
    assert dict(found.queries) == {f"q-{row['nr']}": row["question"] for row in ROWS}
    assert dict(found.corpus) == {f"d-{row['nr']}": row["answer"] for row in ROWS}
    assert dict(found.relevant) == {f"q-{row['nr']}": {f"d-{row['nr']}"} for row in ROWS}
    assert list(source.problems()) == []


def test_columns_may_bear_each_others_names(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{"anchor": "passage", "positive": "question"}])
    source = PairFiles("x", path, path, anchor="positive", positive="anchor")

    assert source.training_pairs()[:] == {"anchor": ["question"], "positive": ["passage"]}
    assert source.training_pairs().column_names == ["anchor", "positive"]


def test_without_ids_rows_are_numbered(tmp_path: Path) -> None:
    found = pair_files(tmp_path).retrieval_set()

    assert list(found.queries) == ["q-0", "q-1", "q-2"]
    assert found.relevant["q-2"] == {"d-2"}


def test_numbers_serve_as_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{"id": 12, "anchor": "a", "positive": "p"}])

    assert dict(PairFiles("x", path, path, id="id").retrieval_set().queries) == {"q-12": "a"}


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", [{"id": i, "anchor": "a", "positive": "p"} for i in (1, 2, 1)])

    with pytest.raises(DataError, match=r"x\.jsonl: column 'id' repeats an id"):
        PairFiles("x", path, path, id="id").retrieval_set()


def test_documents_only_widen_the_corpus(tmp_path: Path) -> None:
    more = [write(tmp_path / f"{n}.jsonl", [{"answer": f"{n} {i}"} for i in range(2)]) for n in ("a", "b")]
    plain, widened = (
        pair_files(tmp_path).retrieval_set(),
        pair_files(tmp_path, documents=more).retrieval_set(),
    )

    assert dict(widened.queries) == dict(plain.queries)
    assert dict(widened.relevant) == dict(plain.relevant)
    assert dict(widened.corpus) == dict(plain.corpus) | {
        "x0-0": "a 0",
        "x0-1": "a 1",
        "x1-0": "b 0",
        "x1-1": "b 1",
    }


def test_a_dev_file_is_read_like_evaluation(tmp_path: Path) -> None:
    more = [write(tmp_path / "more.jsonl", [{"answer": "mehr"}])]
    dev = write(tmp_path / "dev.csv", [{"nr": "01", "question": "Wo?", "answer": "Dort"}])
    source = pair_files(tmp_path, documents=more, dev=dev, id="nr")

    assert list(source.problems()) == []
    found = source.dev_set()
    assert found == PairFiles("mine (dev)", dev, dev, more, "question", "answer", id="nr").retrieval_set()
    assert found is not None
    assert dict(found.corpus) == {"d-01": "Dort", "x0-0": "mehr"}
    assert source.retrieval_set() == pair_files(tmp_path, documents=more, id="nr").retrieval_set()


def test_without_a_dev_file_or_split_there_is_no_dev_set(tmp_path: Path) -> None:
    assert pair_files(tmp_path).dev_set() is None
    assert beir(tmp_path).dev_set() is None
    assert HubPairs("h", "owner/name").dev_set() is None


def test_problems_of_a_dev_file_are_told_with_the_others(tmp_path: Path) -> None:
    dev = write(tmp_path / "dev.jsonl", [{"question": "Wo?"}])

    assert list(pair_files(tmp_path, dev=dev).problems()) == [
        ("dev", f"{dev} has no column 'answer'; it has 'question'")
    ]
    assert [key for key, _ in pair_files(tmp_path, dev=str(tmp_path / "no.jsonl")).problems()] == ["dev"]


def test_dev_is_neither_what_is_reported_nor_what_is_trained_on(tmp_path: Path) -> None:
    one, two = (write(tmp_path / f"{name}.jsonl", [{"anchor": "a", "positive": "p"}]) for name in ("one", "two"))
    problems = [
        *PairFiles("x", one, two, dev=two).problems(),
        *PairFiles("x", one, two, dev=f"{tmp_path}/./one.jsonl").problems(),
        *HubPairs("h", "owner/name", dev_split="train").problems(),
        *replace(beir(tmp_path), dev_split="test").problems(),
    ]

    assert problems == [
        ("dev", f"{two} is what the run reports on; use split=same to select the checkpoint on it as well"),
        ("dev", f"{tmp_path}/./one.jsonl is trained on; use dev=null to hold some of it out"),
        ("dev_split", "train is trained on; use dev_split=null to hold some of it out"),
        ("dev_split", "test is what the run reports on; use split=same to select the checkpoint on it as well"),
    ]


def test_an_empty_cell_is_named_with_file_and_row(tmp_path: Path) -> None:
    rows = [*ROWS, {**ROWS[0], "nr": "8", "wrong": " ", "answer": ""}]
    path = write(tmp_path / "x.csv", rows)
    source = PairFiles("x", path, path, anchor="question", positive="answer")

    with pytest.raises(DataError, match=r"x\.csv, row 4: 'answer' is empty"):
        source.training_pairs()
    with pytest.raises(DataError, match=r"x\.csv, row 4: 'answer' is empty"):
        source.retrieval_set()
    with pytest.raises(DataError, match=r"x\.csv, row 4: 'wrong' is empty"):
        PairFiles("x", path, path, anchor="question", positive="question", negatives=["wrong"]).training_pairs()


def test_all_problems_are_told_at_once_with_the_argument_they_belong_to(tmp_path: Path) -> None:
    empty_cell = write(tmp_path / "empty.jsonl", [{"anchor": "", "positive": "p"}])
    source = PairFiles(
        "x",
        train=str(tmp_path / "missing.jsonl"),
        evaluation=empty_cell,
        documents=[str(tmp_path / "x.docx"), write(tmp_path / "d.csv", [{"text": "t", "title": "u"}])],
        id="nr",
    )

    folder = tmp_path
    assert list(source.problems()) == [
        ("train", f"{folder}/missing.jsonl does not exist; {folder} has d.csv, empty.jsonl"),
        ("evaluation", f"{empty_cell}: column 'anchor' of the first row is empty; every row needs a text"),
        ("evaluation", f"{empty_cell} has no column 'nr'; it has 'anchor', 'positive'"),
        ("documents[0]", f"{folder}/x.docx: unknown ending '.docx'; use {ENDINGS}"),
        ("documents[1]", f"{folder}/d.csv has no column 'positive'; it has 'text', 'title' {READ}"),
    ]


def test_a_missing_negative_is_a_problem_of_the_training_file(tmp_path: Path) -> None:
    problems = list(pair_files(tmp_path, negatives=["wrong", "worst"]).problems())

    assert [(key, "'worst'" in message) for key, message in problems] == [("train", True)]


def test_problems_do_not_read_beyond_the_first_row(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"anchor": "a", "positive": "p"}\n{"anchor": broken', encoding="utf-8")

    source = PairFiles("x", str(path), str(path))
    assert list(source.problems()) == []
    with pytest.raises(DataError, match=r"x\.jsonl, line 2"):
        source.training_pairs()


CORPUS = [
    {"_id": "01", "title": "Steuer", "text": "Wer sie zahlt."},
    {"_id": "1", "title": "", "text": "Ohne Titel."},
    {"_id": "d3", "title": "Nur ein Titel", "text": ""},
    {"_id": "d4", "title": "", "text": "Das sucht niemand."},
]
QUERIES = [{"_id": "001", "text": "Wer zahlt?"}, {"_id": "q2", "text": "Was?"}, {"_id": "q3", "text": "Wie?"}]
TRAIN = [("001", "01", "2"), ("001", "d4", "0"), ("q2", "d3", "1"), ("q2", "1", "-1")]
TEST = [("q3", "1", "1"), ("q3", "d3", "3"), ("q3", "d4", "0"), ("q2", "01", "0"), ("001", "01", "1")]


def beir(
    folder: Path,
    train: Sequence[tuple[str, str, str]] = TRAIN,
    test: Sequence[tuple[str, str, str]] = TEST,
    corpus: Sequence[Row] = CORPUS,
    queries: Sequence[Row] = QUERIES,
) -> BeirFolder:
    write(folder / "corpus.jsonl", corpus)
    write(folder / "queries.jsonl", queries)
    for split, judgements in (("train", train), ("test", test)):
        header = ("query-id", "corpus-id", "score")
        write(folder / "qrels" / f"{split}.tsv", [dict(zip(header, row, strict=True)) for row in judgements])
    return BeirFolder("b", str(folder))


def test_beir_pairs_are_the_judgements_above_zero(tmp_path: Path) -> None:
    source = beir(tmp_path)

    assert list(source.problems()) == []
    assert source.training_pairs()[:] == {
        "anchor": ["Wer zahlt?", "Was?"],
        "positive": ["Steuer Wer sie zahlt.", "Nur ein Titel"],
    }


def test_beir_set_has_all_documents_and_the_queries_with_an_answer(tmp_path: Path) -> None:
    found = beir(tmp_path).retrieval_set()

    assert dict(found.queries) == {"001": "Wer zahlt?", "q3": "Wie?"}
    assert dict(found.corpus) == {
        "01": "Steuer Wer sie zahlt.",
        "1": "Ohne Titel.",
        "d3": "Nur ein Titel",
        "d4": "Das sucht niemand.",
    }
    assert {query: found.grades[query] for query in found.queries} == {"001": {"01": 1}, "q3": {"1": 1, "d3": 3}}


def test_beir_dev_split_is_judged_by_its_own_file(tmp_path: Path) -> None:
    source = replace(beir(tmp_path), dev_split="dev")
    assert [message for _, message in source.problems()] == [
        f"{tmp_path}/qrels/dev.tsv does not exist; BEIR's layout has corpus.jsonl, queries.jsonl, qrels/; "
        "MTEB's the same, or folders of them, also as .parquet"
    ]

    write(tmp_path / "qrels" / "dev.tsv", [{"query-id": "q2", "corpus-id": "d4", "score": "1"}])
    assert list(source.problems()) == []
    found = source.dev_set()
    assert found is not None
    assert (found.name, dict(found.queries), found.grades) == ("b (dev)", {"q2": "Was?"}, {"q2": {"d4": 1}})
    assert found.corpus == source.retrieval_set().corpus


@pytest.mark.parametrize("row", [("001", "d9", "1"), ("q9", "01", "1")])
def test_beir_training_names_an_unknown_id(tmp_path: Path, row: tuple[str, str, str]) -> None:
    unknown = next(i for i in row if i.endswith("9"))

    with pytest.raises(DataError, match=rf"qrels/train\.tsv, row 5: .* '{unknown}' has no text in"):
        beir(tmp_path, train=[*TRAIN, row]).training_pairs()


def test_beir_ids_keep_their_zeros(tmp_path: Path) -> None:
    """01 and 1 are two documents; read as numbers they would be one."""
    assert beir(tmp_path, test=[("001", "01", "1")]).retrieval_set().grades == {"001": {"01": 1}}
    with pytest.raises(DataError, match="no query has a relevant document"):
        beir(tmp_path / "other", test=[("1", "01", "1")]).retrieval_set()


def test_beir_evaluation_names_an_unknown_document(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"row 6: document 'd9' has no text in corpus\.jsonl"):
        beir(tmp_path, test=[*TEST, ("q3", "d9", "1")]).retrieval_set()


def test_beir_evaluation_drops_unknown_queries(tmp_path: Path) -> None:
    assert "q9" not in beir(tmp_path, test=[*TEST, ("q9", "01", "1")]).retrieval_set().queries


def test_beir_wants_numbers_for_grades(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"qrels/test\.tsv, row 1: score is 'yes', not a number"):
        beir(tmp_path, test=[("001", "01", "yes")]).retrieval_set()


def test_beir_grades_are_whole_numbers(tmp_path: Path) -> None:
    """trec_eval reads no others; to train on, any score above 0 is a pair."""
    source = beir(tmp_path, train=[("001", "01", "0.5")], test=[("q3", "1", "2.0"), ("001", "01", "0.5")])

    with pytest.raises(DataError, match=r"qrels/test\.tsv, row 2: score is '0.5', no whole number; multiply"):
        source.retrieval_set()
    assert source.training_pairs()["anchor"][:] == ["Wer zahlt?"]
    whole = beir(tmp_path / "whole", test=[("q3", "1", "2.0"), ("001", "01", "10"), ("001", "1", "-3")])
    assert whole.retrieval_set().grades == {"q3": {"1": 2}, "001": {"01": 10}}


def test_beir_judgements_to_evaluate_on_may_not_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test\.tsv, row 2: query '001' and document '01' are judged twice"):
        beir(tmp_path, test=[("001", "01", "1"), ("001", "01", "2")]).retrieval_set()
    same = [("001", "01", "2"), ("001", "01", "2"), ("001", "1", "0"), ("001", "1", "-1")]
    assert beir(tmp_path / "same", test=same).retrieval_set().grades == {"001": {"01": 2}}
    source = beir(tmp_path / "train", train=[("001", "01", "1"), ("001", "01", "2")])
    assert len(source.training_pairs()) == 1


@pytest.mark.parametrize(("missing", "column"), [("_id", "_id"), ("text", "text")])
def test_beir_wants_its_columns(tmp_path: Path, missing: str, column: str) -> None:
    corpus = [{key: value for key, value in row.items() if key != missing} for row in CORPUS]

    with pytest.raises(DataError, match=rf"corpus\.jsonl.*column '{column}'"):
        beir(tmp_path, corpus=corpus).retrieval_set()


def test_beir_wants_a_header_in_its_judgements(tmp_path: Path) -> None:
    source = beir(tmp_path)
    (tmp_path / "qrels" / "test.tsv").write_text("001\t01\t1\nq2\t1\t1\n", encoding="utf-8")

    with pytest.raises(DataError, match=r"test\.tsv has no column 'query-id'; it has '001'"):
        source.retrieval_set()


def test_a_beir_document_without_title_and_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"corpus\.jsonl, row 5: neither a title nor a text"):
        beir(tmp_path, corpus=[*CORPUS, {"_id": "d5", "title": "", "text": " "}]).retrieval_set()


def test_beir_needs_no_titles(tmp_path: Path) -> None:
    corpus = [{"_id": row["_id"], "text": row["text"] or "Text"} for row in CORPUS]

    assert beir(tmp_path, corpus=corpus).retrieval_set().corpus["01"] == "Wer sie zahlt."


def test_missing_parts_of_a_beir_folder_are_problems(tmp_path: Path) -> None:
    source = beir(tmp_path)
    (tmp_path / "queries.jsonl").unlink()
    (tmp_path / "qrels" / "train.tsv").unlink()

    assert [key for key, _ in source.problems()] == ["folder"]  # what is only measured needs no judgements to train on
    problems = [*source.problems(), *source.training_problems()]
    assert [key for key, _ in problems] == ["folder", "folder"]
    assert f"{tmp_path}/queries.jsonl does not exist" in problems[0][1]
    assert f"{tmp_path}/qrels/train.tsv does not exist" in problems[1][1]


def test_hub_pairs_are_read_by_split_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset

    asked = []

    def load_dataset(name: str, subset: str | None, *, split: str, revision: str | None) -> Dataset:
        asked.append((name, subset, split, revision))
        return Dataset.from_list([{"q": f"{split} {i}", "a": f"answer {i}", "n": "no", "z": 1} for i in range(2)])

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    columns = {"anchor": "q", "positive": "a", "negatives": ["n"]}
    source = HubPairs("h", "owner/name", "de", "abc", "fit", "held", **columns, dev_split="dev")

    assert list(source.problems()) == []
    assert asked == []
    assert source.training_pairs()[:] == {
        "anchor": ["fit 0", "fit 1"],
        "positive": ["answer 0", "answer 1"],
        "negative_1": ["no", "no"],
    }
    found = source.retrieval_set()
    assert dict(found.queries) == {"q-0": "held 0", "q-1": "held 1"}
    assert dict(found.corpus) == {"d-0": "answer 0", "d-1": "answer 1"}
    assert dict(found.relevant) == {"q-0": {"d-0"}, "q-1": {"d-1"}}
    assert asked == [("owner/name", "de", "fit", "abc"), ("owner/name", "de", "held", "abc")]
    dev = source.dev_set()
    assert dev is not None
    assert (dev.name, dict(dev.queries)) == ("h (dev)", {"q-0": "dev 0", "q-1": "dev 1"})
    assert asked[2:] == [("owner/name", "de", "dev", "abc")]


def test_a_hub_set_out_of_reach_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nand much more")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)

    with pytest.raises(DataError) as error:
        HubPairs("h", "owner/name").training_pairs()
    assert str(error.value) == "data set 'owner/name', split 'train', cannot be loaded: no route"


def test_one_column_under_two_names_is_a_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", ROWS)
    problems = dict(PairFiles("x", path, path, anchor="question", positive="question").problems())

    assert "name one column twice" in problems["positive"]


SCORED = [{**row, "answer_teacher": 0.9, "wrong_teacher": 0.1 * n, "worse_teacher": 0} for n, row in enumerate(ROWS)]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_numbers_stand_behind_the_names_of_the_candidates(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"rows{ending}", SCORED)
    options: dict[str, Any] = {"anchor": "question", "positive": "answer", "negatives": ["wrong", "worse"]}
    source = PairFiles("mine", train=path, evaluation=path, numbers=["teacher"], **options)

    texts, numbers = texts_and_numbers(source.training_pairs(), "mine")

    assert list(source.problems()) == []
    assert texts.column_names == ["anchor", "positive", "negative_1", "negative_2"]
    assert numbers is not None
    assert numbers["negative_1_teacher"][:] == pytest.approx([0, 0.1, 0.2])
    assert numbers.column_names == ["positive_teacher", "negative_1_teacher", "negative_2_teacher"]


def test_columns_of_numbers_that_are_none_are_told(tmp_path: Path) -> None:
    rows = [{"anchor": "a", "positive": "b", "positive_teacher": value} for value in (1.0, None)]
    path = write(tmp_path / "rows.jsonl", rows)

    ((key, missing),) = PairFiles("mine", path, path, numbers=["margin"]).problems()
    _, named = next(PairFiles("mine", path, path, numbers=["2"]).problems())

    assert key == "train"
    assert "has no column 'positive_margin'" in missing
    assert "names no numbers" in named
    with pytest.raises(DataError, match="row 2: 'positive_teacher' is None, not a number; give every row"):
        PairFiles("mine", path, path, numbers=["teacher"]).training_pairs()
