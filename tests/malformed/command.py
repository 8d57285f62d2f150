"""A user's command in this process, up to where the weights would be used: what it says, and what it leaves behind."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from matryoshka.cli import app
from matryoshka.config.resolvers import register_resolvers
from tests.composing import Primary, composed

OUT = "outputs/run"


class Accepted(BaseException):
    """The input was taken: the work would begin now."""


@dataclass(frozen=True)
class Outcome:
    """code: of the exit, 0 where the input was accepted. err: what the user reads."""

    code: int
    out: str
    err: str


def run(words: tuple[str, ...], folder: Path, program: Primary = "train", *, load_model: bool = False) -> Outcome:
    """`python train.py ...` in a folder. load_model: with the model read too, and not only the data.

    Everything is the program's own but for Hydra's start and what comes after the input is read.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(patch.object(sys, "argv", [f"{program}.py", *words]))
        stack.enter_context(patch.object(app, "hydra", SimpleNamespace(main=_started(folder, program))))
        stack.enter_context(_stopping(load_model))
        stack.enter_context(_logged(err))
        try:
            app._run(program)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        except Accepted:
            code = 0
        else:
            code = 0
    return Outcome(code, out.getvalue(), err.getvalue())


def _started(folder: Path, program: Primary) -> Any:
    """What stands in for hydra.main: it composes from what is composed already, and makes no folder."""

    def main(**_: Any) -> Any:
        def decorated(task: Any) -> Any:
            def call() -> None:
                register_resolvers()
                config = _composed(tuple(sys.argv[1:]), program)
                job = {"name": program, "config_name": program}
                runtime = {"output_dir": str(folder / OUT), "choices": {}}
                HydraConfig.instance().cfg = OmegaConf.create(  # type: ignore[assignment]
                    {"hydra": {"mode": RunMode.RUN, "job": job, "runtime": runtime}}
                )
                task(config)

            return call

        return decorated

    return main


_composed = functools.cache(lambda words, program: composed(*words, primary=program))


@contextlib.contextmanager
def _stopping(load_model: bool) -> Iterator[None]:
    """Ends the task where the encoder has been loaded, or would be."""
    from matryoshka.tasks import evaluate, loading
    from matryoshka.tasks.loading import load_encoder

    def stop(config: Any) -> Any:
        if load_model:
            load_encoder(config)
        raise Accepted

    with patch.object(loading, "load_encoder", stop), patch.object(evaluate, "load_encoder", stop):
        try:
            yield
        finally:
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None


@contextlib.contextmanager
def _logged(stream: io.StringIO) -> Iterator[None]:
    """What is logged is read by the user too, as with Hydra's own handler; but not where the results go."""
    root, handler = logging.getLogger(), logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
