"""The command line: `python train.py` and `python evaluate.py`."""

from __future__ import annotations

import logging
import os
import sys

# Hydra would otherwise print its own summary of an error and hide ours. It reads this when it is imported.
os.environ.setdefault("HYDRA_FULL_ERROR", "1")

import hydra

from matryoshka.cli import job
from matryoshka.cli.command_line import configuration_folder, note_pickled_weights, take_place
from matryoshka.cli.exit_codes import ended, mistakes_told
from matryoshka.cli.literal_words import for_hydra
from matryoshka.config.secrets import words_with_secrets
from matryoshka.errors import ConfigError


def train() -> None:
    """`python train.py`: train, measure, save."""
    _run("train")


def evaluate() -> None:
    """`python evaluate.py`: measure a model."""
    _run("evaluate")


def _run(name: str) -> None:
    """Compose the configuration of conf/<name>.yaml and hand it to `job.run`, in one job or in each of a sweep."""
    sys.argv[1:] = for_hydra(sys.argv[1:])
    if found := words_with_secrets(sys.argv[1:]):
        ended(2, str(ConfigError(found)))
    note_pickled_weights(sys.argv[1:])
    take_place(name)
    logging.raiseExceptions = False  # where the disk of the log is full, what matters is said otherwise
    folder = configuration_folder()
    composed = hydra.main(version_base="1.3", config_path=str(folder), config_name=name)(job.run)
    with mistakes_told(folder, name):
        composed()
