"""task=mine through the command line's own path: what it writes, what it goes on with, and training on the result."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from matryoshka.cli import app
from matryoshka.data.copies import normalised
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.pooling import Pooling
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.mining import kept_search
from matryoshka.mining.cross_encoder import CrossEncoder
from matryoshka.mining.scored import RowSearch
from tests.mining.test_cross_encoder import save_cross_encoder
from tests.real_pairs import write_pairs
from tests.tasks.test_train_and_sweep import run
from tests.tiny import tiny_encoder

pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries

MINE = ("task=mine", "logger=none", "hydra.run.dir=run")
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "tiny")
    write_pairs(tmp_path, train=40, evaluation=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    return tmp_path


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """train.py with these words alone; gives the exit code."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    try:
        app.train()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def outcome(folder: Path) -> tuple[bytes, dict[str, Any]]:
    numbers = read(folder / "mining.json")
    return (folder / "train.jsonl").read_bytes(), {
        key: value for key, value in numbers.items() if key not in ("seconds", "command")
    }


@pytest.mark.usefixtures("undrawn")
def test_every_row_has_negatives_with_scores_and_nothing_is_held_out_or_right(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *MINE, "mining=both") == 0

    rows, dev, numbers = lines(workplace / "run/train.jsonl"), lines(workplace / "run/dev.jsonl"), numbers_of(workplace)
    names = [f"negative_{i}" for i in (1, 2, 3)]
    scores = [f"{name}_teacher" for name in ("positive", *names)]
    assert len(rows) == numbers["mined"] == numbers["rows"] == 36
    assert len(dev) == 4  # a tenth of the training rows
    held_out = {normalised(row["positive"]) for row in [*dev, *lines(workplace / "evaluation.jsonl")]}
    passages = {row["positive"] for row in rows}
    for row in rows:
        assert list(row) == ["anchor", "positive", *names, *scores]
        assert {row[name] for name in names} <= passages - {row["positive"]}
        assert held_out.isdisjoint(normalised(row[name]) for name in names)
        assert all(-1 <= row[score] <= 1 for score in scores)
    said = capsys.readouterr().out
    for words in (
        "36 training rows of pairs over 36 passages",
        "and BM25, fused",
        "relative 0.95",
        "refused, relative",
    ):
        assert words in said, words
    assert not (workplace / "run/search").exists()
    assert (workplace / "run/mining.html").stat().st_size > 0


