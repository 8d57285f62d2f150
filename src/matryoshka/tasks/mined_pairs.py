"""What a mining leaves to be trained on: pairs with negatives, the dev pairs, and the command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from matryoshka.config.overrides import quoted_list
from matryoshka.config.recipe import TrainingRecipe
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import PairFiles
from matryoshka.data.split import Split
from matryoshka.report.terminal.lines import as_typed
from matryoshka.storage.atomic import saying_if_full, whole_file
from matryoshka.storage.command_words import quoted

DIGITS = 6  # of a score
LEFT_OUT = ("task", "mining", "data", "split", "resume", "sampler.clashes")  # words of the command that are given anew


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """JSON lines, whole or not at all; returns the path."""
    with saying_if_full(path), whole_file(path) as file:
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
    return path


def mined_row(
    anchor: str, positive: str, negatives: Sequence[str], positive_score: float, scores: Sequence[float]
) -> dict[str, Any]:
    """A row of train.jsonl."""
    names = [f"negative_{i}" for i in range(1, len(negatives) + 1)]
    return {
        "anchor": anchor,
        "positive": positive,
        **dict(zip(names, negatives, strict=True)),
        "positive_teacher": round(positive_score, DIGITS),
        **{f"{name}_teacher": round(score, DIGITS) for name, score in zip(names, scores, strict=True)},
    }


def pair_rows(data: RetrievalSet, id_column: str) -> Iterator[dict[str, str]]:
    """Each query with each of its right answers, with an id that data.sources makes the same ids of."""
    for query, text in data.queries.items():
        own = query.removeprefix("q-")
        for document in data.grades[query]:
            name = own if document == f"d-{own}" and len(data.grades[query]) == 1 else f"{query} {document}"
            yield {id_column: name, "anchor": text, "positive": data.corpus[document]}


def write_held_out(folder: Path, recipe: TrainingRecipe, split: Split) -> dict[str, str]:
    """The words of data=pairs for what is held out; what no file of the user's has as it is, is written.

    Such a file is that of the user's own evaluation, if its columns have the names that are written here, and if no
    separator or encoding is given: one holds for all files, and those written here are UTF-8.
    """
    source, words = recipe.data, {"data.name": quoted(recipe.data.name)}
    files = source if isinstance(source, PairFiles) and _as_written_here(source) else None
    id_column = (files.id or "id") if files else "id"
    if files:
        words |= {"data.evaluation": quoted(files.evaluation)}
        words |= {"data.documents": quoted_list(files.documents)} if files.documents else {}
    else:
        words["data.evaluation"] = _written(folder / "evaluation.jsonl", pair_rows(split.test, id_column))
        answers = {document for query in split.test.queries for document in split.test.grades[query]}
        others = [{"positive": text} for name, text in split.test.corpus.items() if name not in answers]
        if others:
            words["data.documents"] = f"[{_written(folder / 'documents.jsonl', others)}]"
    if files is None or files.id:
        words["data.id"] = quoted(id_column)
    if split.dev is not None and files and files.dev is not None:
        words["data.dev"] = quoted(files.dev)
    elif split.dev is not None:
        words["data.dev"] = _written(folder / "dev.jsonl", pair_rows(split.dev, id_column))
    return words


def training_command(folder: Path, recipe: TrainingRecipe, split: Split, held_out: Mapping[str, str]) -> str:
    """The command that trains on train.jsonl, with the words that this run was given, but for those of its data.

    As each negative is the positive of other rows, equal texts must be allowed to meet in a batch.
    """
    negatives = [f"negative_{i}" for i in range(1, recipe.mining.per_row + 1)]
    every = str(recipe.config["negatives"].get("_target_")).endswith(".EveryOther")
    words = {
        "data": "pairs",
        "data.train": quoted(str(as_typed(folder / "train.jsonl"))),
        **held_out,
        "data.negatives": quoted_list(negatives),
        "data.numbers": "[teacher]",
        "split": "dev" if split.dev is not None else "same",
        **({"sampler.clashes": "mask"} if "clashes" in recipe.config["sampler"] and not every else {}),
    }
    own = [word for word in _words(folder) if not _left_out(word)]
    return shlex.join(["python", "train.py", *own, *(f"{key}={value}" for key, value in words.items())])


def _as_written_here(source: PairFiles) -> bool:
    return (source.anchor, source.positive, source.separator, source.encoding) == ("anchor", "positive", None, None)


def _written(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    return quoted(str(as_typed(write_lines(path, rows))))


def _words(folder: Path) -> list[str]:
    """The words of the command that began in this folder, as Hydra wrote them."""
    try:
        return [str(word) for word in yaml.safe_load((folder / ".hydra/overrides.yaml").read_text(encoding="utf-8"))]
    except (OSError, yaml.YAMLError, TypeError):
        return []


def _left_out(word: str) -> bool:
    key = word.lstrip("+~").partition("=")[0]
    return key in LEFT_OUT or key.partition(".")[0] in ("mining", "data", "split")
