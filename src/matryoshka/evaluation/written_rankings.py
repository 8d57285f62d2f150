"""The rankings that a run wrote, read again: every query's values, and the hits and texts of a few."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from matryoshka.errors import UserError, did_you_mean
from matryoshka.evaluation.uncertainty import Floats, Ints
from matryoshka.storage.command_words import pasted

Protocol = Literal["as_is", "merged"]
NO_METRICS = ("query", "dim", "protocol", "cluster", "first_hit")
Read = TypeVar("Read")
column = pyarrow.compute.field


@dataclass(frozen=True)
class WrittenRankings:
    """One model's rankings under one protocol, with one metric of every query, in the order of the queries' ids.

    folder: where they are. model, data, fingerprint: as in the run's results. protocol: as in the files, which leave
    `merged` out where there are no copies. values: dim -> (Q,). first_hit: dim -> (Q,), the rank of the first right
    document, from 1; 0 without one.
    """

    folder: Path
    model: str
    data: str
    fingerprint: str
    protocol: Protocol
    query_ids: tuple[str, ...]
    clusters_Q: Ints
    values: Mapping[int, Floats]
    first_hit: Mapping[int, Ints]

    def documents(self, queries: Collection[str]) -> dict[tuple[int, str, int], str]:
        """(dim, query, rank) -> document, for these queries' first hits and all their right ones."""
        wanted = (column("protocol") == self.protocol) & column("query").isin(_ids(queries))
        wanted &= (column("rank") == 1) | column("relevant")
        table = _read(self.folder / "hits.parquet", ["dim", "query", "rank", "document"], wanted)
        *places, documents = (table[name].to_pylist() for name in table.column_names)
        return dict(zip(zip(*places, strict=True), documents, strict=True))

    def texts(self, kind: Literal["query", "document"], ids: Collection[str]) -> dict[str, str]:
        """The texts of these ids."""
        wanted = (column("kind") == kind) & column("id").isin(_ids(ids))
        table = _read(self.folder / "texts.parquet", ["id", "text"], wanted)
        return dict(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))


def read_rankings(run: Path, metric: str, protocol: Protocol, *, base: bool = False) -> WrittenRankings:
    """What a run wrote of its model, or of the base that it started from.

    Raises UserError if that is not there or cannot be read, or the metric was not measured.
    """
    result = _result(run, base)
    folder = run / ("rankings_base" if base else "rankings")
    path = folder / "queries.parquet"
    columns = _opened(path, lambda: list(pyarrow.parquet.read_schema(path).names))
    metrics = [name for name in columns if name not in NO_METRICS]
    if metric not in metrics:
        raise UserError(f"{path} has no metric {metric!r}; {did_you_mean(metric, metrics, 'metric=')}")
    table = _read(path, ["query", "dim", "cluster", "first_hit", metric], column("protocol") == protocol)
    if not table.num_rows and protocol == "merged":  # there are no copies, and the protocols are one
        protocol = "as_is"
        table = _read(path, ["query", "dim", "cluster", "first_hit", metric], column("protocol") == protocol)
    if not table.num_rows:
        raise UserError(f"{path} has no queries of protocol={protocol}; {_remedy(folder)}")
    if text := [name for name in ("dim", "cluster", "first_hit", metric) if not _has_numbers(table, name)]:
        raise UserError(f"{path}: column {text[0]!r} has other things than numbers; {_remedy(folder)}")
    rows = table.sort_by([("dim", "descending"), ("query", "ascending")])
    dims, starts, sizes = np.unique(rows["dim"].to_numpy(), return_index=True, return_counts=True)
    if len(set(sizes.tolist())) > 1:
        raise UserError(f"{path} has other numbers of queries at other dims; {_remedy(folder)}")
    slices = {int(dim): slice(int(start), int(start + sizes[0])) for dim, start in zip(dims, starts, strict=True)}
    first = slices[int(dims.max())]
    return WrittenRankings(
        folder=folder,
        model=str(result["model"]),
        data=str(result["data"]),
        fingerprint=str(result.get("fingerprint", "")),
        protocol=protocol,
        query_ids=tuple(rows["query"][first].to_pylist()),
        clusters_Q=rows["cluster"].to_numpy()[first].astype(np.int64),
        values={dim: rows[metric].to_numpy()[place].astype(np.float64) for dim, place in slices.items()},
        first_hit={dim: rows["first_hit"].to_numpy()[place].astype(np.int64) for dim, place in slices.items()},
    )


def _result(run: Path, base: bool) -> dict[str, Any]:
    path = run / ("base.json" if base else "results.json")
    if not run.is_dir():
        raise UserError(f"{run} is no folder; give the folders that two runs wrote, compare=[outputs/...,outputs/...]")
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if base and (run / "results.json").is_file():
            raise UserError(
                f"{run} with itself would be base and tuned, but it has no {path.name}: only a training run has both; "
                "give two different folders"
            ) from None
        raise UserError(f"{path} does not exist; give the folder that train.py or evaluate.py wrote") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); measure the model again") from error
    if not isinstance(result, dict) or not {"model", "data"} <= result.keys():
        raise UserError(f"{path} does not tell of a model and its data; measure the model again")
    return result


def _read(path: Path, columns: list[str], wanted: pyarrow.compute.Expression) -> pyarrow.Table:
    return _opened(path, lambda: pyarrow.parquet.read_table(path, columns=columns, filters=wanted))


def _opened(path: Path, read: Callable[[], Read]) -> Read:
    try:
        return read()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; {_remedy(path.parent)}") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read ({str(error).splitlines()[0]}); {_remedy(path.parent)}") from error


def _has_numbers(table: pyarrow.Table, name: str) -> bool:
    kind = table.schema.field(name).type
    return (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)) and not table[name].null_count


def _ids(ids: Collection[str]) -> pyarrow.Array:
    return pyarrow.array(ids, pyarrow.string())  # typed, for there may be none


def _remedy(folder: Path) -> str:
    if folder.name == "rankings_base":
        return (
            f"measure the base by itself, python evaluate.py model=<base>, and compare its folder with {folder.parent}"
        )
    command = f"python evaluate.py {pasted('model', str(folder.parent))}"
    return f"measure the model again, {command}, and compare the folder that this writes"
