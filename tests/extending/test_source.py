"""A data source of one's own, with a column of numbers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate

from matryoshka.config.recipe import TrainingRecipe, build
from matryoshka.tasks.loading import load
from tests.composing import plain, problems
from tests.extending.additions import Addition, add, rows, train, train_tiny, write_scored_pairs

SCORED = Addition(
    python='''"""Pairs with hard negatives, and what a teacher scores both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge
from datasets import Dataset

from matryoshka.data.reading.rows import read_rows
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import set_of_pairs


@dataclass(frozen=True)
class ScoredPairs:
    """One file. Columns: anchor, positive, negative_1; positive_teacher and negative_1_teacher are numbers.

    held_out: so many rows, the first ones, are what the run reports on.
    """

    name: str
    path: str
    held_out: Annotated[int, Ge(1), "20"] = 8

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the arguments, found without reading the data."""
        if not Path(self.path).is_file():
            yield "path", f"{self.path} does not exist; give a file of scored pairs"

    def training_pairs(self) -> Dataset:
        """The rows behind those held out, texts and numbers."""
        rows = read_rows(self.path)
        return rows.select(range(self.held_out, len(rows)))

    def retrieval_set(self) -> RetrievalSet:
        """Each row held out as a query and its one document."""
        rows = read_rows(self.path).select(range(self.held_out))
        return set_of_pairs(self.name, rows["anchor"][:], rows["positive"][:])
''',
    group="data",
    choice="scored",
    yaml="""# Pairs with hard negatives that a teacher has scored: for losses that take teacher_BN.
_target_: scored_pairs.ScoredPairs
name: scored
path: ???
held_out: 8
""",
)


@pytest.fixture
def searchpath(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_scored_pairs(workplace / "scored.jsonl", 24)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(workplace / "cache"))
    return add(monkeypatch, SCORED)


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("scored.jsonl").read_text(encoding="utf-8").splitlines()]


def test_it_gives_pairs_with_numbers_and_a_set_to_search(searchpath: str) -> None:
    source = instantiate(plain(searchpath, "data=scored", "data.path=scored.jsonl", "data.held_out=2")["data"])

    pairs, held_out = source.training_pairs(), source.retrieval_set()

    assert pairs.to_list() == lines()[2:]
    assert held_out.queries == {f"q-{i}": row["anchor"] for i, row in enumerate(lines()[:2])}
    assert held_out.corpus == {f"d-{i}": row["positive"] for i, row in enumerate(lines()[:2])}


@pytest.mark.parametrize(
    ("words", "key", "remedy"),
    [
        ([], "data.path", "data.path=..."),
        (["data.path=none.jsonl"], "data.path", "give a file of scored pairs"),
        (["data.path=scored.jsonl", "data.held_out=1.5"], "data.held_out", "not a valid integer"),
        (["data.path=scored.jsonl", "data.held_out=0"], "data.held_out", "use for example 20"),
        (["data.path=scored.jsonl", "+data.heldout=3"], "data.heldout", "did you mean data.held_out?"),
    ],
)
def test_its_arguments_are_checked(searchpath: str, words: list[str], key: str, remedy: str) -> None:
    ((found, message),) = problems(searchpath, "data=scored", *words)

    assert found == key
    assert remedy in message


def test_a_source_that_cannot_be_made_is_a_problem_of_its_group(searchpath: str, workplace: Path) -> None:
    broken = "import missing_package\nclass Lines:\n    def __init__(self, name, path): ...\n"
    (workplace / "ideas" / "broken_source.py").write_text(broken, encoding="utf-8")
    importlib.invalidate_caches()
    words = ("data=scored", "data.path=scored.jsonl", "data._target_=broken_source.Lines", "~data.held_out", "dims=[]")

    found = dict(problems(searchpath, *words))

    assert found.keys() == {"data", "dims"}
    assert "missing_package" in found["data"]


@pytest.mark.parametrize("split", ["same", "dev"])
def test_every_batch_has_the_numbers_of_its_own_rows(searchpath: str, split: str) -> None:
    """Held-out rows too take their numbers with them."""
    words = ["data=scored", "data.path=scored.jsonl", f"split={split}", "encoder=pretrained", "encoder.model=tiny"]
    recipe = build(plain(searchpath, *words, "pooling=saved", "dims=[32]", "batch_size=5"), TrainingRecipe)
    data = load(recipe)
    score = {(row["anchor"], row["positive"]): (row["positive_teacher"], row["negative_1_teacher"]) for row in lines()}

    for batch in data.batches.train_dataloader():
        teacher_BN, count = batch.numbers["teacher_BN"], len(batch.rows)
        assert teacher_BN.shape == (count, 2 * count)
        for i, row in enumerate(batch.rows):
            pair = data.split.pairs[row]
            positive, negative = score[pair["anchor"], pair["positive"]]
            assert teacher_BN[i, [i, count + i]].tolist() == pytest.approx([positive, negative])
            assert int(teacher_BN[i].isnan().sum()) == 2 * count - 2


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_tiny_encoder_trains_on_it(searchpath: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["data=scored", "data.path=scored.jsonl", "data.name=mine"]
    assert train_tiny(monkeypatch, searchpath, *words) == 0
    results = json.loads(Path("run/results.json").read_text(encoding="utf-8"))
    assert (results["data"], results["queries"]) == ("mine", 8)


@pytest.mark.slow
def test_the_embedded_encoder_trains_on_it(searchpath: str) -> None:
    """With a loss that takes no numbers: the negatives count all the same."""
    said = train(searchpath, "data=scored", "data.path=scored.jsonl")
    assert "negative_1" in said
    assert all(row["train/loss"] > 0 for row in rows("run") if "train/loss" in row)
