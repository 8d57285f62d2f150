"""What a training shows of itself: one result on every surface, how it was split, leaks, baselines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet
import pytest

from tests.tasks.offline_run import summary as summary_of
from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def _drawn() -> None:
    """Here figures are drawn, as a user sees them."""


def test_every_surface_shows_the_one_result(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    assert run(monkeypatch, "logger=wandb", "logger.mode=offline", "hydra.run.dir=run") == 0
    folder = workplace / "run"
    plain = json.loads((folder / "results.json").read_text())
    queries = pyarrow.parquet.read_table(folder / "rankings/queries.parquet").to_pandas()
    table = capsys.readouterr().out.rpartition("base -> tuned")[2]
    uploaded, card, page = (
        summary_of(folder),
        (folder / "model/README.md").read_text(),
        (folder / "report.html").read_text(),
    )

    for dim, metrics in plain["metrics"].items():
        for name, value in metrics.items():
            assert uploaded[f"dim_{dim}/{name}"] == value
            assert queries[queries.dim == int(dim)][name].mean() == pytest.approx(value)
            assert f"| cosine_{name} |" in card and f"| {value:.4f} |" in card
        assert f"{metrics['ndcg@10']:.3f}".removeprefix("0") in table
        assert f"{metrics['ndcg@10']:.3f}" in page
    assert uploaded["split"] == json.loads((folder / "run.json").read_text())["split"]


@pytest.mark.slow
def test_the_cards_way_selects_by_the_test_queries_and_says_so(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("split=same", "evaluator.select=ndcg@10/mean", "logger=none", "hydra.run.dir=run", "trainer.max_epochs=2")
    assert run(monkeypatch, *words) == 0
    told = "checkpoint selected on the very queries it is reported on, as in the card: the figures are optimistic"
    facts = json.loads((workplace / "run/run.json").read_text())
    logged = [json.loads(line) for line in (workplace / "run/metrics.jsonl").read_text().splitlines()]
    result = json.loads((workplace / "run/results.json").read_text())["metrics"]
    means = [(row["ndcg@10/dim_32"] + row["ndcg@10/dim_16"]) / 2 for row in logged if "ndcg@10/dim_32" in row]

    assert facts["split"] == told
    assert told in " ".join(capsys.readouterr().out.split())
    assert "Checkpoint selected on the very queries" in (workplace / "run/model/README.md").read_text()
    assert not any(name.startswith("dev/") for row in logged for name in row)
    assert facts["selected_value"] == pytest.approx(max(means[1:]))
    assert facts["selected_value"] == pytest.approx((result["32"]["ndcg@10"] + result["16"]["ndcg@10"]) / 2)


@pytest.mark.slow
def test_a_leak_planted_in_the_data_is_named_in_every_place(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = json.loads((workplace / "evaluation.jsonl").read_text(encoding="utf-8").splitlines()[4])
    leaked = {**held_out, "anchor": held_out["anchor"].upper() + "!"}
    with (workplace / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(leaked, ensure_ascii=False) + "\n")
    assert run(monkeypatch, "split=same", "logger=none", "hydra.run.dir=run") == 0

    first = " ".join(capsys.readouterr().out.partition("base (untrained)")[0].split())
    for where in (first, (workplace / "run/model/README.md").read_text(), (workplace / "run/report.html").read_text()):
        assert "row 13" in where
        assert "q-4" in where
    warnings = json.loads((workplace / "run/doctor.json").read_text())["warnings"]
    assert len([warning for warning in warnings if "equal a training text" in warning or "row 13" in warning]) >= 1


@pytest.mark.slow
def test_baselines_stand_in_the_same_table(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "baselines=[bm25,tiny]", "logger=none", "hydra.run.dir=run") == 0
    told = capsys.readouterr().out
    bm25, tiny = json.loads((workplace / "run/baselines.json").read_text())
    base = json.loads((workplace / "run/base.json").read_text())

    assert (bm25["model"], list(bm25["metrics"])) == ("BM25", ["0"])
    assert tiny["metrics"] == base["metrics"]  # it is the model that training began with
    assert bm25["queries"] == tiny["queries"] == 12
    assert told.count("BM25 ") >= 2 and re.search(r"^ *tiny *$", told, re.MULTILINE)
