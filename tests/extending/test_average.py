"""A callback of one's own: weights averaged over updates are what is measured and kept."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from matryoshka.data.sources import PairFiles
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.evaluation.evaluator import Evaluator
from tests.composing import problems
from tests.extending.additions import (
    Addition,
    add,
    outcome,
    rows,
    train,
    train_counting,
    train_tiny,
    train_until_call,
    train_until_update,
)
from tests.extending.recorder import RECORDER, recorded
from tests.real_pairs import write_pairs

AVERAGE = Addition(
    python='''"""An average of the weights by a rule of one's own."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Lt

from matryoshka.training.callbacks.averages import WeightAverage


class ShortAverage(WeightAverage):
    """An average that forgets fast. Measured and kept as best is the average.

    decay: the share of the average that an update leaves.
    """

    def __init__(self, decay: Annotated[float, Ge(0), Lt(1), "0.7"] = 0.7) -> None:
        super().__init__()
        self.decay = decay

    def share(self, update: int, updates: int) -> float:
        """How much of the average the weights after this update become."""
        return 1 - self.decay
''',
    group="callbacks",
    choice="average",
    yaml="""# An average of the last few weights is measured and kept, not the last: callbacks=[default,average].
average:
  _target_: weight_average.ShortAverage
  decay: 0.7
""",
)
WORDS = ("callbacks=[default,average,recorder]", "callbacks.average.decay=0.7")


@pytest.fixture
def searchpath(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return add(monkeypatch, AVERAGE, RECORDER)


def averages(decay: float) -> list[dict[str, Tensor]]:
    """The same averaged, by a loop."""
    made: list[dict[str, Tensor]] = []
    for weights in recorded():
        before = made[-1] if made else weights
        made.append({name: decay * before[name] + (1 - decay) * weight for name, weight in weights.items()})
    return made


def measured(model: str, weights: dict[str, Tensor] | None = None) -> dict[str, float]:
    """What a model comes to on the dev queries, with these weights in place of some of its own."""
    encoder = Pretrained(model).load(None)
    encoder.load_state_dict(weights or {}, strict=False)
    dev = PairFiles("mine", "train.jsonl", "evaluation.jsonl", dev="dev.jsonl").dev_set()
    assert dev
    evaluator = Evaluator(accuracy_at=[1], precision_at=[], recall_at=[], ndcg_at=[10], mrr_at=[], map_at=[])
    return evaluator.evaluate(encoder.eval(), dev, [32, 8]).flat()


def on_dev(row: dict[str, float]) -> dict[str, float]:
    return {name.removeprefix("dev/"): value for name, value in row.items() if name.startswith("dev/")}


@pytest.mark.parametrize(
    ("words", "key", "remedy"),
    [
        (["+callbacks.average.dceay=0.5"], "callbacks.average.dceay", "did you mean callbacks.average.decay?"),
        (["callbacks.average.decay=1"], "callbacks.average.decay", "use for example 0.7"),
        (["callbacks.average.decay=viel"], "callbacks.average.decay", "not a valid number"),
    ],
)
def test_its_arguments_are_checked(searchpath: str, words: list[str], key: str, remedy: str) -> None:
    ((found, message),) = problems(searchpath, "callbacks=[default,average]", *words)

    assert found == key
    assert remedy in message


@pytest.mark.filterwarnings("default")
def test_of_the_tiny_encoder_the_average_is_measured_and_saved(
    searchpath: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "held_out").mkdir()
    write_pairs(workplace / "held_out", train=24, evaluation=40)
    lines = (workplace / "held_out" / "evaluation.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (workplace / "dev.jsonl").write_text("".join(lines[12:]), encoding="utf-8")
    words = ["+data.dev=dev.jsonl", "optimizer.lr=0.05", "trainer.max_epochs=3", "compact_vocabulary=false"]

    assert train_tiny(monkeypatch, searchpath, *WORDS, *words) == 0
    made, raw = averages(0.7), list(recorded())
    logged = {row["step"]: on_dev(row) for row in rows("run") if row["step"] and on_dev(row)}

    assert len(logged) == 3
    for update, metrics in logged.items():
        assert metrics == pytest.approx(measured("tiny", made[int(update)]), abs=1e-5)
    assert any(metrics != pytest.approx(measured("tiny", raw[int(u)]), abs=1e-5) for u, metrics in logged.items())
    best = outcome("run")["saved_step"]
    assert measured("run/model") == pytest.approx(logged[best], abs=1e-5)
    saved = load_file("run/model/model.safetensors")
    for name, tensor in saved.items():
        torch.testing.assert_close(tensor, made[best][f"backbone.{name}"], atol=1e-6, rtol=1e-5)
    assert any(not torch.allclose(tensor, raw[best][f"backbone.{name}"], atol=1e-3) for name, tensor in saved.items())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_decay_of_0_changes_nothing(searchpath: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train_tiny(monkeypatch, "hydra.run.dir=without") == 0
    words = ["callbacks=[default,average]", "callbacks.average.decay=0", "hydra.run.dir=with"]
    assert train_tiny(monkeypatch, searchpath, *words) == 0
    assert outcome("with") == outcome("without")


@pytest.mark.slow
def test_on_the_embedded_encoder_the_average_is_saved_and_survives_kills_to_the_bit(searchpath: str) -> None:
    layer = "backbone.encoder.layer.0.output.dense.weight"
    words = (searchpath, *WORDS, f"+callbacks.recorder.named={layer}")
    choose = random.Random("average")
    calls = train_counting(*words, "hydra.run.dir=whole")
    whole, best = outcome("whole"), outcome("whole")["saved_step"]
    saved, raw = load_file("whole/model/model.safetensors"), list(recorded())

    torch.testing.assert_close(saved[layer.removeprefix("backbone.")], averages(0.7)[best][layer])
    assert not torch.allclose(saved[layer.removeprefix("backbone.")], raw[best][layer], atol=1e-4)

    call, update = choose.randint(1, calls), choose.randint(1, len(raw) - 2)
    train_until_call(call, *words, "hydra.run.dir=killed_at_call")
    train_until_update(update, *words, "hydra.run.dir=killed_at_update")
    for run in ("killed_at_call", "killed_at_update"):
        train(*words, f"hydra.run.dir={run}")
        assert outcome(run) == whole, f"{run}: call {call} or update {update}"
