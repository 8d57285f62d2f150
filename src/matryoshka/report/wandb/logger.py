"""Weights & Biases through Lightning's logger: offline by itself where no account is set up or no network is there."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le
from pytorch_lightning.loggers import WandbLogger

from matryoshka.report.record import TrainingRecord
from matryoshka.report.wandb import names
from matryoshka.report.wandb.contents import flat_config, sets_row, summary_of, tables_of, tags_of
from matryoshka.report.wandb.names import sync_command

log = logging.getLogger(__name__)

Mode = Literal["auto", "online", "offline"]


class RunLogger(WandbLogger):
    """Lightning's logger, with our update count as the x axis and a summary equal to results.json at the end.

    choices: what a sweep chose for this run; empty for a single run. own_tags: whether the user gave the run's tags.
    artifact: whether the model folder is uploaded.
    """

    def __init__(self, run: Any, folder: Path, choices: Sequence[str], own_tags: bool, artifact: bool) -> None:
        super().__init__(experiment=run, save_dir=str(folder))
        self.folder, self.choices, self.own_tags, self.artifact = folder, choices, own_tags, artifact
        self.closed = False

    def log_hyperparams(self, params: Any) -> None:
        """The configuration under dotted keys, and what of it becomes a tag."""
        shown = {key: value for key, value in params.items() if key != "logger"}
        self.experiment.config.update(flat_config(shown), allow_val_change=True)
        if not self.own_tags:
            self.experiment.tags = tags_of(params, self.choices)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row; `update` is the x axis, so that several rows may share one update."""
        row = {names.name_of(name): value for name, value in metrics.items()}
        self.experiment.log({**row, names.UPDATE: step or 0})

    def finish_record(self, record: TrainingRecord, folder: Path) -> None:
        """Write summary, tables, figure and, where wished, the model; close the run and say how to upload it."""
        import wandb

        if record.sets:  # beside those of the base, at update 0
            self.log_metrics(sets_row(record), record.saved_step)
        self.experiment.summary.update(summary_of(record))
        try:
            self._add_files(record, folder)
        except wandb.Error as error:  # online, wandb asks the service before it takes any
            log.warning("W&B: tables, figure and model are not all there (%s)", _first_line(error))
        self._close(0)
        if self.experiment.offline and not self.choices:  # a sweep says it once, at its end
            log.info("W&B: kept offline; upload it with: %s", sync_command(folder))

    def finalize(self, status: str) -> None:
        """Close a run that ends early: else the next job of a sweep would write into it.

        status: `failed`, or `pruned`, which is no failure.
        """
        if status == "pruned" and not self.closed:
            self.experiment.summary[names.PRUNED] = True
        if status != "success":
            self._close(0 if status == "pruned" else 1)

    def _add_files(self, record: TrainingRecord, folder: Path) -> None:
        import wandb

        for name, columns, rows in tables_of(record):
            self.experiment.log({name: wandb.Table(columns=list(columns), data=list(rows))})
        self.experiment.log({names.FIGURE: wandb.Image(str(folder / f"{names.FIGURE}.png"))})
        if self.artifact and (folder / "model").is_dir():
            self._add_model(record, folder / "model")

    def _add_model(self, record: TrainingRecord, model: Path) -> None:
        """The model folder. Its weights are the best; where these are the last as well, both aliases lead to it."""
        import wandb

        name = re.sub(r"[^\w.-]", "-", f"{record.name}-{self.experiment.id}")
        metadata = {"selected": record.selected, names.SELECTED: record.selected_value, "update": record.saved_step}
        artifact = wandb.Artifact(name, type="model", metadata=metadata)
        artifact.add_dir(str(model), policy="immutable")  # no second copy on this disk
        aliases = ["best", "last"] if record.saved_step == record.updates and not record.blended else ["best"]
        self.experiment.log_artifact(artifact, aliases=aliases)

    def _close(self, exit_code: int) -> None:
        if self.closed:
            return
        self.closed = True
        try:
            self.experiment.finish(exit_code)
        except TimeoutError:
            kept = Path(self.experiment.dir).parent
            log.warning("W&B: not everything was uploaded in time; upload the rest with: wandb sync %s", kept)


def wandb_logger(
    save_dir: str,
    project: str = "matryoshka",
    name: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] | None = None,
    choices: Sequence[str] = (),
    mode: Mode = "auto",
    artifact: bool = False,
    init_timeout: Annotated[float, Gt(0), Le(86_400), "20"] = 20,
    finish_timeout: Annotated[float, Gt(0), Le(86_400), "300"] = 300,
) -> RunLogger:
    """A logger that writes below save_dir.

    choices: what a sweep chose for this run, as in `lr 2e-05`; they are its name unless one is given, and among its
    tags unless these are given. mode auto: online with an account, else offline. If the service does not answer within
    init_timeout seconds the run goes on offline, with a line saying so; finish_timeout: seconds that the end may take
    to upload.
    """
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it waits for a silent service at the process's end
    settings = wandb.Settings(
        console="off",
        init_timeout=init_timeout,
        login_timeout=init_timeout,
        finish_timeout=finish_timeout,
        finish_timeout_raises=True,
    )
    options: dict[str, Any] = {
        "name": name or " · ".join(choices) or Path(save_dir).name,
        "project": project,
        "group": group,
        "job_type": job_type or ("sweep" if choices else "train"),
        "tags": list(tags or ()),
        "dir": save_dir,
        "settings": settings,
    }
    run = _started(options, offline=mode == "offline" or (mode == "auto" and not has_account()))
    run.define_metric("*", step_metric=names.UPDATE)
    return RunLogger(run, Path(save_dir), choices, own_tags=tags is not None, artifact=artifact)


def _started(options: dict[str, Any], offline: bool) -> Any:
    """The run: online where that is wished and the service answers."""
    import wandb

    if not offline:
        try:
            return wandb.init(mode="online", **options)
        except (wandb.errors.CommError, wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
            log.warning("W&B cannot be reached (%s); going on offline", _first_line(error))
    return wandb.init(mode="offline", **options)


def has_account() -> bool:
    """Whether wandb finds a key, without asking the network. WANDB_MODE decides where it is set."""
    import wandb

    if mode := os.environ.get("WANDB_MODE"):
        return mode == "online"
    try:
        return bool(wandb.login(prompt=False, verify=False))
    except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
        log.warning("W&B: the account that is set up cannot be used (%s)", _first_line(error))
        return False


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
