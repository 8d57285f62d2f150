"""Data sets of the hub in BEIR's layout, read from folders that are laid out as clones of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from matryoshka.data.hub_beir import HubBeir
from matryoshka.errors import DataError
from tests.data.clone import qrels, texts, write_clone

QUERIES = {"q1": "wo?", "q2": "wer?", "q3": "was?"}
CORPUS = {"d1": "hier", "d2": "dort", "d3": "er", "d4": ""}
RELEVANT = {"q1": ["d1", "d2"], "q2": ["d3"]}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")


def clone(folder: Path, **subsets: Any) -> HubBeir:
    given = {"corpus": texts(CORPUS), "queries": texts(QUERIES), "qrels": qrels(RELEVANT), **subsets}
    write_clone(folder, {name: {"train": rows} for name, rows in given.items()})
    return HubBeir("nano", str(folder), "train")


def test_a_clone_is_read_without_grades_and_without_empty_texts(tmp_path: Path) -> None:
    source = clone(tmp_path / "set")
    found = source.retrieval_set()

    assert list(source.problems()) == []
    assert dict(found.queries) == {"q1": "wo?", "q2": "wer?"}  # the third has no answer
    assert dict(found.corpus) == {"d1": "hier", "d2": "dort", "d3": "er"}
    assert found.grades == {"q1": {"d1": 1, "d2": 1}, "q2": {"d3": 1}}
    assert not found.graded
    assert source.commit is None


def test_scores_are_grades_titles_stand_before_texts_and_ids_may_be_numbers(tmp_path: Path) -> None:
    corpus = [{"_id": i, "title": title, "text": "ein Text"} for i, title in enumerate(("Titel", "", None))]
    judged = [{"query-id": "q1", "corpus-id": i, "score": float(score)} for i, score in enumerate((3, 0, 1))]
    found = clone(tmp_path / "set", corpus=corpus, qrels=judged).retrieval_set()

    assert dict(found.corpus) == {"0": "Titel ein Text", "1": "ein Text", "2": "ein Text"}
    assert found.grades["q1"] == {"0": 3, "2": 1}


def test_splits_of_other_names_judgements_elsewhere_and_lists_of_documents(tmp_path: Path) -> None:
    judged = [{"query-id": "q1", "corpus-id": ["d1", "d2"]}, {"query-id": "q2", "corpus-id": ["d3"]}]
    subsets = {"corpus": {"corpus": texts(CORPUS)}, "queries": {"test": texts(QUERIES), "dev": texts({"x": "x"})}}
    folder = write_clone(tmp_path / "set", subsets)
    other = write_clone(tmp_path / "qrels", {"default": {"test": judged, "dev": judged[:1]}})
    found = HubBeir("nano", str(folder), qrels="default", qrels_dataset=str(other)).retrieval_set()

    assert dict(found.queries) == {"q1": "wo?", "q2": "wer?"}
    assert found.grades["q1"] == {"d1": 1, "d2": 1}


@pytest.mark.parametrize(
    ("subsets", "said"),
    [
        ({"corpus": [*texts(CORPUS), {"_id": "d1", "text": "mehr"}]}, "'corpus', row 5: id 'd1' is given twice"),
        ({"corpus": [{"text": "ohne"}]}, "'corpus' has no column '_id'; it has 'text'"),
        ({"queries": [{"_id": "q1", "text": None}, {"_id": "q2", "text": "a"}]}, "row 1: 'text' "),
        ({"queries": [{"_id": None, "text": "a"}, {"_id": "q2", "text": "a"}]}, "row 1: the id is empty"),
        ({"qrels": [{"query-id": "q1", "score": 1}]}, "'qrels' has no column 'corpus-id'"),
        ({"qrels": [{"query-id": "q1", "corpus-id": "d9"}]}, "row 1: document 'd9' has no text in 'corpus'"),
        ({"qrels": [{"query-id": "q1", "corpus-id": "d4"}]}, "row 1: document 'd4' has no text in 'corpus'"),
        ({"qrels": [{"query-id": "q1", "corpus-id": "d1", "score": 0.5}]}, "row 1: score is 0.5, no whole number"),
        ({"qrels": qrels({"q1": {"d1": 1}}) + qrels({"q1": {"d1": 2}})}, "row 2: query 'q1' and document 'd1' are"),
        ({"qrels": qrels({"q9": ["d1"]})}, "no query has a relevant document"),
    ],
)
def test_what_cannot_be_read_rightly_is_refused(tmp_path: Path, subsets: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as error:
        clone(tmp_path / "set", **subsets).retrieval_set()
    assert said in str(error.value)


def test_a_subset_or_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    clone(tmp_path / "set")
    with pytest.raises(DataError, match="'default', split 'train', cannot be loaded: BuilderConfig 'default' not"):
        HubBeir("nano", str(tmp_path / "set"), "train", qrels="default").retrieval_set()
    write_clone(tmp_path / "two", {"queries": {"a": texts(QUERIES), "b": texts(QUERIES)}})
    with pytest.raises(DataError, match="has no 'queries', split 'test'; there are a, b"):
        HubBeir("nano", str(tmp_path / "two")).retrieval_set()


def test_an_unreadable_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    source = clone(tmp_path / "set")
    next((tmp_path / "set" / "queries").iterdir()).write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError) as error:
        source.retrieval_set()
    assert "'queries', split 'train', cannot be loaded: " in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_out_of_reach_is_known_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    source = HubBeir("nano", "owner/nano", qrels_dataset=str(tmp_path / "nowhere"), language="klingon")

    assert [key for key, _ in source.problems()] == ["dataset", "qrels_dataset", "language"]
    assert "is not in the cache of datasets" in dict(source.problems())["dataset"]
    (tmp_path / "datasets" / "owner___nano").mkdir(parents=True)
    assert [key for key, _ in source.problems()] == ["qrels_dataset", "language"]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert list(HubBeir("nano", "owner/other").problems()) == []
    (tmp_path / "empty").mkdir()
    ((_, message),) = HubBeir("nano", str(tmp_path / "empty")).problems()
    assert "has no README.md" in message


def test_it_is_never_trained_on() -> None:
    with pytest.raises(DataError, match="has no training pairs"):
        HubBeir("nano", "owner/nano").training_pairs()
