"""The trials, what each counted, and the page of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matryoshka.report.environment.environment import environment
from matryoshka.report.markdown import plain, table
from matryoshka.storage.atomic import write_json


@dataclass(frozen=True)
class Trial:
    """A script of this folder. minutes: what it may take on 2 cores; case: what it counts; claim: what must hold."""

    name: str
    minutes: int
    case: str
    claim: str
    words: tuple[str, ...] = ()


TRIALS = (
    Trial(
        "kill",
        8,
        "runs ended by SIGKILL at a random moment",
        "The same command again ends with the weights, results and log of an undisturbed run, to the bit.",
    ),
    Trial(
        "disk_full",
        3,
        "runs on a file system too small for them",
        "Every earlier checkpoint is whole, and with more room the run ends like an undisturbed one.",
    ),
    Trial(
        "malformed",
        2,
        "malformed data files, configurations and model folders",
        "One message that names the file, line or key and the remedy, exit code 2, nothing half-written.",
    ),
    Trial(
        "fuzz",
        2,
        "files of every reader with bytes changed, cut or joined at random",
        "Read, or refused with a message; no other error, no crash, no hang.",
    ),
    Trial("soak", 5, "long runs", "Memory and open files stay flat over thousands of updates."),
)


@dataclass(frozen=True)
class Outcome:
    """What a trial counted. facts: sentences with what it measured; broken: it ended before it could tell."""

    trial: Trial
    tried: int = 0
    lost: int = 0
    facts: tuple[str, ...] = ()
    took: str = ""
    date: str = ""
    broken: bool = False

    @classmethod
    def read(cls, trial: Trial, record: Path) -> Outcome:
        """What the trial's script, or `write`, wrote."""
        values = json.loads(record.read_text(encoding="utf-8"))
        facts, rest = tuple(values["facts"]), {key: values[key] for key in values.keys() & {"took", "date", "broken"}}
        return cls(trial, values["tried"], values["lost"], facts, **rest)

    def write(self, record: Path) -> None:
        """Keep it, for the page of all trials."""
        write_json(record, {**asdict(self), "trial": self.trial.name})

    @property
    def line(self) -> str:
        """The count in words."""
        if self.broken:
            return f"{self.trial.name}: broke off"
        return f"{self.trial.name}: {self.tried:,} cases tried, {self.lost:,} lost something"


def page(outcomes: Sequence[Outcome]) -> str:
    """docs/reliability.md."""
    facts = environment()
    versions = ", ".join(f"{name} {facts[name]}" for name in ("matryoshka", "torch", "pytorch-lightning", "python"))
    rows = [[plain(item.trial.name), plain(item.trial.case), *_counts(item), item.took, item.date] for item in outcomes]
    parts = [
        "# Reliability",
        "What was tried by force, and what was lost. `make torture` tries it anew and writes this page.",
        table(["trial", "cases", "tried", "lost something", "took", "date"], rows, "left"),
        f"On {facts['processor']}; {versions}. No GPU, and no loss of power, was tried.",
    ]
    for item in outcomes:
        lines = [f"- {plain(fact)}" for fact in item.facts]
        parts += [f"## {item.trial.name}", item.trial.claim, *(["\n".join(lines)] if lines else [])]
    return "\n\n".join(parts) + "\n"


def _counts(outcome: Outcome) -> list[str]:
    return ["broke off", "?"] if outcome.broken else [f"{outcome.tried:,}", f"{outcome.lost:,}"]
