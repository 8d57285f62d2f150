"""task=blend through the command line's own path: the kept mix is measured and saved, and what cannot be is said."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from matryoshka.data.sources import PairFiles
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.projection.saved import SavedProjection
from matryoshka.tasks.projecting import put_behind
from tests.extending.additions import train_tiny
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder

MIX = ("task=blend", "split.share=0.4", "doctor.languages=0")
SETS = "+sets.more={_target_: matryoshka.data.sources.PairFiles, name: more, train: null, evaluation: evaluation.jsonl}"


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model, three runs that went from it to different places, and real pairs."""
    SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "tiny")
    for seed, name in enumerate("abc"):
        SentenceTransformersFolder().save(moved(seed), tmp_path / name / "model")
    write_pairs(tmp_path, train=30, evaluation=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def moved(seed: int) -> Encoder:
    """The tiny encoder with every weight a little elsewhere."""
    encoder, generator = tiny_encoder(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return encoder


def matrix(seed: int) -> Tensor:
    """A rotation of the tiny encoder's embeddings."""
    drawn_DD = torch.randn(32, 32, generator=torch.Generator().manual_seed(seed))
    rotation_DD: Tensor = torch.linalg.qr(drawn_DD).Q.contiguous()
    return rotation_DD


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def ndcg_of(model: str) -> float:
    """nDCG@10 at the widest dim of a saved model on the test queries."""
    encoder = Pretrained(model).load(None)
    data = PairFiles("mine", None, "evaluation.jsonl").retrieval_set()
    return Evaluator().evaluate(encoder, data, [encoder.width]).metrics[encoder.width]["ndcg@10"]


def test_given_weights_are_the_sum_by_hand_and_no_third_model_is_ever_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alive: weakref.WeakSet[Encoder] = weakref.WeakSet()
    most, load = [0], Pretrained.load

    def counted(self: Pretrained, *arguments: Any) -> Encoder:
        encoder = load(self, *arguments)
        alive.add(encoder)
        most.append(len(alive))
        return encoder

    gc.collect()
    monkeypatch.setattr(Pretrained, "load", counted)
    words = (*MIX, "runs=[a,b/model,c]", "weights=[0.5,0.2,0.3]")

    assert train_tiny(monkeypatch, *words) == 0

    assert most[1:] == [1, 2, 2, 2]
    parts = [(load_file(f"{run}/model/model.safetensors"), w) for run, w in (("a", 0.5), ("b", 0.2), ("c", 0.3))]
    for name, tensor in load_file("run/model/model.safetensors").items():
        expected = sum(weight * state[name].double() for state, weight in parts)
        torch.testing.assert_close(tensor.double(), expected, atol=1e-6, rtol=1e-6)
    mix, said = read("run/blend.json"), capsys.readouterr().out
    assert mix["weights"] == {"a": 0.5, "b/model": 0.2, "c": 0.3}
    assert [one["name"] for one in mix["candidates"]] == ["0.5 a + 0.2 b + 0.3 c"]
    assert "mix  0.5 a + 0.2 b + 0.3 c: " in said and "base -> mixed" in said
    assert "kept: 0.5 a + 0.2 b + 0.3 c, as given" in read("run/run.json")["verdict"][-1]
    card, page = (Path("run", name).read_text(encoding="utf-8") for name in ("model/README.md", "report.html"))
    assert "| b/model" in card and "| 0.2" in card and "a weighted mean of the weights" in card
    assert "projection" not in card.partition("All Values")[0] and "0.5 a + 0.2 b + 0.3 c, as given" in page
    assert not list(Path("run").glob(".sources*"))

    assert train_tiny(monkeypatch, *words) == 0
    assert "this run is finished" in capsys.readouterr().out
    assert len(most) == 5


@pytest.mark.parametrize("runs", ["a,b", "a,b,c"])
def test_found_weights_are_the_best_on_dev_and_what_is_measured_is_saved(
    monkeypatch: pytest.MonkeyPatch, runs: str
) -> None:
    assert train_tiny(monkeypatch, *MIX, f"runs=[{runs}]") == 0

    mix, run = read("run/blend.json"), read("run/run.json")
    weights = [tuple(one["weights"]) for one in mix["candidates"]]
    if runs == "a,b":
        assert weights == [(1.0, 0.0), (0.75, 0.25), (0.5, 0.5), (0.25, 0.75), (0.0, 1.0)]
    else:
        assert len(weights) == 5
    assert mix["kept"]["value"] == max(one["value"] for one in mix["candidates"]) == run["selected_value"]
    assert run["saved_step"] == run["updates"] == 0
    results = read("run/results.json")
    assert ndcg_of("run/model") == pytest.approx(results["metrics"]["32"]["ndcg@10"], abs=1e-6)
    assert read("run/base.json")["metrics"]["32"]["ndcg@10"] == pytest.approx(ndcg_of("tiny"), abs=1e-6)


def test_one_run_is_mixed_with_its_start_and_the_projection_as_it_was_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = SavedProjection(matrix(0).numpy(), np.ones((2, 32), np.float32), dims=(32, 8))
    trained = moved(0)
    put_behind(trained, SavedProjection(matrix(1).numpy(), np.ones((2, 32), np.float32)))
    SentenceTransformersFolder().save(trained, Path("projected/model"))
    fitted.write(Path("projected"))
    words = (*MIX, "blend=start", "blend.shares=[0.5]", "runs=[projected]", SETS)

    assert train_tiny(monkeypatch, *words) == 0

    mix = read("run/blend.json")
    assert mix["sources"] == ["projected", "tiny before training"]
    assert [one["weights"] for one in mix["candidates"]] == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], None]
    share = (mix["kept"]["weights"] or [0])[0]
    saved = load_file("run/model/model.safetensors")
    start, tuned = load_file("tiny/model.safetensors"), load_file("projected/model/model.safetensors")
    for name, tensor in saved.items():
        torch.testing.assert_close(tensor, share * tuned[name] + (1 - share) * start[name], atol=1e-6, rtol=1e-6)
    dense = list(Path("run/model").glob("*_Dense/model.safetensors"))
    if mix["kept"]["weights"] is None:
        assert not dense
    else:
        wanted = share * matrix(1).T + (1 - share) * matrix(0).T
        torch.testing.assert_close(load_file(dense[0])["linear.weight"], wanted, atol=1e-6, rtol=1e-6)
    assert set(read("run/sets/more.json")) >= {"base", "tuned"}
    assert all("over blend.at_most=0.005" in why for why in mix["refused"].values())


def test_models_that_differ_are_not_mixed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    SentenceTransformersFolder().save(tiny_encoder(modes=("mean",)), Path("other"))

    assert train_tiny(monkeypatch, *MIX, "runs=[a,other]") == 2

    said = capsys.readouterr().err
    assert "runs: other and this recipe's encoder cannot be mixed" in said
    assert "  pooling: mean and cls" in said
    assert not Path("run").exists()


def test_every_mistake_is_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_tiny(monkeypatch, *MIX, "runs=[a,./missing,a]", "weights=[0.5,-0.1]") == 2

    said = capsys.readouterr().err
    for problem in (
        "runs[1]: ./missing does not exist",
        "runs[2]: a is given twice",
        "weights: -0.1 is not at least 0",
        "weights: 2 for 3 runs",
        "weights: add up to 0.4, not to 1; use for example weights=[0.3333,0.3333,0.3334]",
    ):
        assert problem in said
