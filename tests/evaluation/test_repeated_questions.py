"""Rows of one question are one query with all its answers, whoever measures it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from matryoshka.data.doctor.examination import corpus_copies
from matryoshka.data.sources import PairFiles, set_of_pairs
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.set_vectors import SetVectors
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.report.terminal.lines import say
from matryoshka.storage.atomic import write_json

QUESTIONS = "ABC"
ROWS = [{"anchor": q, "positive": f"{q}{n}", "id": f"{q}-{n}"} for n in (1, 2) for q in QUESTIONS]  # A1 B1 C1 A2 B2 C2


def test_a_retriever_that_puts_both_answers_first_is_perfect() -> None:
    data = set_of_pairs("pairs", [row["anchor"] for row in ROWS], [row["positive"] for row in ROWS])
    texts = TokenizedSet.of(data, lambda texts, _: [[ord(letter) for letter in text] for text in texts])
    queries_UD = torch.eye(3)[[int(ids[0]) - ord("A") for ids in texts.queries]]
    documents_UD = torch.eye(3)[[int(ids[0]) - ord("A") for ids in texts.documents]]
    near_UD = F.normalize(documents_UD + 0.01 * torch.arange(6)[:, None])  # no two alike

    result = Evaluator().measure_vectors("perfect", SetVectors.of(texts, queries_UD, near_UD), [3])

    assert result.queries == 3
    assert {name: result.metrics[3][name] for name in ("accuracy@1", "mrr@10", "ndcg@10", "map@100")} == {
        "accuracy@1": 1.0,
        "mrr@10": 1.0,
        "ndcg@10": 1.0,
        "map@100": 1.0,
    }
    assert result.ceiling["ndcg@10"] == corpus_copies(data, str).best_accuracy == 1.0


def test_the_rows_are_counted_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*ROWS, ROWS[0] | {"id": "again"}, {"anchor": "D", "positive": "A1", "id": "D-1"}]
    path = write_json(tmp_path / "evaluation.json", rows)
    data = PairFiles("pairs", None, str(path), id="id").retrieval_set()

    assert data.queries == {"q-A-1": "A", "q-B-1": "B", "q-C-1": "C", "q-D-1": "D"}
    assert data.relevant["q-A-1"] == {"d-A-1", "d-A-2"}  # a pair that comes twice counts once
    assert data.relevant["q-D-1"] == {"d-D-1"}  # its passage is a copy of d-A-1, as in every file of pairs
    assert len(data.corpus) == 7
    say("data", data.described())
    told = "4 queries over 7 documents; 4 rows more of the same questions"
    assert told in capsys.readouterr().out
    assert set_of_pairs("pairs", "ab", "cd").described() == "2 queries over 2 documents"
