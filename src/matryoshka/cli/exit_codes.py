"""How a command ends: 0; 2 with a message for a mistake of the user; 1 for a failure, 128 + its number for a signal."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from matryoshka.cli.hydra_errors import hydra_message
from matryoshka.cli.resuming import going_on, remove_if_unused
from matryoshka.errors import DiskFullError, JobsFailedError, NotPushedError, StoppedError, UserError
from matryoshka.processes.launched import speaks
from matryoshka.storage.atomic import saying_if_full
from matryoshka.storage.credentials import shown

log = logging.getLogger("matryoshka")
ROOM = "make room on that disk"


@contextmanager
def mistakes_told(configuration: Path, name: str) -> Iterator[None]:
    """End the process by what a command raises that no job has told. configuration: conf/."""
    try:
        with saying_if_full(Path.cwd() / "outputs"):
            yield
    except UserError as error:
        ended(2, str(error))
    except JobsFailedError as error:
        ended(1, str(error))
    except (HydraException, OmegaConfBaseException) as error:
        ended(2, hydra_message(error, configuration, name, sys.argv[1:]))
    except DiskFullError as error:
        ended(1, f"{error}; {ROOM}")
    except KeyboardInterrupt:
        ended(130, "interrupted")
    except StoppedError as stop:  # in a sweep
        ended(128 + stop.number, f"{stop}; the same command goes on")
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if _is_hydras(error):
            ended(2, hydra_message(error, configuration, name, sys.argv[1:]))
        log.exception("failed")
        sys.exit(1)


@contextmanager
def job_told(folder: Path) -> Iterator[None]:
    """End the process by what a job that runs alone raises, and say how to go on with what is in its folder."""
    try:
        with saying_if_full(folder):
            yield
    except StoppedError as stop:
        ended(128 + stop.number, f"{stop}; {going_on(folder)}")
    except KeyboardInterrupt:
        ended(130, f"interrupted; {going_on(folder)}")
    except UserError as error:
        remove_if_unused(folder)
        ended(2, str(error))
    except NotPushedError as error:
        ended(1, str(error))
    except DiskFullError as error:
        ended(1, f"{error}; {ROOM}. Nothing that was there before is lost: {going_on(folder)}")
    except Exception as error:
        log.exception("failed")
        if not speaks():  # and so without a log
            sys.stderr.write(shown(traceback.format_exc()))
        written = folder / f"{HydraConfig.get().job.name}.log"
        ended(1, f"{type(error).__name__}: {error}; the traceback is in {written}")


def ended(code: int, message: str) -> NoReturn:
    """End the process; the one that speaks says why."""
    if speaks():
        sys.stderr.write(f"{shown(message)}\n")
    sys.exit(code)


def _is_hydras(error: Exception) -> bool:
    """Whether Hydra itself raised it over the words of the command: a few of these are plain ValueErrors."""
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ValueError) and bool(frames) and frames[-1].startswith("hydra.")
