"""Weights & Biases through Lightning's logger: offline by itself where no account is set up."""

from __future__ import annotations

import logging
import netrc
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import WandbLogger

from matryoshka.report.failures import failures_rows, lost_rows
from matryoshka.report.record import TrainingRecord

log = logging.getLogger(__name__)

Mode = Literal["auto", "online", "offline"]
INIT_TIMEOUT = 20  # seconds to wait for the service before going offline


class RunLogger(WandbLogger):
    """Lightning's logger, with our update count as the x axis and a summary equal to results.json at the end."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """One row; `update` is the x axis, so that several rows may share one update."""
        self.experiment.log({**metrics, "update": step or 0})

    def finish_record(self, record: TrainingRecord, folder: Path) -> None:
        """Write summary, table and figure, close the run (else the jobs of a sweep merge), say how to upload it."""
        import wandb

        run = self.experiment
        run.summary.update({**record.tuned.flat(), "saved_update": record.saved_step, "seconds": record.seconds})
        run.summary.update({f"base/{name}": value for name, value in record.base.flat().items()})
        if record.stand_in:
            run.summary["stand_in"] = "; ".join(record.stand_in)
        if record.split:
            run.summary["split"] = record.split
        if record.selected_value is not None:
            run.summary["selected_value"] = record.selected_value
        names = list(record.tuned.metrics[record.tuned.dims[0]])
        table = wandb.Table(columns=["dim", "model", *names])
        for label, result in (("base", record.base), ("tuned", record.tuned)):
            for dim in result.dims:
                table.add_data(dim, label, *result.metrics[dim].values())
        for baseline in record.baselines:
            for dim in baseline.dims:
                table.add_data(dim, baseline.model, *baseline.metrics[dim].values())
        run.log({"results": table, "metric_against_dim": wandb.Image(str(folder / "metric_against_dim.png"))})
        run.log({name: wandb.Table(columns=list(columns), data=list(rows)) for name, columns, rows in _tables(record)})
        offline, directory = run.offline, Path(run.dir).parent
        wandb.finish()
        if offline:
            log.info("W&B: kept offline; upload it with: wandb sync %s", directory)


def _tables(record: TrainingRecord) -> Iterator[tuple[str, Sequence[str], Sequence[Sequence[Any]]]]:
    """Name, columns and rows of what else a person may want to sort and filter."""
    if record.failures:
        yield "hardest_queries", *failures_rows(record.failures)
        yield "lost_queries", *lost_rows(record.failures)
    if record.deployment:
        options = [asdict(option) for option in record.deployment.options]
        yield "deployment", list(options[0]), [list(option.values()) for option in options]


def wandb_logger(
    save_dir: str,
    project: str = "matryoshka",
    name: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    mode: Mode = "auto",
) -> RunLogger:
    """A logger that writes below save_dir.

    mode auto: online with an account, else offline. If the service cannot be reached within 20 s the run goes on
    offline, with a line saying so.
    """
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    options: dict[str, Any] = {
        "name": name or Path(save_dir).name,
        "project": project,
        "group": group,
        "tags": list(tags),
        "dir": save_dir,
        "settings": wandb.Settings(init_timeout=INIT_TIMEOUT, console="off"),
    }
    offline = mode == "offline" or (mode == "auto" and not has_account())
    try:
        run = wandb.init(mode="offline" if offline else "online", **options)
    except (wandb.errors.CommError, wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
        log.warning("W&B cannot be reached (%s); going on offline", str(error).splitlines()[0])
        run = wandb.init(mode="offline", **options)
    run.define_metric("*", step_metric="update")
    return RunLogger(experiment=run, save_dir=save_dir)


def has_account() -> bool:
    """Whether a key is set up, without asking the network. WANDB_MODE decides where it is set."""
    if mode := os.environ.get("WANDB_MODE"):
        return mode == "online"
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
