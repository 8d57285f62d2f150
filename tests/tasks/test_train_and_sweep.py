"""Whole runs of a tiny encoder through the command line's own path: loggers, exports, sweeps, failures."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pyarrow.parquet
import pytest
from hydra.core.global_hydra import GlobalHydra

from matryoshka import cli
from matryoshka.embedded.german_help import FOLDER
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.tasks.offline_run import summary as summary_of
from tests.tiny import tiny_encoder

pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries


WANDB_TABLES = ("hardest_queries", "lost_queries", "deployment")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a tiny model and a few real pairs; nothing outside it is written."""
    SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "tiny")
    for name in ("train", "evaluation"):
        lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / f"{name}.jsonl").write_text("".join(lines[:12]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: str, task: str = "train") -> int:
    """Start a task as its script does, within this process; gives the exit code."""
    GlobalHydra.instance().clear()
    data = ["data=pairs", "data.train=train.jsonl", "data.evaluation=evaluation.jsonl"]
    model = ["encoder=pretrained", "encoder.model=tiny", "pooling=saved", "dims=[32,16]"] if task == "train" else []
    small = ["batch_size=4", "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "trainer.precision=32-true"]
    small = small if task == "train" else ["precision=fp32"]
    given = {word.split("=")[0] for word in words}
    defaults = [word for word in (*data, *model, *small) if word.split("=")[0] not in given]
    monkeypatch.setattr(sys, "argv", [f"{task}.py", *words, *defaults])
    try:
        getattr(cli, task)()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def summary(workplace: Path) -> list[dict[str, str]]:
    with (workplace / "sweep/summary.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("logger", "written"),
    [
        ("none", []),
        ("csv", ["csv/metrics.csv"]),
        ("tensorboard", ["tensorboard/events.*"]),
        ("wandb", [f"wandb/offline-run-*/files/media/table/{name}_*" for name in ("results", *WANDB_TABLES)]),
    ],
)
def test_each_logger_writes_below_the_run_and_metrics_jsonl_always(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, logger: str, written: list[str]
) -> None:
    assert run(monkeypatch, f"logger={logger}", "hydra.run.dir=run") == 0
    assert len((workplace / "run/metrics.jsonl").read_text().splitlines()) == 1 + 3 + 1
    for pattern in written:
        assert list((workplace / "run").glob(pattern)), sorted((workplace / "run").rglob("*"))


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
            assert uploaded[f"{name}/dim_{dim}"] == value
            assert queries[queries.dim == int(dim)][name].mean() == pytest.approx(value)
            assert f"| cosine_{name} |" in card and f"| {value:.4f} |" in card
        assert f"{metrics['ndcg@10']:.3f}".removeprefix("0") in table
        assert f"{metrics['ndcg@10']:.3f}" in page
    assert uploaded["split"] == json.loads((folder / "run.json").read_text())["split"]


def test_a_sweep_runs_every_job_and_sums_it_up(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", "dims=[32,16],[16,8]", "optimizer.lr=1e-3,1e-2", "logger=none", "hydra.sweep.dir=sweep"]
    assert run(monkeypatch, *words) == 0
    jobs = [path.parent for path in (workplace / "sweep").glob("*/results.json")]
    assert len(jobs) == 4
    assert all((job / "model/model.safetensors").is_file() for job in jobs)
    rows = summary(workplace)
    assert [row["status"] for row in rows] == ["done"] * 4
    selected = [float(row["selected"]) for row in rows]
    assert selected == sorted(selected, reverse=True)
    for row in rows:
        job = workplace / "sweep" / row["job"]
        logged = [json.loads(line) for line in (job / "metrics.jsonl").read_text().splitlines()]
        widest = max(json.loads((job / "results.json").read_text())["metrics"], key=int)
        assert (
            float(row["selected"]) == logged[-1][f"dev/ndcg@10/dim_{widest}"]
        )  # a sweep must not choose by test queries


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
    assert told.count("BM25 ") >= 2 and "tiny 32" in told and "tiny 16" in told


def test_a_run_is_compared_with_itself_before_training(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "logger=none", "export=none", "hydra.run.dir=run", "optimizer.lr=1e-2") == 0
    capsys.readouterr()
    assert run(monkeypatch, "compare=[run,run]", "hydra.run.dir=compared", task="evaluate") == 0
    base, tuned = (json.loads((workplace / f"run/{name}.json").read_text())["metrics"] for name in ("base", "results"))
    compared = json.loads((workplace / "compared/comparison.json").read_text())

    assert "wins" in capsys.readouterr().out.lower()
    assert [dim["dim"] for dim in compared["dims"]] == [32, 16]
    for dim in compared["dims"]:
        gain = tuned[str(dim["dim"])]["ndcg@10"] - base[str(dim["dim"])]["ndcg@10"]
        assert dim["difference"] == pytest.approx(gain)


def test_a_question_is_answered_at_every_dim(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    words = ("model=tiny", "dims=[32,16]", "ask=Wie füge ich eine Seitenzahl ein?", "hydra.run.dir=asked")
    assert run(monkeypatch, *words, task="evaluate") == 0
    told = capsys.readouterr().out

    assert "Wie füge ich eine Seitenzahl ein?" in told
    assert "32" in told and "16" in told
    assert not (workplace / "asked").exists()


def test_a_sweep_over_data_sets_may_only_look_at_them(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", "task=doctor", "data.train=train.jsonl,evaluation.jsonl", "logger=none", "hydra.sweep.dir=sweep"]
    assert run(monkeypatch, *words) == 0
    assert [row["status"] for row in summary(workplace)] == ["done"] * 2


def test_a_mistyped_baseline_is_found_before_the_start(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "baselines=[bm52]", "logger=none", "hydra.run.dir=run") == 2
    assert "baselines[0]: " in capsys.readouterr().err
    assert not (workplace / "run").exists()


def test_a_model_is_measured_without_training_pairs(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (workplace / "train.jsonl").read_text(encoding="utf-8").splitlines()
    broken = json.dumps({**json.loads(rows[1]), "positive": ""})
    (workplace / "train.jsonl").write_text("\n".join([rows[0], broken]) + "\n", encoding="utf-8")

    assert run(monkeypatch, "model=tiny", "dims=[16]", "hydra.run.dir=measured", task="evaluate") == 0
    assert "left out, as int8 is calibrated on training passages: train.jsonl" in " ".join(
        capsys.readouterr().out.split()
    )
    assert (workplace / "measured/report.html").is_file()
    assert not (workplace / "measured/deployment.json").exists()


def test_an_empty_question_is_a_mistake(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "model=tiny", "dims=[16]", "ask=", "hydra.run.dir=asked", task="evaluate") == 2
    assert "ask: the question is empty" in capsys.readouterr().err
    assert not (workplace / "asked").exists()


def test_a_failing_job_is_named_and_the_others_finish(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", "dims=[64,16],[32,16]", "logger=none", "export=none", "hydra.sweep.dir=sweep"]
    assert run(monkeypatch, *words) == 1
    rows = summary(workplace)
    assert sorted((row["status"], "dims=64-16" in row["job"]) for row in rows) == [
        ("done", False),
        ("failed", True),
    ]


def test_without_an_export_no_model_is_written(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "export=none", "logger=none", "hydra.run.dir=run") == 0
    assert (workplace / "run/results.json").is_file()
    assert not (workplace / "run/model").exists()


def test_dims_in_any_order_are_sorted_with_their_weights(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    assert run(monkeypatch, "dims=[8,32,16]", "dim_weights=[1,2,3]", "logger=none", "hydra.run.dir=run") == 0
    config = yaml.safe_load((workplace / "run/config.yaml").read_text())
    assert config["dims"] == [32, 16, 8]
    assert config["dim_weights"] == [2, 3, 1]


def test_evaluate_measures_any_model_folder(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "model=tiny", "dims=[16]", "hydra.run.dir=measured", task="evaluate") == 0
    result = json.loads((workplace / "measured/results.json").read_text())
    assert list(result["metrics"]) == ["16"]
    assert result["queries"] == 12


def test_a_failure_exits_1_with_its_traceback_in_the_log(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matryoshka.retrieval.evaluation import Evaluator

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(Evaluator, "evaluate", broken)
    assert run(monkeypatch, "logger=none", "hydra.run.dir=run") == 1
    log = (workplace / "run/train.log").read_text()
    assert "Traceback" in log
    assert "the disk is on fire" in log
