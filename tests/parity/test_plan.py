"""The plan of a run, update by update: the published card's, transformers 4.44's with `carry`, 5's with `flush`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from matryoshka.evaluation.result import EvaluationResult
from matryoshka.report.card.card import model_card
from tests.golden.card_log import SAVED_STEP, card_log
from tests.parity import transformers_plan
from tests.parity.conftest import Parity, release
from tests.parity.files import read_json
from tests.parity.oldest_release import OLDEST_TRANSFORMERS, in_oldest_release
from tests.parity.planned_run import CARD, CARD_DIMS, LogRow, PlannedRun, Sizes, in_turn, planned_run
from tests.report.records import record, tables

AREA = "Plan of the run"
PUBLISHED = "the published card"
FORMULA = "the card's settings, by formula"
LOG = "log rows: epoch, step, what they show"
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",  # Lightning's advice
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # a deprecation inside Lightning
)

METRICS = [f"map@100/dim_{dim}" for dim in CARD_DIMS]
RUNS = {
    "the card's": CARD,
    "an epoch ends within a window": Sizes(rows=37, batch_size=4, accumulation=4, epochs=3),
    "a window of 5, an epoch of 17": Sizes(rows=50, batch_size=3, accumulation=5, epochs=4, log_every=2),
    "windows fill the epoch": Sizes(rows=24, batch_size=4, accumulation=3, epochs=3, log_every=4),
    "an epoch is one window": Sizes(rows=16, batch_size=4, accumulation=4, epochs=3),
    "an epoch is shorter than a window": Sizes(rows=9, batch_size=4, accumulation=4, epochs=5),
    "many epochs make a window": Sizes(rows=7, batch_size=4, accumulation=15, epochs=9, log_every=2),
    "an epoch is one micro-batch": Sizes(rows=3, batch_size=4, accumulation=2, epochs=4),
    "no accumulation": Sizes(rows=22, batch_size=4, accumulation=1, epochs=3, log_every=4),
}


def log_of(rows: list[dict[str, float]]) -> list[LogRow]:
    """The card shows a training loss and an evaluation after the same update in one row; they are logged as two."""
    return [
        (row["epoch"], int(row["step"]), what)
        for row in rows
        for what, column in (("training loss", "training_loss"), ("evaluation", METRICS[0]))
        if column in row
    ]


def card_rates() -> list[float]:
    """190 updates: 19 of warm-up, from 0, then half a cosine wave."""
    shares = [s / 19 if s < 19 else 0.5 * (1 + math.cos(math.pi * (s - 19) / 171)) for s in range(190)]
    return [2e-5 * share for share in shares]


@pytest.fixture(scope="module")
def card_run(tmp_path_factory: pytest.TempPathFactory) -> PlannedRun:
    """The card's run, whose evaluations give what those of the card gave."""
    evaluations = ({name: row[name] for name in METRICS} for row in card_log() if METRICS[0] in row)
    return planned_run(CARD, "carry", tmp_path_factory.mktemp("card"), in_turn(evaluations))


def run_of(sizes: Sizes, folder: Path, **options: Any) -> PlannedRun:
    return planned_run(sizes, folder=folder, measure=in_turn(repeat(dict.fromkeys(METRICS, 0.5))), **options)


def compare_updates(parity: Parity, against: str, ours: PlannedRun, theirs: Mapping[str, Any]) -> None:
    parity.equal("micro-batches of each update", against, ours.windows, theirs["windows"])
    parity.within("gradient scale of each micro-batch", against, ours.scales, theirs["scales"], 0)
    parity.within("learning rate of each update", against, ours.rates, theirs["rates"], 1e-18)


def compare(parity: Parity, against: str, ours: PlannedRun, theirs: Mapping[str, Any]) -> None:
    compare_updates(parity, against, ours, theirs)
    parity.equal(LOG, against, ours.log, [tuple(row) for row in theirs["log"]])


@pytest.mark.slow
def test_the_cards_updates(parity: Parity, card_run: PlannedRun) -> None:
    compare_updates(
        parity, FORMULA, card_run, {"windows": [16] * 190, "scales": [1 / 16] * 3040, "rates": card_rates()}
    )


@pytest.mark.slow
def test_the_cards_log(parity: Parity, card_run: PlannedRun) -> None:
    parity.equal(LOG, PUBLISHED, card_run.log, log_of(card_log()))


@pytest.mark.slow
def test_the_cards_checkpoint_is_kept(parity: Parity, card_run: PlannedRun) -> None:
    kept = "update whose weights are kept, given the card's evaluations"
    parity.equal(kept, PUBLISHED, [card_run.saved_step], [SAVED_STEP])


@pytest.mark.slow
def test_the_card_that_we_write_has_the_cards_log(parity: Parity, card_run: PlannedRun) -> None:
    result = EvaluationResult("tiny", "letters", 1, 1, 768, {dim: {"map@100": 0.5} for dim in CARD_DIMS})
    whole = record(base=result, tuned=result, selected="map@100/dim_128", updates=190)
    whole = replace(whole, history=tuple(card_run.rows), saved_step=card_run.saved_step)
    (log,) = [table for table in tables(model_card(whole)) if table[0][:2] == ["Epoch", "Step"]]
    bold = [all(cell.startswith("**") and cell.endswith("**") for cell in row) for row in log[1:]]
    rows = [[cell.strip("*") for cell in row] for row in log[1:]]
    shown = [(float(row[0]), int(row[1]), *map(number, row[3:])) for row in rows]

    published = card_log()
    theirs = [(row["epoch"], int(row["step"]), *map(row.get, METRICS)) for row in published]
    assert log[0][3:] == [f"dim_{dim}_cosine_map@100" for dim in CARD_DIMS]
    parity.equal("log in our model card: epoch, step, the card's evaluations", PUBLISHED, shown, theirs)
    losses = ["training_loss" in row for row in published]
    parity.equal("log in our model card: rows with a training loss", PUBLISHED, [row[2] != "-" for row in rows], losses)
    parity.equal("log in our model card: bold row", PUBLISHED, bold, [row["step"] == SAVED_STEP for row in published])


def number(cell: str) -> float | None:
    return None if cell == "-" else float(cell)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if sizes == CARD else ()) for name, sizes in RUNS.items()]
)
def test_flush_is_transformers_5(parity: Parity, tmp_path: Path, name: str) -> None:
    theirs = transformers_plan.record(RUNS[name].for_transformers())
    compare(parity, release("transformers"), run_of(RUNS[name], tmp_path, across_epochs="flush"), theirs)


@pytest.fixture(scope="module")
def oldest(oldest_release: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the Trainer of transformers 4.44 makes of every run, by the run's name."""
    folder = tmp_path_factory.mktemp("oldest")
    runs = [sizes.for_transformers() for sizes in RUNS.values()]
    answer = read_json(in_oldest_release(oldest_release, Path(transformers_plan.__file__), runs, folder))
    assert f"transformers {answer['transformers']}" == OLDEST_TRANSFORMERS
    return dict(zip(RUNS, answer["runs"], strict=True))


@pytest.mark.release_3_0_1
@pytest.mark.parametrize("name", RUNS)
def test_carry_is_transformers_4(
    parity: Parity, oldest: dict[str, Any], card_run: PlannedRun, tmp_path: Path, name: str
) -> None:
    ours = card_run if RUNS[name] == CARD else run_of(RUNS[name], tmp_path, across_epochs="carry")
    compare(parity, OLDEST_TRANSFORMERS, ours, oldest[name])
