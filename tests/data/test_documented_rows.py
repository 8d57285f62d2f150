"""The examples of docs/your_own_data.md are read as the page says, to train on and to measure on."""

from __future__ import annotations

from pathlib import Path

import pytest

from matryoshka.data.sources import PairFiles
from tests.test_docs import ROOT, blocks

EXAMPLES = list(blocks(ROOT / "docs" / "your_own_data.md", "jsonl"))


def test_every_layout_has_an_example() -> None:
    kinds = [kind for _, kind, _ in EXAMPLES]
    assert kinds == ["pairs", "triplets", "n-tuples", "FlagEmbedding rows", "labelled pairs"]


@pytest.mark.parametrize(("where", "kind", "content"), EXAMPLES, ids=[kind for _, kind, _ in EXAMPLES])
def test_an_example_is_read_as_the_page_says(where: str, kind: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / "my.jsonl"
    path.write_text(content, encoding="utf-8")
    source = PairFiles("mine", str(path), str(path), negatives=None)

    assert content.count("\n") == 3
    assert list(source.problems()) == []
    rows, found = source.training_pairs(), source.retrieval_set()
    assert next(source.read_as()).startswith(f"read as {kind} ("), where
    assert len(rows) == len(set(found.queries.values())) >= 2
    assert set(rows["positive"]) <= set(found.corpus.values())
