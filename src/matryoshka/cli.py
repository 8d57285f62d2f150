"""The command line: words to a checked configuration, to a task. A mistake of the user exits with 2."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

# Hydra would otherwise print its own summary of an error and hide ours. It reads this when it is imported.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from matryoshka.config.hydra_errors import hydra_message
from matryoshka.config.resolvers import register_resolvers
from matryoshka.errors import UserError

log = logging.getLogger("matryoshka")

USAGE = "usage: matryoshka {train,evaluate} [options and overrides]; matryoshka train --help shows all choices"
Task = Callable[[Mapping[str, Any], Path], float]
Check = Callable[[Mapping[str, Any]], None]


def configuration_folder() -> Path:
    """conf/ of the checkout, or the copy inside the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parents[1] / "conf"
    return checkout if (checkout / "train.yaml").is_file() else package / "conf"


def train() -> None:
    """`python train.py`: train, measure, save."""
    _run("train", _train)


def evaluate() -> None:
    """`python evaluate.py`: measure a model."""
    _run("evaluate", _evaluate)


def main() -> None:
    """The console script: `matryoshka train ...` and `matryoshka evaluate ...`."""
    commands = {"train": train, "evaluate": evaluate}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        if sys.argv[1:2] in (["-h"], ["--help"]):
            sys.stdout.write(f"{USAGE}\n")
            sys.exit()
        _exit(2, USAGE)
    command = sys.argv.pop(1)
    sys.argv[0] = f"matryoshka {command}"
    commands[command]()


def _run(name: str, job: Callable[[DictConfig], float]) -> None:
    register_resolvers()
    # argparse reads overrides only in one piece; people put -m anywhere.
    sys.argv[1:] = sorted(map(as_text, sys.argv[1:]), key=lambda word: word not in ("-m", "--multirun"))
    decorated = hydra.main(version_base="1.3", config_path=str(configuration_folder()), config_name=name)(job)
    try:
        decorated()
        _exit_if_jobs_failed()
    except UserError as error:
        _exit(2, str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _exit(2, hydra_message(error, configuration_folder(), name, sys.argv[1:]))
    except KeyboardInterrupt:
        _exit(130, "interrupted")
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if _is_hydras(error):
            _exit(2, hydra_message(error, configuration_folder(), name, sys.argv[1:]))
        log.exception("failed")
        sys.exit(1)


def as_text(word: str) -> str:
    """A question as Hydra's grammar wants a text, in quotes; the shell has taken the user's own away."""
    key, _, text = word.partition("=")
    if key != "ask" or text[:1] in ("'", '"') or text in ("", "null"):
        return word
    escaped = re.sub(r"(\\*)('|$)", lambda end: 2 * end[1] + (r"\'" if end[2] else ""), text.replace("${", r"\${"))
    return f"ask='{escaped}'"


def _exit_if_jobs_failed() -> None:
    sweep = sys.modules.get("matryoshka.tasks.sweep")  # imported by Hydra, as a callback, for a multirun alone
    if sweep and sweep.SweepSummary.failed:
        failed = sweep.SweepSummary.failed.copy()
        sweep.SweepSummary.failed.clear()
        _exit(1, f"{len(failed)} jobs failed, each with its reason in its own log: {', '.join(failed)}")


def _is_hydras(error: Exception) -> bool:
    """Whether Hydra itself raised it over the words of the command: a few of these are plain ValueErrors."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ValueError) and bool(frames) and frames[-1].startswith("hydra.")


def _train(config: DictConfig) -> float:
    from matryoshka.config.validation import check_training

    return _job(config, check_training, "doctor" if config.get("task") == "doctor" else "train")


def _evaluate(config: DictConfig) -> float:
    from matryoshka.config.validation import check_comparison, check_evaluation

    if config.get("compare") is not None:
        return _job(config, check_comparison, "compare")
    return _job(config, check_evaluation, "evaluate")


def _job(config: DictConfig, check: Check, task_name: str) -> float:
    from matryoshka.config.validation import checked

    folder = Path(HydraConfig.get().runtime.output_dir)
    alone = HydraConfig.get().mode != RunMode.MULTIRUN
    try:
        plain = checked(config, check)
        log.info("results go to %s", folder)  # at once: loading what follows takes seconds
        task: Task = getattr(import_module(f"matryoshka.tasks.{task_name}"), task_name)
        value = task(plain, folder)
        if alone:
            _remove_if_unused(folder)  # as after a question, whose answer is only shown
        return value
    except KeyboardInterrupt:
        _exit(130, f"interrupted; what was written until then is in {folder}")
    except UserError as error:
        if alone:
            _remove_if_unused(folder)
            _exit(2, str(error))
        log.error("%s", error)
    except Exception as error:
        log.exception("failed")
        if alone:
            written = folder / f"{HydraConfig.get().job.name}.log"
            _exit(1, f"{type(error).__name__}: {error}; the traceback is in {written}")
    return float("nan")  # a job that failed does not stop a sweep; the summary at its end names it


def _remove_if_unused(folder: Path) -> None:
    """A run that wrote nothing leaves no folder behind: nothing is in it but what Hydra wrote."""
    if folder.is_dir() and all(item.name == ".hydra" or item.suffix == ".log" for item in folder.iterdir()):
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()


def _exit(code: int, message: str) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    sys.exit(code)
