"""A run in numbers before it starts: on the terminal, as plan.json and as a figure of its learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from matryoshka.durations import in_words
from matryoshka.report.figures.metric_figure import save_figure
from matryoshka.report.figures.schedule import Schedule, heading, schedule_figure, shown
from matryoshka.report.terminal.lines import console, plain_table, say
from matryoshka.storage.atomic import write_json
from matryoshka.training.checkpoints.disk import bytes_on_disk
from matryoshka.training.flops import USUAL_SHARE, seconds_on
from matryoshka.training.plan import TrainingPlan

if TYPE_CHECKING:
    from matryoshka.evaluation.tokenized_set import TokenizedSet
    from matryoshka.memory.estimate import MemoryEstimate


@dataclass(frozen=True)
class Measured:
    """A set of queries: how many, over how many documents."""

    queries: int
    documents: int

    @classmethod
    def of(cls, texts: TokenizedSet) -> Measured:
        """Of what a run measures."""
        return cls(len(texts.data.queries), len(texts.data.corpus))

    def __str__(self) -> str:
        return f"{self.queries:,} queries over {self.documents:,} documents"


@dataclass(frozen=True)
class RunPlan:
    """What a run will do and need.

    pairs, batch_size: of the training; training: its micro-batches and updates. schedule: its rates. after_epochs:
    measured after each epoch, by the metric `selected`; at_ends: before and after training. memory, available: bytes
    at the peak, and what there is (None: unknown). weights: bytes of the encoder; saved: whether a model is written;
    blended: whether the weights before training are kept.
    operations: floating-point operations of the training's products.
    """

    name: str
    stand_in: tuple[str, ...]
    pairs: int
    batch_size: int
    training: TrainingPlan
    schedule: Schedule
    selected: str
    after_epochs: Measured
    at_ends: Measured
    memory: MemoryEstimate
    available: float | None
    weights: int
    saved: bool
    blended: bool = False
    operations: float = 0.0

    @property
    def disk(self) -> tuple[int, int]:
        """Bytes at the most, and bytes that stay: checkpoints while training, then the model from them."""
        model = self.weights if self.saved else 0
        return bytes_on_disk(self.memory.gradients, self.memory.optimizer, model, start=self.blended)

    @property
    def notes(self) -> Iterator[str]:
        """What a reader may not expect of the schedule."""
        schedule, evaluations = self.schedule, len(self.training.epoch_ends)
        if schedule.peak < schedule.full:
            yield f"the rate never reaches {shown(schedule.full)}: the run ends within the warm-up"
        if schedule.lowest == schedule.rates:
            times = "1 evaluation" if evaluations == 1 else f"{evaluations} evaluations"
            yield f"the rate cannot fall within {times}, of which the first sets the mark; more epochs would let it"

    def as_dict(self) -> dict[str, Any]:
        """Plain values; the rate of every update included."""
        training, schedule, (most, stays) = self.training, self.schedule, self.disk
        return {
            "name": self.name,
            "stand_in": list(self.stand_in),
            "training_pairs": self.pairs,
            "pairs_in_a_micro_batch": self.batch_size,
            "micro_batches_in_an_update": training.accumulation,
            "micro_batches": list(training.micro_batches),
            "updates": training.updates,
            "evaluated_after": training.epoch_ends,
            "selected": self.selected,
            "evaluation_after_an_epoch": asdict(self.after_epochs),
            "evaluation_before_and_after": asdict(self.at_ends),
            "schedule": {
                "name": schedule.name,
                "warmup_updates": schedule.warmup,
                "first": schedule.rates[0],
                "peak": schedule.peak,
                "last": schedule.rates[-1],
                "goes_by_the_metric": schedule.lowest is not None,
                "rates": list(schedule.rates),
                "lowest_rates": None if schedule.lowest is None else list(schedule.lowest),
            },
            "notes": list(self.notes),
            "memory": {"peak": self.memory.peak, "available": self.available, **asdict(self.memory)},
            "disk": {"most": most, "stays": stays},
            "operations": self.operations,
            "seconds_at_share": {"share": USUAL_SHARE, **seconds_on(self.operations)},
        }


def show_plan(plan: RunPlan) -> None:
    """Rates, evaluations and files in a line each, and a row an epoch."""
    most, stays = (f"{size / 1e6:,.0f} MB" for size in plan.disk)
    say("rates", heading(plan.schedule))
    for note in plan.notes:
        console.print(Text.assemble(("          ", ""), (note, "yellow")), soft_wrap=True)
    say(
        "measured",
        f"before and after training {plan.at_ends}; after each epoch {plan.after_epochs}, by {plan.selected}",
    )
    say("disk", f"checkpoints and weights of {most} at the most while it runs, {stays} afterwards")
    say("products", _on_gpus(plan.operations))
    console.print(_epochs(plan))


def _on_gpus(operations: float) -> str:
    """What the training would take on GPUs that one can rent."""
    spent = {
        name: in_words(seconds) if seconds >= 1 else "under 1 s" for name, seconds in seconds_on(operations).items()
    }
    times = ", ".join(f"{name} {words}" for name, words in spent.items())
    return f"{operations / 1e12:,.3g} TFLOP; one GPU at {USUAL_SHARE:.0%} of its bf16 rate (MFU, assumed): {times}"


def write_plan(folder: Path, plan: RunPlan) -> dict[str, Path]:
    """plan.json, and the schedule as .png and .svg; their paths, by what they are."""
    figure = save_figure(schedule_figure(plan.schedule, plan.training.epoch_ends), folder / "schedule")
    return {"plan": write_json(folder / "plan.json", plan.as_dict()), "schedule": figure[0]}


def _epochs(plan: RunPlan) -> Table:
    """For each epoch what it reads, and the update and rate at which it is evaluated."""
    training, rates = plan.training, plan.schedule.rates
    at_most = ", at most" if plan.schedule.lowest else ""
    table = plain_table()
    for column in ("epoch", "micro-batches", "updates", "in all", f"rate at its end{at_most}"):
        table.add_column(column, justify="right")
    done = 0
    for epoch, end in enumerate(training.epoch_ends):
        count = training.micro_batches[epoch]
        table.add_row(str(epoch + 1), f"{count:,}", f"{end - done:,}", f"{end:,}", shown(rates[end - 1]))
        done = end
    return table
