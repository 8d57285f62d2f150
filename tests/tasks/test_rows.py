"""Whole runs on rows with several positives and negatives: every task reads them, and a killed run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.training.module import EmbeddingModule
from tests.extending.additions import rows, train_tiny
from tests.real_pairs import rows_of, write_pairs
from tests.tiny import tiny_encoder

LOGGED = ("train/loss", "train/masked")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny model with dropout, an evaluation file, and FlagEmbedding rows."""
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1), tmp_path / "tiny")
    write_pairs(tmp_path, train=0, evaluation=12)
    pairs = rows_of("train", 120)
    written = [flag_row(pairs, i) for i in range(24)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in written), encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def flag_row(pairs: list[dict[str, str]], i: int) -> dict[str, Any]:
    right = [pairs[i]["positive"], *(f"{pairs[i]['positive']} {k}" for k in range(i % 3))]
    wrong = [pairs[24 + 4 * i + k]["positive"] for k in range(i % 5)]
    scores = {"pos_scores": [1.0] * len(right), "neg_scores": [k / 8 for k in range(len(wrong))]}
    return {"query": pairs[i]["anchor"], "pos": right, "neg": wrong, **scores}


def stopping(monkeypatch: pytest.MonkeyPatch, update: int) -> None:
    """Let a run be stopped in the midst of the update behind this one."""
    step: Callable[..., Any] = EmbeddingModule.training_step

    def stopped(self: EmbeddingModule, *arguments: Any) -> Any:
        if self.updates == update:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(EmbeddingModule, "training_step", stopped)


def losses(folder: str) -> list[tuple[float, ...]]:
    return [tuple(row.get(name, 0) for name in LOGGED) for row in rows(folder) if "train/loss" in row]


def weights(folder: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(f"{folder}/model/model.safetensors")


def test_a_run_that_was_stopped_goes_on_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("loss=distilled", "loss.teacher=1")
    assert train_tiny(monkeypatch, *words, "hydra.run.dir=whole", "name=whole") == 0
    said = capsys.readouterr().out
    assert "    data  read as FlagEmbedding rows (query, pos, neg)\n" in said
    assert "of each row an epoch takes one of up to 3 positives and 2 of up to 4 negatives" in said
    with monkeypatch.context() as broken:
        stopping(broken, 4)
        assert train_tiny(broken, *words) == 130
    assert train_tiny(monkeypatch, *words, "resume=run") == 0
    assert losses("run") == losses("whole")
    assert any(masked > 0 for _, masked in losses("run"))
    one, other = weights("run"), weights("whole")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("task=plan",), "read as FlagEmbedding rows"),
        (("task=doctor",), "read as FlagEmbedding rows"),
        (("negatives=guide", "negatives.relative=0.5", "trainer.max_epochs=1"), "the untrained encoder leaves out"),
        (("task=curve", "projection=rotation", "shares=[0.5,1.0]", "dims=[32]"), "read as FlagEmbedding rows"),
    ],
)
def test_every_task_reads_such_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    assert train_tiny(monkeypatch, *words) == 0
    assert says in capsys.readouterr().out


def test_mined_negatives_answer_their_row_in_no_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = [json.loads(line) for line in Path("train.jsonl").read_text(encoding="utf-8").splitlines()]
    for i in range(1, 24):
        shared[i]["pos"].append(shared[i - 1]["pos"][0])
        shared[i]["pos_scores"].append(1.0)
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shared), encoding="utf-8")
    assert train_tiny(monkeypatch, "task=mine", "split=same", "mining.relative=null") == 0

    assert "the others are no negatives" in capsys.readouterr().out
    right = {row["query"]: set(row["pos"]) for row in shared}
    mined = [json.loads(line) for line in Path("run/train.jsonl").read_text(encoding="utf-8").splitlines()]
    assert mined
    for row in mined:
        assert not right[row["anchor"]] & {text for name, text in row.items() if str(name).startswith("negative")}


def test_the_doctor_finds_a_text_that_is_only_drawn_later(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = json.loads(Path("evaluation.jsonl").read_text(encoding="utf-8").splitlines()[0])
    first, *others = Path("train.jsonl").read_text(encoding="utf-8").splitlines()
    row = json.loads(first)
    row["pos"].append(evaluation["positive"])
    row["pos_scores"].append(1.0)
    Path("train.jsonl").write_text("\n".join([json.dumps(row), *others]), encoding="utf-8")
    assert train_tiny(monkeypatch, "task=doctor") == 0
    written = json.loads(next(Path("run").glob("doctor*.json")).read_text(encoding="utf-8"))
    assert written["held_out"]["test"]["answers_in_training"]["exact"] == 1


@pytest.mark.parametrize(
    ("prompts", "words", "code", "says"),
    [
        (["Frage: "], (), 0, "the rows' prompt, 'Frage: ', is that of all queries"),
        (["Frage: "], ("encoder.prompts={query: 'q: '}",), 2, "every row of the training data has the prompt"),
        (["A: ", "B: "], ("task=plan",), 0, "2 prompts, each in front of its row's query; queries that are measured"),
        (["A: ", "B: "], ("encoder.prompts={query: 'q: '}",), 2, "prompts of their own, such as 'A: ' and 'B: '"),
    ],
)
def test_prompts_of_rows(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    prompts: list[str],
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    lines = [json.loads(line) for line in Path("train.jsonl").read_text(encoding="utf-8").splitlines()]
    given = [{**row, "prompt": prompts[i % len(prompts)]} for i, row in enumerate(lines)]
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")

    assert train_tiny(monkeypatch, "trainer.max_epochs=1", *words) == code
    said = capsys.readouterr()
    assert says in " ".join((said.out + said.err).split())
    if not words:
        saved = json.loads(Path("run/model/config_sentence_transformers.json").read_text(encoding="utf-8"))
        assert saved["prompts"]["query"] == prompts[0]
