"""The configuration of a run that is over, as one that a task of today can build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matryoshka.errors import ConfigError

Config = Mapping[str, Any]
# Of a run that is only looked at: nothing is logged, exported, compared or fitted; its folder has what was fitted.
LEFT_OUT: Config = {"logger": None, "export": None, "projection": None, "baselines": [], "resume": False}
OF_THE_MACHINE = ("accelerator", "devices")  # keys of the trainer


def run_problems(config: Config) -> Iterator[tuple[str, str]]:
    """A task that looks at a run needs its folder."""
    if config.get("task") == "explain" and not config.get("run"):
        yield "run", "is not given; use task=explain run=<folder of a finished run>, as in run=outputs/train/..."


def as_of_then(saved: Config, now: Config, where: str) -> dict[str, Any]:
    """The run's own values, checked. now: those of the command: its task, its device, and keys that the run had not.

    where: the file of the run's values, for errors. Raises ConfigError with every problem that they have today.
    """
    from matryoshka.config.validation import check_training

    known = {key: value for key, value in saved.items() if key in now and key not in ("task", "run")}
    device = {key: now["trainer"][key] for key in OF_THE_MACHINE if key in now["trainer"]}
    trainer = {**(known.get("trainer") or now["trainer"]), **device}
    config = {**now, **known, **LEFT_OUT, "trainer": trainer}
    try:
        check_training(config)
    except ConfigError as error:
        raise ConfigError([(f"{where}: {key}", message) for key, message in error.problems]) from error
    return config
