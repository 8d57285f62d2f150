"""A further evaluation set of one's own, with grades."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate

from matryoshka.encoder.pretrained import Pretrained
from tests.composing import plain, problems
from tests.extending.additions import Addition, add, rows, train, train_tiny

GRADED = Addition(
    python='''"""Questions whose answers people have graded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import DataError


@dataclass(frozen=True)
class GradedAnswers:
    """JSON lines of {"question": ..., "answers": {text: grade}}; a grade of 0 is no answer. Nothing is trained on."""

    name: str
    path: str

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong with the arguments, found without reading the data."""
        if not Path(self.path).is_file():
            yield "path", f"{self.path} does not exist; give a file of graded answers"

    def retrieval_set(self) -> RetrievalSet:
        """Every question, over the answers of all."""
        try:
            rows = [json.loads(line) for line in Path(self.path).read_text(encoding="utf-8").splitlines()]
            queries = {f"q-{i}": row["question"] for i, row in enumerate(rows)}
            answers = list(dict.fromkeys(text for row in rows for text in row["answers"]))
            document = {text: f"d-{i}" for i, text in enumerate(answers)}
            grades = [{document[text]: grade for text, grade in row["answers"].items()} for row in rows]
        except (ValueError, KeyError, AttributeError) as error:
            raise DataError(f"{self.path}: no lines of question and graded answers: {error!r}") from error
        corpus = {number: text for text, number in document.items()}
        return RetrievalSet(self.name, queries, corpus, dict(zip(queries, grades, strict=True)))
''',
    group="sets",
    choice="graded",
    yaml="""# Questions with graded answers, measured besides the test set: sets=[graded].
graded:
  _target_: graded_answers.GradedAnswers
  name: graded
  path: graded.jsonl
""",
)


@pytest.fixture
def searchpath(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pairs = [json.loads(line) for line in (workplace / "evaluation.jsonl").read_text(encoding="utf-8").splitlines()]
    with (workplace / "graded.jsonl").open("w", encoding="utf-8") as file:
        for pair, near, far in zip(pairs, pairs[1:], pairs[2:], strict=False):
            answers = {pair["positive"]: 3, near["positive"]: 1, far["positive"]: 0}
            file.write(json.dumps({"question": pair["anchor"], "answers": answers}) + "\n")
    return add(monkeypatch, GRADED)


def graded() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("graded.jsonl").read_text(encoding="utf-8").splitlines()]


def by_hand(model: str, dim: int) -> float:
    """nDCG@10 with the grades as gains, by sorting."""
    encoder = Pretrained(model).load(None)
    answers = list(dict.fromkeys(text for row in graded() for text in row["answers"]))
    document_ND = np.asarray(encoder.encode(answers, dim=dim, prompt="document"))
    values = []
    for row in graded():
        (query_D,) = np.asarray(encoder.encode([row["question"]], dim=dim, prompt="query"))
        gains = [row["answers"].get(answers[i], 0) for i in np.argsort(-(document_ND @ query_D))]
        values.append(discounted(gains) / discounted(sorted(row["answers"].values(), reverse=True)))
    return sum(values) / len(values)


def discounted(gains: list[int]) -> float:
    return sum(gain / math.log2(place + 2) for place, gain in enumerate(gains[:10]))


@pytest.mark.parametrize(
    ("words", "key", "remedy"),
    [
        (["+sets.graded.pahts=x"], "sets.graded.pahts", "did you mean sets.graded.path?"),
        (["sets.graded.path=none.jsonl"], "sets.graded.path", "give a file of graded answers"),
        (["sets.graded.path=3"], "sets.graded.path", "3"),
    ],
)
def test_its_arguments_are_checked(searchpath: str, words: list[str], key: str, remedy: str) -> None:
    ((found, message),) = problems(searchpath, "sets=[graded]", *words)

    assert found == key
    assert remedy in message


def test_it_has_the_grades(searchpath: str) -> None:
    source = instantiate(plain(searchpath, "sets=[graded]")["sets"]["graded"])
    held_out = source.retrieval_set()
    found = [
        {held_out.corpus[document]: grade for document, grade in held_out.grades[query].items()}
        for query in held_out.queries
    ]
    assert list(held_out.queries.values()) == [row["question"] for row in graded()]
    assert found == [{text: grade for text, grade in row["answers"].items() if grade} for row in graded()]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_it_is_measured_before_and_after_the_training_of_the_tiny_encoder(
    searchpath: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train_tiny(monkeypatch, searchpath, "sets=[graded]") == 0
    results = json.loads(Path("run/sets/graded.json").read_text(encoding="utf-8"))
    before = rows("run")[0]
    for dim in (32, 8):
        assert before[f"graded/ndcg@10/dim_{dim}"] == pytest.approx(by_hand("tiny", dim), abs=1e-5)
        assert results["tuned"]["metrics"][str(dim)]["ndcg@10"] == pytest.approx(by_hand("run/model", dim), abs=1e-5)


@pytest.mark.slow
def test_it_is_measured_by_the_embedded_encoder(searchpath: str) -> None:
    train(searchpath, "sets=[graded]")
    assert 0 < rows("run")[0]["graded/ndcg@10/dim_768"] <= 1
