"""Whole runs of a tiny encoder through the command line's own path: loggers, exports, failures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from matryoshka.cli import app
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder

pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries


WANDB_TABLES = ("hardest_queries", "lost_queries", "deployment")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a tiny model and a few real pairs; nothing outside it is written."""
    SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "tiny")
    write_pairs(tmp_path, train=12, evaluation=12)
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
        getattr(app, task)()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(
    ("logger", "written"),
    [
        pytest.param("csv", ["csv/metrics.csv"], marks=pytest.mark.slow),
        pytest.param("tensorboard", ["tensorboard/events.*"], marks=pytest.mark.slow),
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


def test_a_mistyped_baseline_is_found_before_the_start(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "baselines=[bm52]", "logger=none", "hydra.run.dir=run") == 2
    assert "baselines[0]: " in capsys.readouterr().err
    assert not (workplace / "run").exists()


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


def test_a_failure_exits_1_with_its_traceback_in_the_log(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matryoshka.evaluation.evaluator import Evaluator

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(Evaluator, "evaluate", broken)
    assert run(monkeypatch, "logger=none", "hydra.run.dir=run") == 1
    log = (workplace / "run/train.log").read_text()
    assert "Traceback" in log
    assert "the disk is on fire" in log