def numbers_of(workplace: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = read(workplace / "run/mining.json")
    return numbers


@pytest.mark.usefixtures("undrawn")
def test_the_scores_are_the_encoders_cosines(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, *MINE, "mining=bm25", "mining.per_row=2", "pooling=mean") == 0

    encoder = Pretrained("tiny").load(Pooling(["mean"]))
    for row in lines(workplace / "run/train.jsonl")[:8]:
        anchor_D = encoder.encode([row["anchor"]], prompt="query", normalize=True)[0]
        for name in ("positive", "negative_1", "negative_2"):
            passage_D = encoder.encode([row[name]], prompt="document", normalize=True)[0]
            assert row[f"{name}_teacher"] == pytest.approx(float(anchor_D @ passage_D), abs=1e-5)


@pytest.mark.usefixtures("undrawn")
def test_the_printed_command_trains_on_the_result_with_the_same_held_out_queries(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("encoder=pretrained", "encoder.model=tiny", "pooling=saved", "dims=[32,16]", "batch_size=4")
    small = ("trainer.max_epochs=1", "trainer.precision=32-true", "export=none", "baselines=[]")
    data = ("data=pairs", "data.train=train.jsonl", "data.evaluation=evaluation.jsonl")
    assert command(monkeypatch, *MINE, *words, *small, *data, "mining.per_row=2", "split.at_most=3") == 0

    trained = shlex.split(numbers_of(workplace)["command"])

    assert trained[:2] == ["python", "train.py"]
    assert command(monkeypatch, *trained[2:], "hydra.run.dir=trained") == 0
    config = (workplace / "trained/config.yaml").read_text(encoding="utf-8")
    assert "task: train" in config and "negative_2" in config and "clashes: mask" in config
    said = read(workplace / "trained/run.json")
    assert said["training_pairs"] == 37
    assert "3 dev queries" in said["split"]


@pytest.mark.usefixtures("undrawn")
def test_a_source_whose_files_have_other_columns_is_written_out(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("train", "evaluation"):
        rows = [{"question": row["anchor"], "passage": row["positive"]} for row in lines(workplace / f"{name}.jsonl")]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (workplace / f"{name}.jsonl").write_text(text, encoding="utf-8")
    columns = ("data.anchor=question", "data.positive=passage")
    assert run(monkeypatch, *MINE, *columns, "split=same", "mining.ranks=[2,8]") == 0

    evaluation = lines(workplace / "run/evaluation.jsonl")

    assert [row["anchor"] for row in evaluation] == [row["question"] for row in lines(workplace / "evaluation.jsonl")]
    assert evaluation[3]["id"] == "3"
    words = shlex.split(numbers_of(workplace)["command"])
    assert {"split=same", "data.id=id", "data.evaluation=run/evaluation.jsonl"} <= set(words)
    assert not any("question" in word for word in words)


@pytest.mark.usefixtures("undrawn")
def test_a_stopped_run_goes_on_without_searching_again_what_is_done(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kept_search.KeptSearch.__init__, "__defaults__", (10,))
    assert run(monkeypatch, *MINE) == 0
    whole = outcome(workplace / "run")
    asked: list[int] = []
    search = RowSearch.__call__

    def cut_off(self: RowSearch, rows: Sequence[int]) -> Any:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(rows))
        return search(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(RowSearch, "__call__", cut_off)
        assert run(patch, *MINE[:2], "hydra.run.dir=outputs/train/stopped") == 130
    assert "what was searched is kept; to go on: " in capsys.readouterr().err
    assert not (workplace / "outputs/train/stopped/train.jsonl").exists()

    def counted(self: RowSearch, rows: Sequence[int]) -> Any:
        asked.append(len(rows))
        return search(self, rows)

    monkeypatch.setattr(RowSearch, "__call__", counted)
    monkeypatch.setattr(Encoder, "encode_batches", lambda *_, **__: iter(()))  # nothing is encoded anew
    assert run(monkeypatch, *MINE[:2], "resume=true") == 0

    assert asked == [10, 10, 10, 6]
    assert outcome(workplace / "outputs/train/stopped") == whole
    capsys.readouterr()
    assert run(monkeypatch, *MINE) == 0
    said = capsys.readouterr().out
    assert "this run is finished" in said and "data.negatives=" in said
    assert asked == [10, 10, 10, 6]


@pytest.mark.usefixtures("undrawn")
def test_another_configuration_is_refused_in_the_same_folder(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *MINE) == 0
    assert run(monkeypatch, *MINE, "mining.per_row=2") == 2
    assert "mining.per_row: 3 there, 2 now" in capsys.readouterr().err


def test_mistakes_end_with_the_key_and_a_remedy_and_leave_nothing(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for word, told in {
        "mining.search=words": "mining.search: \"words\" is not 'encoder', 'bm25' or 'both'",
        "mining.ranks=[9,3]": "mining.ranks: [9, 3] do not rise",
        "mining.relative=2": "mining.relative: 2 is more than 1",
        "mining.cross_encoder=tiny": "mining.cross_encoder: tiny has no head that scores pairs",
    }.items():
        assert run(monkeypatch, *MINE, word) == 2
        assert told in capsys.readouterr().err, word
        assert not (workplace / "run").exists()


@pytest.mark.usefixtures("undrawn")
def test_thresholds_that_nothing_passes_are_told(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *MINE, "mining.absolute=-1", "mining.ranks=[1,3]") == 2
    assert "mining: no row has a negative that passes" in capsys.readouterr().err
    assert not (workplace / "run/train.jsonl").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_cross_encoder_scores_what_bm25_finds_and_nothing_is_encoded(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_cross_encoder(workplace / "cross")
    monkeypatch.setattr(Encoder, "encode_batches", lambda *_, **__: iter(()))
    words = ("mining=bm25", "mining.cross_encoder=cross", "mining.relative=1.0", "mining.ranks=[1,6]")
    assert run(monkeypatch, *MINE, *words) == 0

    cross_encoder = CrossEncoder.load("cross", torch.device("cpu"))
    assert numbers_of(workplace)["scored_by"] == "cross"
    for row in lines(workplace / "run/train.jsonl")[:5]:
        (score,) = cross_encoder.scores([row["anchor"]], [row["negative_1"]])
        assert row["negative_1_teacher"] == pytest.approx(float(score), abs=1e-4)
        assert row["negative_1_teacher"] <= row["positive_teacher"]


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_as_an_undisturbed_run(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_search.KeptSearch.__init__, "__defaults__", (4,))
    words = ["data=pairs", "data.train=train.jsonl", "data.evaluation=evaluation.jsonl", "encoder=pretrained"]
    words += ["encoder.model=tiny", "pooling=saved", "dims=[32,16]", "trainer.precision=32-true", *MINE[:2]]
    assert command(monkeypatch, *words, "hydra.run.dir=whole") == 0
    slowed = (
        "import time; from matryoshka.mining import kept_search, scored; "
        "kept_search.KeptSearch.__init__.__defaults__ = (4,); search = scored.RowSearch.__call__; "
        "scored.RowSearch.__call__ = lambda self, rows: (time.sleep(0.5), search(self, rows))[1]; "
        "from matryoshka.cli import app; app.train()"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-c", slowed, *words, "hydra.run.dir=killed"], cwd=workplace, env=environment
    )
    parts, until = workplace / "killed/search", time.monotonic() + 120
    while len(list(parts.glob("*.safetensors"))) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list(parts.glob("*.safetensors")))
    assert 3 <= done < 9

    searched: list[int] = []
    search = RowSearch.__call__

    def counted(self: RowSearch, rows: Sequence[int]) -> Any:
        searched.append(len(rows))
        return search(self, rows)

    monkeypatch.setattr(RowSearch, "__call__", counted)
    assert command(monkeypatch, *words, "hydra.run.dir=killed") == 0

    assert len(searched) == 9 - done
    assert outcome(workplace / "killed") == outcome(workplace / "whole")


@pytest.mark.slow
def test_the_embedded_encoder_finds_negatives_for_german_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(tmp_path, train=60, evaluation=12)
    monkeypatch.chdir(tmp_path)
    data = ("data=pairs", "data.train=train.jsonl", "data.evaluation=evaluation.jsonl")
    assert command(monkeypatch, *MINE, *data, "mining=both", "trainer.precision=32-true") == 0

    numbers, rows = numbers_of(tmp_path), lines(tmp_path / "run/train.jsonl")
    assert numbers["mined"] == numbers["rows"] == len(rows) == 54
    assert 0.75 < numbers["random_score"] < 0.9  # as crowded as E5's are
    assert numbers["mean_negative"] < numbers["mean_positive"]
    assert 0 < numbers["refused"]["relative"] < 0.5 * numbers["considered"]
    page = (tmp_path / "run/mining.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2 and "refused: relative" in page and "http" not in page.replace("http-equiv", "")
