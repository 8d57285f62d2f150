"""Poolings without the prompt from training to evaluation, and encoders that pool nothing of a text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from matryoshka.encoder import Pooling, Pretrained
from matryoshka.encoder.encoder import Prompt
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.encoder.test_decoder import decoder_folder
from tests.tasks.test_train_and_sweep import run, workplace
from tests.tiny import tiny_encoder

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")

COLUMNS: tuple[tuple[str, Prompt], ...] = (("anchor", "query"), ("positive", "document"))
PROMPTS = 'encoder.prompts={query:"query: ",document:"das wort "}'


def right_answers(model: str, pooling: Pooling | None, prompts: dict[str, str]) -> float:
    """The share of questions whose own answer is found first, by single calls of the encoder."""
    rows = [json.loads(line) for line in Path("evaluation.jsonl").read_text(encoding="utf-8").splitlines()]
    encoder = Pretrained(model, prompts=prompts).load(pooling)
    queries_QD, documents_ND = (
        torch.stack([encoder.encode([row[column]], prompt=kind, as_tensor=True)[0] for row in rows])
        for column, kind in COLUMNS
    )
    texts = [row["positive"] for row in rows]
    found = [texts[hit] for hit in (queries_QD @ documents_ND.T).argmax(1)]
    return float(np.mean([one == other for one, other in zip(found, texts, strict=True)]))


def test_a_pooling_without_the_prompt_is_measured(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("model=tiny", "pooling=mean_without_prompt", PROMPTS, "dims=[32]", "hydra.run.dir=measured")
    assert run(monkeypatch, *words, task="evaluate") == 0
    measured = json.loads((workplace / "measured/results.json").read_text())["metrics"]
    lines = capsys.readouterr().out

    assert "encoder  tiny, 0M parameters, mean without the prompt pooling, 32 wide, 32 tokens at most" in lines
    assert "prompts  query 'query: ', document 'das wort '" in lines
    assert "project  none" in lines
    expected = right_answers(
        "tiny", Pooling(["mean"], include_prompt=False), {"query": "query: ", "document": "das wort "}
    )
    assert measured["32"]["accuracy@1"] == pytest.approx(expected)


@pytest.mark.slow
def test_a_pooling_without_the_prompt_is_trained_and_saved(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("pooling=mean_without_prompt", PROMPTS, "pairs_at_once=2", "negatives=guide", "logger=none")
    assert run(monkeypatch, *words, "hydra.run.dir=run") == 0
    trained = json.loads((workplace / "run/results.json").read_text())["metrics"]
    told = json.loads((workplace / "run/model/1_Pooling/config.json").read_text())
    assert (told["pooling_mode_mean_tokens"], told["include_prompt"]) == (True, False)

    assert run(monkeypatch, "model=run/model", "dims=[32,16]", "hydra.run.dir=measured", task="evaluate") == 0
    assert json.loads((workplace / "measured/results.json").read_text())["metrics"] == trained


def test_a_decoder_is_refused_before_it_is_loaded(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decoder_folder(workplace / "llama")

    assert run(monkeypatch, "model=llama", "dims=[16]", "hydra.run.dir=measured", task="evaluate") == 2
    assert "pooling: llama is a decoder (llama)" in capsys.readouterr().err
    assert run(monkeypatch, "encoder.model=llama", "logger=none", "hydra.run.dir=run") == 2
    assert "use pooling=last" in capsys.readouterr().err
    assert run(monkeypatch, "model=llama", "pooling=last", "dims=[16]", "hydra.run.dir=last", task="evaluate") == 0
    assert "last pooling, 32 wide" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["evaluate", "train", "project"])
def test_equal_embeddings_end_every_task(
    task: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = tiny_encoder()
    for parameter in encoder.backbone.encoder.parameters():
        parameter.data.zero_()  # so no token sees another
    SentenceTransformersFolder().save(encoder, workplace / "equal")

    words = ("model=equal",) if task == "evaluate" else ("encoder.model=equal", f"task={task}", "logger=none")
    kind = "evaluate" if task == "evaluate" else "train"
    assert run(monkeypatch, *words, "dims=[16]", "hydra.run.dir=run", task=kind) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "the same embedding, by cls pooling, and no figure would mean anything; use pooling=last" in told
    assert not (workplace / "run/results.json").exists()
