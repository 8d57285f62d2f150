"""The command line: words to a checked configuration, to a task. A mistake of the user exits with 2."""

from __future__ import annotations

import atexit
import logging
import os
import re
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn

# Hydra would otherwise print its own summary of an error and hide ours. It reads this when it is imported.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from matryoshka.cli import job
from matryoshka.cli.dashboard import dashboard
from matryoshka.cli.hydra_errors import hydra_message
from matryoshka.config.secrets import words_with_secrets
from matryoshka.errors import ConfigError, DiskFullError, JobsFailedError, StoppedError, UserError
from matryoshka.processes.launched import launched, silence, speaks
from matryoshka.storage.atomic import saying_if_full
from matryoshka.storage.credentials import shown

log = logging.getLogger("matryoshka")

USAGE = "usage: matryoshka {train,evaluate,dashboard} [options and overrides]; matryoshka train --help shows choices"


def configuration_folder() -> Path:
    """conf/ of the checkout, or the copy inside the installed package."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1] / "conf"
    return checkout if (checkout / "train.yaml").is_file() else package / "conf"


def train() -> None:
    """`python train.py`: train, measure, save."""
    _run("train")


def evaluate() -> None:
    """`python evaluate.py`: measure a model."""
    _run("evaluate")


def main() -> None:
    """The console script: `matryoshka train ...`, `matryoshka evaluate ...` and `matryoshka dashboard ...`."""
    commands = {"train": train, "evaluate": evaluate, "dashboard": dashboard}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        if sys.argv[1:2] in (["-h"], ["--help"]):
            sys.stdout.write(f"{USAGE}\n")
            sys.exit()
        _exit(2, USAGE)
    command = sys.argv.pop(1)
    sys.argv[0] = f"matryoshka {command}"
    commands[command]()


def _run(name: str) -> None:
    # argparse reads overrides only in one piece; people put -m anywhere.
    sys.argv[1:] = sorted(map(as_text, sys.argv[1:]), key=lambda word: word not in ("-m", "--multirun"))
    if found := words_with_secrets(sys.argv[1:]):
        _exit(2, str(ConfigError(found)))
    _take_place(name)
    logging.raiseExceptions = False  # where the disk of the log is full, what matters is said otherwise
    decorated = hydra.main(version_base="1.3", config_path=str(configuration_folder()), config_name=name)(job.run)
    try:
        with saying_if_full(Path.cwd() / "outputs"):
            decorated()
    except UserError as error:
        _exit(2, str(error))
    except JobsFailedError as error:
        _exit(1, str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _exit(2, hydra_message(error, configuration_folder(), name, sys.argv[1:]))
    except DiskFullError as error:
        _exit(1, f"{error}; make room on that disk")
    except KeyboardInterrupt:
        _exit(130, "interrupted")
    except StoppedError as stop:  # in a sweep
        _exit(128 + stop.number, f"{stop}; the same command goes on")
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if _is_hydras(error):
            _exit(2, hydra_message(error, configuration_folder(), name, sys.argv[1:]))
        log.exception("failed")
        sys.exit(1)


def _take_place(name: str) -> None:
    """Of the processes that torchrun or srun has started, the first alone has Hydra's folder and log, and speaks."""
    if launched() and name != "train":
        _exit(2, f"{name}.py runs in one process; start it without torchrun, and with one task of srun")
    if launched() and sys.argv[1:2] in (["-m"], ["--multirun"]):
        _exit(2, "a sweep starts the processes of each job itself: python train.py -m trainer=ddp ...")
    if not speaks():
        silence()
        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        sys.argv += [f"hydra.run.dir={folder}/none", "hydra.output_subdir=null", "hydra/job_logging=none"]


def as_text(word: str) -> str:
    """A question as Hydra's grammar wants a text, in quotes; the shell has taken the user's own away."""
    key, _, text = word.partition("=")
    if key != "ask" or text[:1] in ("'", '"') or text in ("", "null"):
        return word
    escaped = re.sub(r"(\\*)('|$)", lambda end: 2 * end[1] + (r"\'" if end[2] else ""), text.replace("${", r"\${"))
    return f"ask='{escaped}'"


def _is_hydras(error: Exception) -> bool:
    """Whether Hydra itself raised it over the words of the command: a few of these are plain ValueErrors."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ValueError) and bool(frames) and frames[-1].startswith("hydra.")


def _exit(code: int, message: str) -> NoReturn:
    if speaks():
        sys.stderr.write(f"{shown(message)}\n")
    sys.exit(code)
