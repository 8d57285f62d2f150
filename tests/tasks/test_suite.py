"""Several sets measured by one command: each as it is measured alone, and one that is missing loses no other."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from matryoshka.cli import app
from matryoshka.evaluation.bm25 import BM25
from tests.data.clone import qrels, texts, write_clone
from tests.report.page.test_page import Page
from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")

YAML = """# Two sets of one's own: a clone of a hub data set, and pairs.
defaults:
  - /data@judged: hub_beir
  - /data@pairs: pairs
  - _self_
judged: {dataset: clone, split: train, language: english}
pairs: {train: null, evaluation: evaluation.jsonl}
"""


@pytest.fixture
def suite(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workplace with a set of graded judgements beside the pairs, and a configuration that names both."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", workplace / "datasets")
    rows = [json.loads(line) for line in (workplace / "evaluation.jsonl").read_text(encoding="utf-8").splitlines()]
    queries = {f"q{i}": row["anchor"] for i, row in enumerate(rows[::2])}
    corpus = {f"d{i}": row["positive"] for i, row in enumerate(rows)}
    relevant = {f"q{i}": {f"d{2 * i}": 2, f"d{2 * i + 1}": 1} for i in range(6)}
    subsets = {"queries": texts(queries), "corpus": texts(corpus), "qrels": qrels(relevant)}
    write_clone(workplace / "clone", {name: {"train": of} for name, of in subsets.items()})
    (workplace / "conf" / "sets").mkdir(parents=True)
    (workplace / "conf" / "sets" / "ours.yaml").write_text(YAML, encoding="utf-8")
    return workplace


def measured(monkeypatch: pytest.MonkeyPatch, folder: str, *words: str) -> int:
    """The suite measured into a folder; the exit code."""
    GlobalHydra.instance().clear()
    given = ["data=suite", "sets=ours", "model=tiny", "dims=[32,16]", "precision=fp32", f"hydra.run.dir={folder}"]
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "--config-dir", "conf", *given, *words])
    try:
        app.evaluate()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def written(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_each_set_has_the_figures_that_it_has_alone_and_their_mean_stands_on_every_surface(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], encoded_texts: list[int]
) -> None:
    assert measured(monkeypatch, "suite") == 0
    told = capsys.readouterr().out
    encoded_texts.clear()
    assert measured(monkeypatch, "again") == 0
    assert encoded_texts == []  # found again

    sets = {name: written(suite / f"suite/sets/{name}.json")["tuned"] for name in ("judged", "pairs")}
    mean, table = written(suite / "suite/results.json"), written(suite / "suite/suite.json")
    with (suite / "suite/suite.csv").open(encoding="utf-8") as file:
        rows = {(row["model"], row["set"], row["dim"], row["metric"]): row for row in csv.DictReader(file)}
    for dim in ("32", "16"):
        for name in ("ndcg@10", "recall@1"):
            values = {of: sets[of]["metrics"][dim][name] for of in sets}
            assert mean["metrics"][dim][name] == pytest.approx(sum(values.values()) / 2, abs=1e-15)
            assert table["worst"][dim][name]["value"] == min(values.values())
            for of, result in {**sets, "mean": mean}.items():
                row = rows["tiny", of, dim, name]
                assert float(row["value"]) == result["metrics"][dim][name]
                assert [float(row["low"]), float(row["high"])] == result["intervals"][dim][name]
    shown = f"{mean['metrics']['16']['ndcg@10']:.3f}".removeprefix("0")
    line = next(line for line in told.splitlines() if line.startswith("mean "))
    assert shown in line
    assert "1 of 2  judged: 6 queries over 12 documents" in told
    page = Page((suite / "suite/report.html").read_text(encoding="utf-8"))
    cells = {row[0]: row for row in page.sections["sets"].find("table")[0].cells()}
    assert list(cells) == ["set", "judged", "pairs", "mean", "worst"]
    assert cells["mean"][3].startswith(f"{mean['metrics']['32']['ndcg@10']:.3f}")

    assert run(monkeypatch, "model=tiny", "dims=[32,16]", "hydra.run.dir=alone", task="evaluate") == 0
    alone = written(suite / "alone/results.json")
    for part in ("metrics", "intervals", "merged"):
        assert sets["pairs"][part] == alone[part]


def test_a_set_that_cannot_be_read_is_told_first_and_loses_no_other(
    suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    next((suite / "clone" / "qrels").iterdir()).write_text("no Parquet", encoding="utf-8")

    assert measured(monkeypatch, "suite", "baselines=[]") == 2
    said = capsys.readouterr()
    assert said.out.index("missing  judged: data set 'clone', 'qrels'") < said.out.index("1 of 1  pairs")
    assert "1 of 2 sets are missing above: judged" in said.err
    assert list(written(suite / "suite/suite.json")["missing"]) == ["judged"]
    assert written(suite / "suite/results.json")["data"] == "1 set"
    assert "judged is missing:" in (suite / "suite/report.html").read_text(encoding="utf-8")

    assert measured(monkeypatch, "none", "data.names=[judged]") == 2
    assert "no set of the suite can be had" in capsys.readouterr().err
    assert not (suite / "none").exists()


def test_bm25_is_in_the_language_of_each_set(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    languages = []
    index = BM25.index

    def recorded(self: BM25, documents: Any) -> Any:
        languages.append(self.language)
        return index(self, documents)

    monkeypatch.setattr(BM25, "index", recorded)
    assert measured(monkeypatch, "suite") == 0
    assert languages == ["english", "german"]
    assert "language: german" in (suite / "suite/config.yaml").read_text(encoding="utf-8")


def test_a_suite_may_be_some_of_its_sets(suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(monkeypatch, "some", "data.names=[pairs]", "baselines=[]") == 0
    assert [path.name for path in (suite / "some/sets").iterdir()] == ["pairs.json"]
    config = yaml.safe_load((suite / "some/config.yaml").read_text(encoding="utf-8"))
    assert (config["data"]["names"], config["sets"]["judged"]["revision"]) == (["pairs"], None)
