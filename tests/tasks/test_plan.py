"""What a plan says is what the training then does; and it writes nothing but itself."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from matryoshka.config.recipe import TrainingRecipe, build
from matryoshka.encoder.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.memory.estimate import MemoryEstimate
from matryoshka.report.figures.schedule import MakeScheduler, Schedule
from matryoshka.report.run_plan import Measured, RunPlan, show_plan
from matryoshka.tasks.plan import plan
from matryoshka.tasks.train import train
from matryoshka.training import schedulers
from matryoshka.training.plan import TrainingPlan
from tests.composing import plain
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder

pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a tiny model and a few real pairs; nothing outside it is written."""
    SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "tiny")
    write_pairs(tmp_path, train=30, evaluation=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def configured(*words: str) -> TrainingRecipe:
    data = ["data=pairs", "data.train=train.jsonl", "data.evaluation=evaluation.jsonl", "split=same"]
    model = ["encoder=pretrained", "encoder.model=tiny", "pooling=saved", "dims=[32,16]"]
    small = ["batch_size=4", "accumulation=2", "trainer.precision=32-true", "trainer.log_every_n_steps=1"]
    quick = ["optimizer.lr=1e-3", "evaluator=quick", "export=none", "logger=none", "baselines=[]", "doctor.languages=0"]
    return build(plain(*data, *model, *small, *quick, *words), TrainingRecipe)


def planned(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "plan.json").read_text(encoding="utf-8")))


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_planned_rates_and_evaluations_are_those_of_the_training(workplace: Path) -> None:
    """With a threshold of 1 no evaluation is good enough, so the rate falls as far as the plan says it can."""
    recipe = configured("trainer.max_epochs=3", "scheduler=reduce_on_plateau", "scheduler.threshold=1")
    updates = plan(recipe, workplace / "plan")
    train(recipe, workplace / "run")

    said, rows = planned(workplace / "plan"), logged(workplace / "run")
    rates = {row["step"]: row["train/learning_rate"] for row in rows if "train/loss" in row}
    assert len(rates) == updates == said["updates"] > 6
    assert said["schedule"]["goes_by_the_metric"]
    assert list(rates.values()) == said["schedule"]["lowest_rates"]
    assert min(list(rates.values())[1:]) == said["schedule"]["peak"] / 2 == 5e-4
    evaluated = [row["step"] for row in rows if "ndcg@10/dim_32" in row]
    assert evaluated == [0, *said["evaluated_after"]]
    config_of = [yaml.safe_load((workplace / name / "config.yaml").read_text()) for name in ("plan", "run")]
    assert config_of[0] == config_of[1]
    assert said["operations"] > 1e6 and said["seconds_at_share"]["A100"] < said["seconds_at_share"]["T4"]


def test_nothing_is_encoded_for_it_but_a_few_tokens_and_nothing_else_is_written(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a plan measures nothing")

    monkeypatch.setattr("matryoshka.evaluation.evaluator.Evaluator.evaluate", refused)
    weights = {name: tensor.clone() for name, tensor in tiny_encoder().state_dict().items()}
    loaded: list[Encoder] = []
    load = Encoder.__init__

    def kept(self: Encoder, *args: Any, **kwargs: Any) -> None:
        load(self, *args, **kwargs)
        loaded.append(self)

    monkeypatch.setattr(Encoder, "__init__", kept)
    plan(configured("trainer.max_epochs=2", "logger=wandb", "export=sentence_transformers"), workplace / "plan")

    written = {"config.yaml", "plan.json", "schedule.png", "schedule.svg"}
    assert {path.name for path in (workplace / "plan").iterdir()} == written
    assert all(tensor.equal(weights[name]) for name, tensor in loaded[0].state_dict().items())
    shown = capsys.readouterr().out
    said = planned(workplace / "plan")
    size = sum(tensor.nbytes for tensor in weights.values())
    assert said["disk"]["stays"] == size and said["disk"]["most"] > 3 * size
    assert said["memory"]["peak"] > said["memory"]["held"] > size
    assert said["evaluation_before_and_after"]["queries"] == 12
    for part in ("Cosine: from 0 to 1e-3, down to ", "12 queries over ", "by ndcg@10/dim_32", "at the peak"):
        assert part in shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="for a machine without a GPU")
def test_a_run_on_a_gpu_is_planned_anywhere_and_trained_only_on_one(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = configured("trainer=gpu")
    plan(recipe, workplace / "plan")

    assert "gpu -> a CUDA GPU, which is not here" in capsys.readouterr().out
    memory = planned(workplace / "plan")["memory"]
    assert memory["peak"] > 0
    assert memory["available"] is None
    with pytest.raises(UserError, match="trainer: "):
        train(recipe, workplace / "run")


@pytest.mark.parametrize(
    ("maker", "epochs", "note"),
    [
        (partial(schedulers.cosine, warmup=50), 3, "the rate never reaches 1e-3: the run ends within the warm-up"),
        (schedulers.reduce_on_plateau, 1, "the rate cannot fall within 1 evaluation, of which"),
        (schedulers.reduce_on_plateau, 2, "the rate cannot fall within 2 evaluations, of which"),
        (schedulers.reduce_on_plateau, 3, None),
        (partial(schedulers.reduce_on_plateau, patience=1), 3, "the rate cannot fall within 3 evaluations, of which"),
        (schedulers.constant, 1, None),
    ],
)
def test_a_schedule_that_comes_to_nothing_is_said(
    capsys: pytest.CaptureFixture[str], maker: MakeScheduler, epochs: int, note: str | None
) -> None:
    training = TrainingPlan([4] * epochs)
    optimizer = partial(torch.optim.SGD, lr=1e-3)
    schedule = Schedule.planned("s", optimizer, maker, training.updates, training.epoch_ends)
    measured, memory = Measured(1, 1), MemoryEstimate(0, 0, 0, 0, 0, 0, False, False)
    planned = RunPlan("", (), 16, 4, training, schedule, "ndcg@10", measured, measured, memory, None, 0, False)
    show_plan(planned)

    shown = capsys.readouterr().out
    assert len(list(planned.notes)) == (note is not None)
    assert note is None or note in shown
    assert ("rate at its end, at most" in shown) == (schedule.lowest is not None)
