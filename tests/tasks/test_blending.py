"""A run keeps the best of the weights before, after and between; it never ends below the model it began with."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from matryoshka.data.sources import PairFiles
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.evaluation.evaluator import Evaluator
from tests.extending.additions import (
    outcome,
    train,
    train_counting,
    train_tiny,
    train_until_call,
    train_until_update,
)

BLEND = ("blend=start", "blend.shares=[0.25,0.75]", "split.share=0.4")
BROKEN = "optimizer.lr=1"
SETS = "+sets.more={_target_: matryoshka.data.sources.PairFiles, name: more, train: null, evaluation: evaluation.jsonl}"


@pytest.fixture(autouse=True)
def workplace(user_folder: Path) -> Path:
    """A tiny model with dropout, and real pairs."""
    return user_folder


def run_of(folder: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))
    return found


def ndcg_of(model: str) -> float:
    """nDCG@10 at the widest dim of a saved model on the test queries."""
    encoder = Pretrained(model).load(None)
    data = PairFiles("mine", None, "evaluation.jsonl").retrieval_set()
    return Evaluator().evaluate(encoder, data, [encoder.width]).metrics[encoder.width]["ndcg@10"]


@pytest.mark.parametrize("projection", ["none", "rotation"])
def test_after_a_broken_rate_the_weights_before_training_are_kept_and_the_run_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], projection: str
) -> None:
    assert train_tiny(monkeypatch, *BLEND, "blend.shares=[]", BROKEN, f"projection={projection}") == 0

    run, said = run_of(), capsys.readouterr().out
    values = {(one["share"]): one["value"] for one in run["blend"]["candidates"]}
    assert run["blend"]["kept"]["value"] == max(values.values()) > values[1.0]
    assert not run["blend"]["kept"]["share"]
    assert run["saved_step"] == 0
    assert "a = 0" in said
    assert any(sentence.startswith("kept: a = 0") for sentence in run["verdict"])
    start, kept = load_file("tiny/model.safetensors"), load_file("run/model/model.safetensors")
    assert all((kept[name] == tensor).all() for name, tensor in start.items())
    assert "a = 0" in Path("run/report.html").read_text(encoding="utf-8")
    assert "a = 0" in Path("run/model/README.md").read_text(encoding="utf-8")


def test_where_even_the_projection_is_worse_the_untrained_encoder_is_kept_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worse = "matryoshka.tasks.projecting.fit"
    from matryoshka.tasks import projecting

    def broken(*arguments: Any, **options: Any) -> Any:
        saved = projecting_fit(*arguments, **options)
        saved.matrix_DE[:] = 0
        saved.matrix_DE[:, 0] = 1  # every text the same direction
        return saved

    projecting_fit = projecting.fit
    monkeypatch.setattr(worse, broken)

    assert train_tiny(monkeypatch, *BLEND, "projection=rotation", "projection.lr=null") == 0

    assert run_of()["blend"]["kept"]["share"] is None
    assert not list(Path("run/model").glob("*_Dense"))
    assert ndcg_of("run/model") == pytest.approx(ndcg_of("tiny"), abs=1e-6)


def test_what_is_kept_is_what_is_measured_and_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    assert train_tiny(monkeypatch, *BLEND, "projection=rotation") == 0

    run = run_of()
    results = json.loads(Path("run/results.json").read_text(encoding="utf-8"))
    assert [one["share"] for one in run["blend"]["candidates"]] == [1.0, 0.75, 0.25, 0.0, None]
    assert run["selected_value"] == run["blend"]["kept"]["value"]
    assert ndcg_of("run/model") == pytest.approx(results["metrics"]["32"]["ndcg@10"], abs=1e-6)


def test_a_further_set_that_loses_too_much_forbids_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*BLEND, SETS, "blend.at_most=0", "projection=none", "optimizer.lr=0.02", "seed=3")
    assert train_tiny(monkeypatch, *words) == 0

    run = run_of()
    kept, better = run["blend"]["kept"], run["blend"]["refused"]
    sets = json.loads(Path("run/sets/more.json").read_text(encoding="utf-8"))
    lost = max(
        sets["base"]["metrics"][dim]["ndcg@10"] - sets["tuned"]["metrics"][dim]["ndcg@10"] for dim in ("32", "8")
    )
    assert lost <= 0
    values = {one["value"] for one in run["blend"]["candidates"] if one["value"] > kept["value"]}
    assert bool(better) == bool(values)
    assert all("of the set more, over blend.at_most=0" in why for why in better.values())


def test_without_a_blend_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert train_tiny(monkeypatch) == 0

    assert run_of()["blend"] is None
    assert not any(sentence.startswith("kept") for sentence in run_of()["verdict"])
    assert run_of()["gains"]["test"]["by_dim"].keys() == {"32", "8"}


@pytest.mark.slow
def test_runs_with_guide_average_negatives_cuts_and_blend_survive_kills_to_the_bit() -> None:
    pairs = [json.loads(line) for line in Path("train.jsonl").read_text(encoding="utf-8").splitlines()]
    for pair, other in zip(pairs, [*pairs[30:], *pairs[:30]], strict=True):
        pair["negative_1"] = other["positive"]
    Path("mined.jsonl").write_text("".join(f"{json.dumps(pair)}\n" for pair in pairs), encoding="utf-8")
    words = (*BLEND, "callbacks=[default,moving_average]", "negatives=guide", "negatives.relative=0.4", "cuts=nested")
    words = (
        *words,
        "projection=rotation",
        "doctor.languages=0",
        "data.train=mined.jsonl",
        "data.negatives=[negative_1]",
    )
    words = (*words, "sampler.clashes=mask", "dims=[768,64,8]")
    choose = random.Random("blending")
    calls = train_counting(*words, "hydra.run.dir=whole")
    whole = outcome("whole")
    assert any("train/masked" in row for row in whole["rows"])

    call, update = choose.randint(1, calls), choose.randint(1, 10)
    train_until_call(call, *words, "hydra.run.dir=killed_at_call")
    train_until_update(update, *words, "hydra.run.dir=killed_at_update")
    for run in ("killed_at_call", "killed_at_update"):
        train(*words, f"hydra.run.dir={run}")
        assert outcome(run) == whole, f"{run}: call {call} or update {update}"
