"""`matryoshka dashboard`: a W&B workspace for the runs of a project or of a sweep."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from matryoshka.errors import UserError
from matryoshka.storage.atomic import write_atomically


def dashboard(words: Sequence[str] | None = None) -> None:
    """The command; words default to those of the command line. A mistake of the user exits with 2."""
    options = _parser().parse_args(words)
    try:
        _build(options)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


def _build(options: argparse.Namespace) -> None:
    try:
        from matryoshka.report.wandb import workspace
    except ImportError as error:
        raise UserError(
            f"the workspace needs one more package ({error}): pip install 'matryoshka[workspaces]'"
        ) from error
    view = workspace.workspace(options.project, options.dims, options.metric, options.sweep, options.entity)
    if options.write is None:
        sys.stdout.write(f"{workspace.save(view)}\n")
        return
    try:
        write_atomically(options.write, workspace.serialised(view) + "\n")
    except OSError as error:
        raise UserError(
            f"--write {options.write}: {error.strerror}; name a file in a folder that can be written"
        ) from error
    sys.stdout.write(f"wrote {options.write}; nothing was saved in W&B\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="matryoshka dashboard",
        description="Save a W&B workspace: quality and loss at every dim, the sweep, speed and memory, tables.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--entity", default="", help="user or team that owns the project; empty: the account's own")
    parser.add_argument("--project", default="matryoshka", help="the project, logger.project of the runs")
    parser.add_argument("--sweep", help="only runs of this group, logger.group of the runs; none: all of the project")
    parser.add_argument("--dims", type=_dims, default="768,512,256,128,64", help="widths, separated by commas")
    parser.add_argument("--metric", type=_metric, default="ndcg@10", help="a metric of the evaluator, without a dim")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="write what would be saved, as JSON, and save nothing"
    )
    return parser


def _dims(text: str) -> list[int]:
    if not re.fullmatch(r"\[?[1-9]\d*(,[1-9]\d*)*\]?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of widths; write for example 768,256,64")
    return [int(dim) for dim in text.strip("[]").split(",")]


def _metric(text: str) -> str:
    if not text or "/" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: name the metric alone, such as ndcg@10; the dims are --dims")
    return text


if __name__ == "__main__":
    dashboard()
