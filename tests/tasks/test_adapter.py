"""Runs with an adapter: what they say, keep and save, whatever cuts them off."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from matryoshka import Encoder
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.training.checkpoints.kept import KeptCheckpoints
from tests.extending.additions import (
    outcome,
    train,
    train_counting,
    train_tiny,
    train_until_call,
    train_until_update,
)
from tests.tasks.killed import killed_at_save
from tests.tasks.test_blending import ndcg_of, run_of
from tests.tiny import tiny_encoder

LORA = ("adapter=lora", "adapter.rank=4", "split.share=0.4")
BLEND = ("blend=start", "blend.shares=[0.25,0.75]", "projection=rotation")
TABLE = "embeddings.word_embeddings.weight"


@pytest.fixture(autouse=True)
def workplace(user_folder: Path) -> Path:
    """A tiny model with dropout, and real pairs."""
    return user_folder


@pytest.fixture
def kept_files(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """What the files of checkpoints held when the run was finished, by folder."""
    held: dict[str, set[str]] = {}
    remove = KeptCheckpoints.remove

    def noted(self: KeptCheckpoints) -> None:
        files = self.folder.glob("*/model.safetensors")
        held.update({path.parent.name: set(load_file(path)) for path in files})
        remove(self)

    monkeypatch.setattr(KeptCheckpoints, "remove", noted)
    return held


def test_a_run_keeps_what_it_trains_and_saves_a_plain_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kept_files: dict[str, set[str]]
) -> None:
    assert train_tiny(monkeypatch, *LORA, *BLEND, "callbacks=[default,moving_average]", "pairs_at_once=2") == 0

    said = " ".join(capsys.readouterr().out.split())
    assert "Lora beside 12 linear layers: 4,608 weights are trained, the model's own stay" in said
    assert "rows of the word-embedding table occur and are held, which changes nothing" in said
    assert {name.partition("-")[0] for name in kept_files} == {"start", "best", "last"}
    for name, held in kept_files.items():
        own = [tensor for tensor in held if not tensor.startswith("dense.0.")]
        assert own and all("lora_" in tensor for tensor in own), name
        assert any("lora_A" in tensor for tensor in own) == (name != "start")
    results = json.loads(Path("run/results.json").read_text(encoding="utf-8"))
    assert ndcg_of("run/model") == pytest.approx(results["metrics"]["32"]["ndcg@10"], abs=1e-6)
    saved, before = load_file("run/model/model.safetensors"), load_file("tiny/model.safetensors")
    assert saved.keys() == before.keys()
    alone = load_file("run/adapter/adapter_model.safetensors")
    query = "encoder.layer.0.attention.self.query"
    down, up = (alone[f"base_model.model.{query}.lora_{factor}.weight"] for factor in "AB")
    np.testing.assert_allclose(saved[f"{query}.weight"], before[f"{query}.weight"] + 8 * up @ down, atol=1e-6)
    changed = {name.rpartition(".")[0] for name in saved if (saved[name] != before[name]).any()}
    assert len(changed) == 12 and not any("LayerNorm" in name or "embeddings" in name for name in changed)


def test_where_training_makes_it_worse_the_weights_before_are_kept_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert train_tiny(monkeypatch, *LORA, "blend=start", "blend.shares=[]", "optimizer.lr=1") == 0

    assert run_of()["blend"]["kept"]["share"] == 0
    start, kept = load_file("tiny/model.safetensors"), load_file("run/model/model.safetensors")
    assert all((kept[name] == tensor).all() for name, tensor in start.items())


def test_names_that_no_layer_has_are_told_and_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_tiny(monkeypatch, *LORA, "adapter.target_modules=[query,vale]") == 2
    assert "no linear layer of the model is called vale; did you mean value?" in capsys.readouterr().err
    assert not Path("run").exists() or not any(path.suffix == ".yaml" for path in Path("run").glob("*"))


def test_a_step_that_cannot_be_made_is_kept_with_a_plain_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from matryoshka.training import nonfinite

    monkeypatch.setattr(nonfinite, "read", lambda flag: True)
    assert train_tiny(monkeypatch, *LORA) == 1
    texts = ["das haus", "ein rad"]
    found = [Encoder.load(model).encode(texts) for model in ("run/not_finite/model", "tiny")]
    np.testing.assert_array_equal(*found)


def other_base(**options: Any) -> None:
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1, **options), Path("tiny"))


@pytest.mark.slow
def test_runs_with_an_adapter_survive_kills_to_the_bit_and_want_their_base(workplace: Path) -> None:
    words = (*LORA, *BLEND, "callbacks=[default,moving_average]", "adapter.dropout=0.1", "dims=[768,64,8]")
    choose = random.Random("adapter")
    calls = train_counting(*words, "hydra.run.dir=whole")
    whole = outcome("whole")

    call, update = choose.randint(1, calls), choose.randint(1, 10)
    train_until_call(call, *words, "hydra.run.dir=killed_at_call")
    train_until_update(update, *words, "hydra.run.dir=killed_at_update")
    for file in workplace.glob("killed_*/checkpoints/*/model.safetensors"):
        assert (
            file.stat().st_size < 6_000_000
        )  # 0.7 million numbers and the projection, where the model has 118 million
    for run in ("killed_at_call", "killed_at_update"):
        train(*words, f"hydra.run.dir={run}")
        assert outcome(run) == whole, f"{run}: call {call} or update {update}"


def test_a_run_does_not_go_on_upon_another_base(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with killed_at_save(monkeypatch, 3):
        train_tiny(monkeypatch, *LORA)
    other_base(seed=1)
    assert train_tiny(monkeypatch, *LORA) == 2
    assert "the model's files" in capsys.readouterr().err
