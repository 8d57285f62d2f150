"""The main job on real input: German texts through the embedded encoder, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from matryoshka import Encoder
from matryoshka.embedded.german_help import FOLDER
from tests.real_pairs import write_pairs

pytestmark = pytest.mark.slow  # the embedded encoder
PROJECT = Path(__file__).resolve().parents[1]
DIMS = ["768", "512", "256", "128", "64"]


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of the checkout in another folder."""
    words = (sys.executable, str(PROJECT / words[0]), *words[1:])
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(words, cwd=cwd, text=True, capture_output=True, timeout=600, env=environment)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a user with a few dozen real pairs."""
    folder = tmp_path_factory.mktemp("user")
    write_pairs(folder, train=36, evaluation=24)
    return folder


@pytest.fixture(scope="module")
def finished(workplace: Path) -> tuple[Path, str]:
    """A finished run's folder and what it printed."""
    done = command(
        "train.py",
        "+experiment=bmf",
        "encoder=e5_small",
        "data=pairs",
        "data.train=train.jsonl",
        "data.evaluation=evaluation.jsonl",
        "trainer.max_epochs=2",
        "trainer.log_every_n_steps=1",
        "batch_size=8",
        "hydra.run.dir=run",
        cwd=workplace,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return workplace / "run", done.stdout + done.stderr


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_first_lines_say_what_will_run_and_what_stands_in(finished: tuple[Path, str]) -> None:
    first = "\n".join(finished[1].splitlines()[:10])
    assert "embedded:e5_small is a stand-in for BAAI/bge-m3, because" in first
    assert "118M parameters, cls + mean pooling, 768 wide" in first
    assert "32 training pairs" in first and "24 test queries over 24 documents" in first
    assert "checkpoint selected on 4 dev queries that share no text with the training pairs" in first
    assert "8 of 8 x 1 pairs in 2 epochs" in first
    assert "base (untrained)" in finished[1] and "epoch 2.00, update 8" in finished[1]


def test_every_file_of_a_run_is_written(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    wanted = ["config.yaml", "metrics.jsonl", "results.json", "base.json", "run.json"]
    wanted += ["doctor.json", "baselines.json", "deployment.json", "deployment.png", "failures.json", "report.html"]
    wanted += ["rankings/queries.parquet", "rankings/run_dim_64.txt", "rankings_base/hits.parquet"]
    wanted += ["metric_against_dim.png", "metric_against_dim.svg", "model/model.safetensors", "model/README.md"]
    assert [name for name in wanted if not (folder / name).is_file()] == []
    assert "run/model/README.md" in printed
    result = read(folder / "results.json")
    assert list(result["metrics"]) == DIMS
    assert {"accuracy@1", "precision@3", "recall@5", "ndcg@10", "mrr@10", "map@100"} <= result["metrics"]["64"].keys()


def test_the_log_has_a_row_for_every_update_and_evaluation(finished: tuple[Path, str]) -> None:
    rows = [json.loads(line) for line in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, 9))
    assert [row["step"] for row in rows if "ndcg@10/dim_64" in row] == [0]  # test queries, before training
    assert [row["step"] for row in rows if "dev/ndcg@10/dim_64" in row] == [0, 4, 8]
    assert all("epoch" in row for row in rows)
    assert rows[-1]["epoch"] == 2.0


@pytest.mark.slow
def test_the_final_result_is_that_of_the_saved_weights(finished: tuple[Path, str], workplace: Path) -> None:
    """evaluate.py on the run's folder gives the run's own numbers."""
    done = command(
        "evaluate.py",
        "model=run",
        "data=pairs",
        "data.train=train.jsonl",
        "data.evaluation=evaluation.jsonl",
        "hydra.run.dir=measured",
        cwd=workplace,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ours, again = read(finished[0] / "results.json"), read(workplace / "measured" / "results.json")
    assert again["precision"] == ours["precision"]
    for dim in DIMS:
        assert again["metrics"][dim] == pytest.approx(ours["metrics"][dim], abs=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # sentence-transformers' own
def test_sentence_transformers_reads_the_model_with_equal_embeddings(finished: tuple[Path, str]) -> None:
    from sentence_transformers import SentenceTransformer

    lines = (FOLDER / "documents.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    texts = [json.loads(line)["positive"] for line in lines]
    encoder = Encoder.load(str(finished[0]))
    model = SentenceTransformer(str(finished[0] / "model"), truncate_dim=256, device="cpu")
    theirs = model.encode(texts, prompt_name="document", normalize_embeddings=True)
    assert np.abs(encoder.encode(texts, dim=256, prompt="document") - theirs).max() < 1e-5
    assert np.abs(encoder.encode(texts[:2], dim=256, prompt="query") - theirs[:2]).max() > 1e-3


def test_the_resolved_configuration_is_kept(finished: tuple[Path, str]) -> None:
    config = yaml.safe_load((finished[0] / "config.yaml").read_text(encoding="utf-8"))
    assert config["trainer"]["precision"] in ("bf16-mixed", "32-true")
    assert config["sampler"]["batch_size"] == 8
    assert config["dims"] == [768, 512, 256, 128, 64]


def test_wandb_keeps_the_run_offline_and_says_how_to_upload_it(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    runs = list(folder.glob("wandb/offline-run-*/*.wandb"))
    assert len(runs) == 1
    assert f"wandb sync {folder}/wandb/offline-run-*" in printed
