"""Several sources in one training, through the command line's own path."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from matryoshka.cli import app
from matryoshka.config.recipe import TrainingRecipe, build
from matryoshka.data.tokens import kept_token_ids
from matryoshka.evaluation.several_sets import SeveralSets
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.tasks.loading import load
from tests.composing import plain
from tests.real_pairs import rows_of
from tests.tasks.killed import killed_at_save
from tests.tasks.test_resume import outcome
from tests.tiny import tiny_encoder

pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries
SOURCES = [
    *("data=mixture", "+data@sources.law=pairs", "+data@sources.help=pairs"),
    *("sources.law.train=law.jsonl", "sources.law.evaluation=law_test.jsonl"),
    *("sources.help.train=help.jsonl", "sources.help.evaluation=help_test.jsonl"),
]
PROMPTS = 'data.prompts={law: {query: "law: "}, help: {document: "help: "}}'
WEIGHTS = "data.weights={law: 2, help: 1}"
TINY = [
    *("encoder=pretrained", "encoder.model=tiny", "pooling=saved", "dims=[32,8]", "batch_size=4", "blend=none"),
    *("trainer.max_epochs=2", "trainer.log_every_n_steps=1", "trainer.precision=32-true", "trainer.accelerator=cpu"),
    *("trainer.enable_progress_bar=false", "optimizer.lr=0.01", "logger=none"),
]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model with prompts and dropout, and two sources of real pairs."""
    prompts = {"query": "query: ", "document": "passage: "}
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1, prompts=prompts), tmp_path / "tiny")
    train, test = rows_of("train", 36), rows_of("evaluation", 20)
    files = {"law": train[:14], "help": train[14:], "law_test": test[:8], "help_test": test[8:]}
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def start(monkeypatch: pytest.MonkeyPatch, words: Sequence[str], task: str = "train") -> int:
    """Start a task as its script does, within this process; gives the exit code."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", [f"{task}.py", *words])
    try:
        getattr(app, task)()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def logged() -> list[dict[str, float]]:
    return [json.loads(line) for line in Path("run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_source_is_tokenized_with_its_own_prompts_for_training_and_for_measuring() -> None:
    data = load(build(plain(*SOURCES, *TINY, PROMPTS, "split=same"), TrainingRecipe))
    tokenizer, pairs = data.encoder.tokenizer, data.batches.pairs

    def ids(texts: Sequence[str], prompt: str) -> list[list[int]]:
        return list(kept_token_ids(tokenizer, texts, data.encoder.max_seq_length, prompt))

    law, help_ = data.split.pairs[:14], data.split.pairs[14:]
    assert pairs["anchor"][:] == ids(law["anchor"], "law: ") + ids(help_["anchor"], "query: ")
    assert pairs["positive"][:] == ids(law["positive"], "passage: ") + ids(help_["positive"], "help: ")

    assert isinstance(data.test, SeveralSets)
    for name, query, document in (("law", "law: ", "passage: "), ("help", "query: ", "help: ")):
        part = data.test.parts[name]
        queries = [part.queries[row] for row in part.queries_Q.tolist()]
        assert queries == ids([part.data.queries[i] for i in part.query_ids], query)
        documents = [part.documents[row] for row in part.documents_N.tolist()]
        assert documents == ids([part.data.corpus[i] for i in part.document_ids], document)


def test_a_run_trains_on_all_sources_and_reports_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(monkeypatch, [*SOURCES, *TINY, PROMPTS, WEIGHTS, "hydra.run.dir=run"]) == 0
    said = capsys.readouterr().out
    # Of law's 13 and help's 20 rows that are left, 4 + 5 batches; two thirds of 9 are law's.
    assert "sources  law 13 pairs, 67% of the batches; help 20 pairs, 33% of the batches" in said
    assert "verdict  on the test queries (mean over law, help): nDCG@10" in said and "verdict  on law: nDCG@10" in said

    rows = [row for row in logged() if "train/loss" in row]
    assert sum("train/loss/law" in row for row in rows) == 2 * 6 and sum("train/loss/help" in row for row in rows) == 6
    assert all(row["train/loss"] == row.get("train/loss/law", row.get("train/loss/help")) for row in rows)
    result, parts = read("run/results.json"), {name: read(f"run/sets/{name}.json") for name in ("law", "help")}
    for dim in ("32", "8"):
        for name, value in result["metrics"][dim].items():
            assert value == pytest.approx(sum(of["tuned"]["metrics"][dim][name] for of in parts.values()) / 2)
    assert result["intervals"]["32"].keys() == result["metrics"]["32"].keys()
    assert read("run/run.json")["gains"].keys() == {"test", "law", "help"}
    dev = [row for row in logged() if "dev/ndcg@10/dim_32" in row][1:]
    means = [(row["dev/law/ndcg@10/dim_32"] + row["dev/help/ndcg@10/dim_32"]) / 2 for row in dev]
    assert [row["dev/ndcg@10/dim_32"] for row in dev] == pytest.approx(means)
    assert read("run/run.json")["selected_value"] == pytest.approx(max(means))
    assert "law" in Path("run/model/README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_each_sources_figures_are_those_of_that_source_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(monkeypatch, [*SOURCES, *TINY, "hydra.run.dir=run"]) == 0
    measured = ["model=run", "precision=fp32", "device=cpu"]
    assert start(monkeypatch, [*measured, *SOURCES, "hydra.run.dir=both"], task="evaluate") == 0
    assert read("both/results.json")["metrics"] == read("run/results.json")["metrics"]
    for name in ("law", "help"):
        files = [f"data.train={name}.jsonl", f"data.evaluation={name}_test.jsonl", f"hydra.run.dir={name}"]
        assert start(monkeypatch, [*measured, "data=pairs", *files], task="evaluate") == 0
        alone = read(f"{name}/results.json")
        for other in (read(f"run/sets/{name}.json")["tuned"], read(f"both/sets/{name}.json")["tuned"]):
            assert other["metrics"] == alone["metrics"] and other["intervals"] == alone["intervals"]
    alone = [read(f"{name}/baselines.json")[0]["metrics"]["0"]["ndcg@10"] for name in ("law", "help")]
    assert read("run/baselines.json")[0]["metrics"]["0"]["ndcg@10"] == pytest.approx(sum(alone) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["data.weights=null", WEIGHTS])
def test_a_run_killed_after_a_checkpoint_ends_as_an_undisturbed_one(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    words = [*SOURCES, *TINY, weights, "accumulation=2", "trainer.log_every_n_steps=3", "checkpoint.minutes=0"]
    words.remove("trainer.log_every_n_steps=1")
    assert start(monkeypatch, [*words, "hydra.run.dir=whole"]) == 0
    with killed_at_save(monkeypatch, 2):
        start(monkeypatch, [*words, "hydra.run.dir=killed"])
    assert start(monkeypatch, [*words, "hydra.run.dir=killed"]) == 0
    whole, killed = (outcome(workplace / name) for name in ("whole", "killed"))
    for result in (*whole["results"]["parts"].values(), *killed["results"]["parts"].values()):
        del result["seconds"]
    assert killed == whole


def test_a_run_that_cannot_be_made_ends_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = "data.weights={law: 1, help: 1000}"
    assert start(monkeypatch, [*SOURCES, *TINY, few, "hydra.run.dir=run"]) == 2
    assert "data.weights: of 9 batches an epoch law gets none" in capsys.readouterr().err
    assert not Path("run/config.yaml").exists()
