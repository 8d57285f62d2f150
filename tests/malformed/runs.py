"""Folders of runs, given to compare=."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from tests.malformed.case import Case
from tests.malformed.meeting import save_tiny_model

RESULT = {"model": "m", "data": "d", "fingerprint": "f", "metrics": {}}
AGAIN = "measure the model again"
ROWS = {
    "query": ["q1", "q2"],
    "dim": [32, 32],
    "protocol": ["as_is", "as_is"],
    "cluster": [0, 1],
    "first_hit": [1, 2],
    "ndcg@10": [1.0, 0.5],
}


def write_run(
    folder: Path, result: str = json.dumps(RESULT), queries: bytes | dict[str, list[object]] | None = None
) -> None:
    """A run's folder with its results and the values of its queries."""
    (folder / "rankings").mkdir(parents=True)
    (folder / "results.json").write_text(result)
    path = folder / "rankings" / "queries.parquet"
    if isinstance(queries, bytes):
        path.write_bytes(queries)
    else:
        parquet.write_table(pa.table(queries or ROWS), path)


def _without(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_run(folder)
        (folder / name).unlink()

    return write


def _columns(**changed: list[object]) -> Callable[[Path], None]:
    return partial(write_run, queries={**ROWS, **changed})


def _trained(result: str) -> Callable[[Path], None]:
    """Writes a run's folder with its model."""

    def write(folder: Path) -> None:
        save_tiny_model(folder / "model")
        (folder / "results.json").write_text(result)

    return write


BROKEN: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no results": (_without("results.json"), ("broken/results.json does not exist; give the folder",)),
    "empty results": (partial(write_run, result=""), ("broken/results.json cannot be read", AGAIN)),
    "cut results": (partial(write_run, result='{"model": '), ("broken/results.json cannot be read", AGAIN)),
    "results that are a list": (partial(write_run, result="[]"), ("broken/results.json", AGAIN)),
    "results of a number": (partial(write_run, result="3"), ("broken/results.json", AGAIN)),
    "results without a model": (partial(write_run, result="{}"), ("broken/results.json", AGAIN)),
    "deep results": (partial(write_run, result="[" * 100_000), ("broken/results.json", AGAIN)),
    "no rankings": (_without("rankings/queries.parquet"), ("queries.parquet does not exist", AGAIN)),
    "empty rankings": (partial(write_run, queries=b""), ("queries.parquet cannot be read", AGAIN)),
    "cut rankings": (partial(write_run, queries=b"PAR1" + bytes(40)), ("queries.parquet cannot be read", AGAIN)),
    "rankings of text": (partial(write_run, queries=b"query,dim\n"), ("queries.parquet cannot be read", AGAIN)),
    "rankings of another protocol": (_columns(protocol=["x", "x"]), ("has no queries of protocol=as_is", AGAIN)),
    "rankings without a column": (
        partial(write_run, queries={key: values for key, values in ROWS.items() if key != "cluster"}),
        ("queries.parquet", AGAIN),
    ),
    "rankings of dims of text": (_columns(dim=["a", "a"]), ("queries.parquet", AGAIN)),
    "rankings of values of text": (_columns(**{"ndcg@10": ["a", "b"]}), ("queries.parquet", AGAIN)),
}
EVALUATED = {
    "cut results": ('{"model": ', "results.json cannot be read"),
    "results that are a list": ("[]", "results.json is not a JSON object"),
    "results without metrics": ("{}", "results.json is not as a run writes it; give"),
    "results of other metrics": (
        '{"precision": "bf16", "metrics": {"x": 1}}',
        "results.json is not as a run writes it",
    ),
    "results of no precision": ('{"precision": 3, "metrics": {"32": {}}}', "results.json is not as a run writes it"),
}

CASES: list[Case] = [
    *(
        Case(
            f"compare: {name}",
            ("compare=[broken,good]",),
            says,
            {"broken": write, "good": write_run},
            program="evaluate",
        )
        for name, (write, says) in BROKEN.items()
    ),
    Case(
        "compare: no metric",
        ("compare=[a,a]", "metric=ndgc@10"),
        ("base.json: only a training run has both;",),
        {"a": write_run},
        "evaluate",
    ),
    Case(
        "compare: another metric",
        ("compare=[a,b]", "metric=ndgc@10"),
        ("has no metric 'ndgc@10'; did you mean",),
        {"a": write_run, "b": write_run},
        "evaluate",
    ),
    Case(
        "compare: a run twice",
        ("compare=[a,a]",),
        ("only a training run has both; give two",),
        {"a": write_run},
        "evaluate",
    ),
    Case("compare: a file", ("compare=[a,b]",), ("a is no folder; give the folders",), {"a": "x"}, "evaluate"),
    Case(
        "compare: an empty folder",
        ("compare=[a,a]",),
        ("a/base.json does not exist; give the folder",),
        {"a/x/y": "z"},
        "evaluate",
    ),
    *(
        Case(f"a run with {name}", ("model=run",), (f"run/{says}",), {"run": _trained(result)}, "evaluate")
        for name, (result, says) in EVALUATED.items()
    ),
]
