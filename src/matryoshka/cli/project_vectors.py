"""`matryoshka project`: stored vectors through the matrix of a run. Neither torch nor Hydra is imported."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from matryoshka.errors import DiskFullError, StoppedError, UserError, did_you_mean
from matryoshka.processes.signals import stopped_by_signals
from matryoshka.storage.credentials import shown

USAGE = "usage: matryoshka project <run> <in> <out> [dim=128] [dtype=float32] [side=document]"
HELP = f"""\
{USAGE}

Multiply stored vectors by the matrix that a run of task=project fitted, keep the first numbers, and divide each vector
by its length. Rows are read and written block by block: memory stays small, however large the file.

  run     folder of the run, or its projection.safetensors
  in      .npy (by rows), .npz (in.npz:name where it has several arrays) or .parquet (in.parquet:column where it has
          several columns of vectors), of float16, float32 or float64
  out     .npy or .parquet, which keeps the other columns of a Parquet input; appears whole, at the end
  dim     how many numbers to keep; default: all
  dtype   float32 (default), float16, int8 (a byte a number) or binary (a bit a number)
  side    query or document: what the vectors are; needed where the matrix is for queries alone

After it, projection.md in the run's folder says how pgvector, Qdrant and FAISS take the file.
"""
CHOICES = {"dim": (), "dtype": ("float32", "float16", "int8", "binary"), "side": ("query", "document")}
log = logging.getLogger("matryoshka")


def project(words: Sequence[str] | None = None) -> None:
    """The command; words default to those of the command line. Exits with 2 for a mistake of the user."""
    words = sys.argv[1:] if words is None else words
    if {"-h", "--help"} & set(words):
        sys.stdout.write(HELP)
        return
    with _told():
        (run, source, out), options = _understood(words)
        # Blocks are spread over threads, so each product has one. Read when numpy is imported, which is here.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from matryoshka.projection.saved import SavedProjection
        from matryoshka.projection.stream import project as stream
        from matryoshka.projection.vector_files import opened

        saved = SavedProjection.read(run)
        done = stream(saved, opened(source), Path(out), **options)
        sys.stdout.write(f"{shown(str(done))}\n")


def _understood(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """The three paths, and what `stream` takes by name. Raises UserError with every problem of the words."""
    paths, options, problems = [], {}, []
    for word in words:
        split = re.fullmatch(r"(\w+)=(.*)", word, re.DOTALL)
        if split is None or (split[1] not in CHOICES and Path(word).exists()):
            if word.startswith("-"):
                problems.append((word, f"unknown word; options are written {', '.join(f'{key}=' for key in CHOICES)}"))
            else:
                paths.append(word)
            continue
        key, text = split.groups()
        if problem := "is given twice" if key in options else _problem(key, text):
            problems.append((key, problem))
        options[key] = text
    if len(paths) != 3 and not problems:
        given = f": {', '.join(paths)}" if paths else ""
        problems.append(("", f"three paths are needed, run, in and out, and {len(paths)} are given{given}\n{USAGE}"))
    if problems:
        raise UserError("\n".join(f"{key}: {problem}" if key else problem for key, problem in problems))
    names = {"dim": "dim", "dtype": "code", "side": "role"}
    return paths, {names[key]: int(text) if key == "dim" else text for key, text in options.items()}


def _problem(key: str, text: str) -> str | None:
    """What is wrong with an option."""
    if key not in CHOICES:
        return f"unknown key; {did_you_mean(key, CHOICES)} (a path with = in it is written ./{key}=...)"
    if key == "dim":
        return None if re.fullmatch(r"-?\d{1,9}", text, re.ASCII) else f"{text!r} is no whole number; write dim=128"
    if text in CHOICES[key]:
        return None
    return f"there is no {text!r}; {did_you_mean(text, CHOICES[key])}"


@contextmanager
def _told() -> Iterator[None]:
    """End the process by what the work raises; what was begun is removed before."""
    try:
        with stopped_by_signals():
            yield
    except UserError as error:
        _ended(2, str(error))
    except StoppedError as stop:
        _ended(128 + stop.number, f"{stop}; nothing was written")
    except KeyboardInterrupt:
        _ended(130, "interrupted; nothing was written")
    except DiskFullError as error:
        _ended(1, f"{error}; make room on that disk")
    except Exception as error:
        log.exception("failed")
        _ended(1, f"{type(error).__name__}: {error}")


def _ended(code: int, message: str) -> NoReturn:
    sys.stderr.write(f"{shown(message)}\n")
    sys.exit(code)
