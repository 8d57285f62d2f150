"""A job of a sweep: what became of it stands in its folder, and ends nothing."""

from __future__ import annotations

import logging
import math
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser

from matryoshka.errors import DiskFullError, NotPushedError, PrunedError, UserError
from matryoshka.processes.signals import stopped_by_signals

log = logging.getLogger("matryoshka")

Start = Callable[[Mapping[str, Any], Path], float]


def in_a_sweep(folder: Path, checked: Callable[[], dict[str, Any]], start: Start) -> float:
    """Start the job unless it is done; returns the selecting metric, NaN where it came to nothing.

    checked: makes its configuration.
    """
    from matryoshka.sweep.jobs import config_hash, forget_attempt, goes_on, running
    from matryoshka.sweep.status import Status, progress, read_status

    begun = time.perf_counter()
    status = Status("running", "", _settings())
    with running(folder):
        before = read_status(folder)
        try:
            plain = checked()
            status = replace(status, config_hash=config_hash(plain))
            if before and before.state == "done" and before.config_hash == status.config_hash:
                log.info("done before, by another process")
                return float("nan") if before.objective is None else before.objective
            if before and not goes_on(folder, status.config_hash):
                forget_attempt(folder)
            status.write(folder)
            with stopped_by_signals():
                value = start(plain, folder)
            status = replace(status, state="done", objective=value if math.isfinite(value) else None)
        except DiskFullError:
            raise  # nothing more can be written: the job stays `running`, and goes on with the same command
        except PrunedError as error:
            log.info("%s", error)
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # weights that nobody asked for
            status = replace(status, state="pruned", objective=error.value)
        except (UserError, NotPushedError) as error:
            log.error("%s", error)
            status = replace(status, state="failed", error=str(error))
        except Exception as error:
            log.exception("failed")
            line = f"{type(error).__name__}: {error}"
            status = replace(status, state="failed", error=line, traceback=traceback.format_exc())
        status = replace(status, seconds=round(time.perf_counter() - begun, 1))
        status.write(folder)
    if line := progress(Path(HydraConfig.get().sweep.dir)):
        log.info("sweep: %s", line)
    return float("nan") if status.objective is None else status.objective


def _settings() -> dict[str, Any]:
    """The job's overrides by key, without those that do not name its folder either."""
    words = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    left_out = HydraConfig.get().job.config.override_dirname.exclude_keys
    return {word.key_or_group: word.value() for word in words if word.key_or_group not in left_out}
