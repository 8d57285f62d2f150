"""Where a run starts: anew, at a checkpoint of its own, or not at all since it is finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning.loggers import Logger

from matryoshka.errors import UserError
from matryoshka.processes.together import from_first, processes
from matryoshka.report.files import FINISHED
from matryoshka.report.terminal.lines import say
from matryoshka.storage.atomic import remove_unfinished
from matryoshka.sweep.jobs import NOT_COMPARED, config_hash
from matryoshka.tasks.hub_commits import pinned_as_before
from matryoshka.training.callbacks.checkpoint import Checkpoints, rows_trained
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.checkpoints.folder import BrokenCheckpointError, Checkpoint
from matryoshka.training.checkpoints.kept import FOLDER, KeptCheckpoints
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.progress import Progress

Config = Mapping[str, Any]
DECIDED = ("trainer.precision", "tokens_at_once", "compiled_layers")  # by a run, where they are `auto`
AFTER_A_STOP = ("not_finite", "skipped_at_most")  # what may be changed after an update that was not made


@dataclass(frozen=True)
class StartPoint:
    """Where a run starts. kept: its checkpoints. config: with the commits of the hub that it began with.

    before: the configuration that it began with, in which `auto` is decided. finished: the selecting metric's value of
    a run that needs nothing more. checkpoint, state: what to go on from.
    """

    kept: KeptCheckpoints
    config: Config
    before: Config | None = None
    finished: float | None = None
    checkpoint: Checkpoint | None = None
    state: dict[str, Any] | None = None

    @classmethod
    def anew(cls, config: Config, folder: Path) -> StartPoint:
        """Nothing there yet."""
        return cls(KeptCheckpoints(folder), config)

    @classmethod
    def of(cls, config: Config, folder: Path) -> StartPoint:
        """What the folder of the run holds already. config: as a run writes it, but for `auto` precision.

        Raises UserError where it holds a run of another configuration.
        """
        remove_unfinished(folder)
        kept = KeptCheckpoints(folder)
        finished = (folder / FINISHED).is_file() and not (folder / FOLDER).exists()
        if not finished and not kept.lasts():  # nothing, or what was cut off before its first checkpoint
            (folder / "metrics.jsonl").unlink(missing_ok=True)
            shutil.rmtree(
                kept.folder, ignore_errors=True
            )  # best weights without a state, maybe of another configuration
            return cls(kept, config)
        before = saved_config(folder)
        config = pinned_as_before(config, before)
        require_same(folder, before, config)
        if finished and config["export"] and not (folder / "model").is_dir():
            raise UserError(
                f"{folder}: this run is finished and kept no model (export=none); train anew in another folder"
            )
        if finished:
            value = float(json.loads((folder / FINISHED).read_text(encoding="utf-8"))["selected_value"])
            say("done", f"this run is finished: {folder}")
            return cls(kept, config, finished=value)
        return cls(kept, config, before=before)

    def at_checkpoint(self, config: Config) -> StartPoint:
        """With the newest intact checkpoint, if there is one. Raises UserError for one of other data or files."""
        kept = KeptCheckpoints(self.kept.folder.parent, run_hash(config))
        if (found := kept.newest()) is None:
            return replace(self, kept=kept)
        checkpoint, state = found
        if checkpoint.run != kept.run:
            what = "the data's or the model's files, or the version of matryoshka, are others than when it was saved"
            raise UserError(f"{checkpoint.folder}: {what}; bring them back, or begin a new run")
        if (count := len(state["of_step"])) != processes():
            raise UserError(f"{checkpoint.folder}: saved by {count} processes, and here are {processes()}")
        say("resume", f"goes on after update {checkpoint.update}, from {checkpoint.folder}")
        return replace(self, kept=kept, checkpoint=checkpoint, state=state)

    def restore(self, module: EmbeddingModule, checkpoints: Checkpoints, loggers: Sequence[Logger]) -> None:
        """Give the encoder the saved weights, every part its state, and every other logger the rows until then.

        Raises UserError where these are the weights of another model.
        """
        checkpoint, state = self.checkpoint, self.state
        if checkpoint is None or state is None:
            return
        rows, saved = rows_trained(module), state["vocabulary"]
        if (rows is None) != (saved is None) or (rows is not None and not torch.equal(rows, saved)):
            raise UserError(f"{checkpoint.folder}: saved with other rows of the word-embedding table")
        try:
            from_first(lambda: checkpoint.load_weights(module.encoder))
        except BrokenCheckpointError as error:
            raise UserError(str(error)) from error
        from_first(lambda: self.kept.forget_after(checkpoint.update))
        checkpoints.restore()
        for logger in loggers:
            for row in () if isinstance(logger, MetricsFile) else state["of_run"]["log"]["rows"]:
                values = {name: value for name, value in row.items() if name != "step"}
                logger.log_metrics(values, step=int(row["step"]))

    def is_trained(self, plan: TrainingPlan, progress: Progress) -> bool:
        """Whether nothing is left of the training."""
        return self.state is not None and len(progress.selecting) == len(plan.epoch_ends)


def require_same(folder: Path, before: Config, config: Config) -> None:
    """Raises UserError with the keys in which the configuration of the run in a folder is another one."""
    if differing := list(different_keys(before, config)):
        lines = [f"  {key}: {one} there, {other} now" for key, one, other in differing]
        remedy = "give the same values to go on with it, or another hydra.run.dir=... to begin a new one"
        raise UserError("\n".join([f"{folder}: holds a run of another configuration; {remedy}:", *lines]))


def run_hash(config: Config) -> str:
    """Equal for two configurations that train alike."""
    return config_hash(_compared(config))


def different_keys(before: Config, now: Config) -> Iterator[tuple[str, Any, Any]]:
    """(key, value before, value now) of what could change the result; what is `auto` now is what it was before."""
    one, other = _flat(_compared(before)), _flat(_compared(now))
    other |= {key: one.get(key) for key in DECIDED if other.get(key) == "auto"}  # none in a run of an older version
    for key in dict.fromkeys([*one, *other]):
        if one.get(key) != other.get(key):
            yield key, one.get(key), other.get(key)


def _compared(config: Config) -> dict[str, Any]:
    kept = {key: value for key, value in config.items() if key not in (*NOT_COMPARED, *AFTER_A_STOP)}
    kept["trainer"] = {key: value for key, value in config["trainer"].items() if key != "enable_progress_bar"}
    return kept


def _flat(values: Config, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def saved_config(folder: Path) -> dict[str, Any]:
    """The configuration that a run wrote. Raises UserError where it cannot be read."""
    path = folder / "config.yaml"
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        raise UserError(
            f"{path}: cannot be read, so it is not known what run this is; begin in another folder"
        ) from None
