"""The table of what helps: which rows are trained on, and a page made from kept runs alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.extending.additions import train_tiny
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
OTHER = (
    "+sets.other={_target_: matryoshka.data.sources.PairFiles, name: other, train: null, evaluation: evaluation.jsonl}"
)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import what_helps_data
    import what_helps_page

    yield {"data": what_helps_data, "page": what_helps_page}
    for name in ("what_helps_data", "what_helps_page"):
        sys.modules.pop(name, None)


def test_no_law_that_tests_or_chooses_is_trained_on(modules: dict[str, ModuleType], tmp_path: Path) -> None:
    data = modules["data"]
    laws = [*data.TEST_LAWS, *data.DEV_LAWS, "bgb", "hgb"]
    for name, count in (("train", 6), ("eval", 2)):
        rows = [
            {"id": f"{law}-{name}-{i}", "anchor": f"{law} {i}", "positive": f"Text {law} {name} {i}", "source": law}
            for law in laws
            for i in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    said = data.write_data(tmp_path, tmp_path / "eval.jsonl", tmp_path / "data", data.Sizes(queries=30, documents=5))

    def ids(name: str) -> list[str]:
        lines = (tmp_path / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["id"] for line in lines]

    assert {id_.split("-")[0] for id_ in ids("train")} == {"bgb", "hgb"}
    assert all("-train-" in id_ for id_ in ids("train"))
    assert {id_.split("-")[0] for id_ in ids("test")} <= set(data.TEST_LAWS)
    assert {id_.split("-")[0] for id_ in ids("dev")} <= set(data.DEV_LAWS)
    assert len(ids("test")) == 30
    assert not set(ids("test")) & set(ids("test_documents"))
    assert said.startswith("12 pairs of 2 laws; tested on 30 queries over 35 paragraphs")


def test_the_page_is_made_from_kept_runs(
    modules: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1), tmp_path / "tiny")
    write_pairs(tmp_path, train=24, evaluation=12)
    monkeypatch.chdir(tmp_path)
    for name, rate in (("training", 0.01), ("high", 0.05)):
        for seed in (1, 2):
            words = [OTHER, f"optimizer.lr={rate}", f"seed={seed}", f"hydra.run.dir=runs/{name}/{seed}"]
            assert train_tiny(monkeypatch, *words, "export=none") == 0
    (tmp_path / "runs" / "data").mkdir()
    (tmp_path / "runs" / "data" / "about.txt").write_text("24 pairs", encoding="utf-8")

    titles, against = {"training": "training", "high": "+ rate", "none": "not run"}, {"high": "training"}
    page = modules["page"].write_page(tmp_path / "runs", titles, against, tmp_path / "page.md").read_text("utf-8")

    results = [json.loads(Path(f"runs/high/{seed}/results.json").read_text()) for seed in (1, 2)]
    mean = sum(result["metrics"]["32"]["ndcg@10"] for result in results) / 2
    row = next(line for line in page.splitlines() if line.startswith("| + rate"))
    assert f"{mean:.3f}" in row
    assert "to training, p " in row
    assert "| untrained |" in page
    assert "not run" not in page
