"""A command before Hydra reads it: its words, its place among several processes, its configuration's folder."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from matryoshka.cli.allocator import let_segments_grow
from matryoshka.cli.exit_codes import ended
from matryoshka.config.resolvers import PICKLED_ASKED
from matryoshka.processes.launched import launched, silence, speaks
from matryoshka.storage.command_words import in_quotes


def configuration_folder() -> Path:
    """conf/ of the checkout, or the copy inside the installed package."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1] / "conf"
    return checkout if (checkout / "train.yaml").is_file() else package / "conf"


def take_place(name: str) -> None:
    """Silence every process that torchrun or srun has started but the first, which has Hydra's folder and log.

    What torch reads when it is imported is set here for all of them, and for those that they start.
    """
    let_segments_grow(os.environ)
    if launched() and name != "train":
        ended(2, f"{name}.py runs in one process; start it without torchrun, and with one task of srun")
    if launched() and sys.argv[1:2] in (["-m"], ["--multirun"]):
        ended(2, "a sweep starts the processes of each job itself: python train.py -m trainer=ddp ...")
    if not speaks():
        silence()
        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        sys.argv += [f"hydra.run.dir={folder}/none", "hydra.output_subdir=null", "hydra/job_logging=none"]


def note_pickled_weights(words: Iterable[str]) -> None:
    """Let the resolver of the card's recipe know whether a command asks for pickled weights, in all of its processes.

    It decides between groups, before Hydra has put the words in their places.
    """
    pairs = (word.lstrip("+").partition("=") for word in words)
    values = [value for key, _, value in pairs if key == "encoder.pickled_weights"]
    if values and values[-1].lower() == "true":
        os.environ[PICKLED_ASKED] = "true"


def as_text(word: str) -> str:
    """A question as Hydra's grammar wants a text, in quotes; the shell has taken the user's own away."""
    key, _, text = word.partition("=")
    if key != "ask" or text[:1] in ("'", '"') or text in ("", "null"):
        return word
    return f"ask={in_quotes(text)}"
