"""docs/what_helps.md, made from the kept runs of `what_helps.py`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matryoshka.evaluation.uncertainty import Floats, Ints, bootstrap_intervals, paired_randomisation
from matryoshka.evaluation.written_rankings import read_rankings
from matryoshka.report.markdown import table
from matryoshka.storage.atomic import write_atomically

METRIC = "ndcg@10"
UNTRAINED = "untrained"
PREFACE = """\
# What helps

Which means make a tuned model better at every dim, on texts of laws that it never saw, and what each costs on another
domain. `python benchmarks/what_helps.py --laws FOLDER --other FILE` runs all of it and writes this page from the runs
that it keeps. Every figure is nDCG@10, the mean over seeds; ± is the standard deviation over seeds of the mean over
dims. Test queries chose nothing."""
NOTES = """\
`p` is of the paired randomisation test, on the means over dims and seeds of each query, against the line that is named.
Seconds are of the whole command from its start to its end; of sentence-transformers' recipe to the end of training
only, without any evaluation. Ours include the evaluations before and after."""
UNEVEN = "Rows with fewer seeds than others were not run to the end; their figures say less."


@dataclass(frozen=True)
class Found:
    """The runs of a row. test, other: (S, K), a seed each, widest dim first. queries_Q: means over dims and seeds."""

    test: Floats
    other: Floats
    queries_Q: Floats
    clusters_Q: Ints
    seconds: Sequence[float]

    @property
    def mean(self) -> float:
        """Over seeds and dims."""
        return float(self.test.mean())


def write_page(runs: Path, titles: Mapping[str, str], against: Mapping[str, str], output: Path, note: str = "") -> Path:
    """The page of the rows that have runs. note: what stands below the first table."""
    found = {name: _of_runs(folders) for name in titles if (folders := _finished(runs / name))}
    first = next(folder for name in titles for folder in _finished(runs / name) if (folder / "base.json").is_file())
    found = {UNTRAINED: _untrained(first), **found}
    titles = {UNTRAINED: "untrained", **titles}
    dims = _dims(json.loads((first / "results.json").read_text(encoding="utf-8")))
    environment = json.loads((first / "run.json").read_text(encoding="utf-8"))["environment"]
    about = (runs / "data" / "about.txt").read_text(encoding="utf-8")
    parts = [
        PREFACE,
        f"Data: {about}. Machine: {environment['processor']}, {environment['threads']} threads.",
        "## On laws that were held out",
        table(
            ["", "seeds", *map(str, dims), "mean", "p", "seconds"],
            [_test_row(n, found, titles, against) for n in found],
        ),
        f"{NOTES} {UNEVEN}" if len({len(of.test) for name, of in found.items() if name != UNTRAINED}) > 1 else NOTES,
        note,
        "## Elsewhere",
        "The same models on the other domain; in brackets the difference to the untrained encoder.",
        table(["", *map(str, dims), "mean"], [_other_row(titles[n], found[n], found[UNTRAINED]) for n in found]),
    ]
    if {"best", "theirs_8e-5"} <= found.keys():
        parts += ["## experiment=best", *_best(found, dims)]
    return write_atomically(output, "\n\n".join(part for part in parts if part) + "\n")


def _finished(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/run.json"))


def _of_runs(folders: Sequence[Path]) -> Found:
    results = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in folders]
    others = [json.loads((folder / "sets" / "other.json").read_text(encoding="utf-8"))["tuned"] for folder in folders]
    rankings = [read_rankings(folder, METRIC, "as_is") for folder in folders]
    seconds = [json.loads((folder / "run.json").read_text(encoding="utf-8"))["seconds"] for folder in folders]
    queries_Q = np.mean([np.mean(list(of.values.values()), axis=0) for of in rankings], axis=0)
    return Found(_values(results), _values(others), queries_Q, rankings[0].clusters_Q, seconds)


def _untrained(run: Path) -> Found:
    base = json.loads((run / "base.json").read_text(encoding="utf-8"))
    other = json.loads((run / "sets" / "other.json").read_text(encoding="utf-8"))["base"]
    rankings = read_rankings(run, METRIC, "as_is", base=True)
    queries_Q = np.mean(list(rankings.values.values()), axis=0)
    return Found(_values([base]), _values([other]), queries_Q, rankings.clusters_Q, [])


def _dims(result: Mapping[str, Any]) -> list[int]:
    return sorted(map(int, result["metrics"]), reverse=True)


def _values(results: Sequence[Mapping[str, Any]]) -> Floats:
    return np.array([[result["metrics"][str(dim)][METRIC] for dim in _dims(result)] for result in results])


def _test_row(
    name: str, found: Mapping[str, Found], titles: Mapping[str, str], against: Mapping[str, str]
) -> list[str]:
    of = found[name]
    spread = f" ±{statistics.stdev(of.test.mean(axis=1)):.3f}" if len(of.test) > 1 else ""
    seconds = f"{statistics.mean(of.seconds):.0f}" if of.seconds else ""
    other = found.get(against.get(name, ""))
    tested = ""
    if other is not None:
        (p,) = paired_randomisation(other.queries_Q[:, None], of.queries_Q[:, None], of.clusters_Q)
        tested = f"{of.mean - other.mean:+.3f} to {titles[against[name]]}, p {'< .001' if p < 0.001 else f'{p:.3f}'}"
    values = [f"{value:.3f}" for value in of.test.mean(axis=0)]
    return [titles[name], str(len(of.test)), *values, f"{of.mean:.3f}{spread}", tested, seconds]


def _other_row(title: str, of: Found, untrained: Found) -> list[str]:
    differences = of.other.mean(axis=0) - untrained.other.mean(axis=0)
    cells = [f"{value:.3f} ({gain:+.3f})" for value, gain in zip(of.other.mean(axis=0), differences, strict=True)]
    return [title, *cells, f"{of.other.mean():.3f} ({differences.mean():+.3f})"]


def _best(found: Mapping[str, Found], dims: Sequence[int]) -> list[str]:
    """Sentences that hold experiment=best against what it promises."""
    best, said = found["best"], []
    for name, what in ((UNTRAINED, "the untrained encoder"), *((n, n) for n in found if n.startswith("theirs"))):
        gains = best.test.mean(axis=0) - found[name].test.mean(axis=0)
        difference_Q1 = (best.queries_Q - found[name].queries_Q)[:, None]
        low, high = (float(end[0]) for end in bootstrap_intervals(difference_Q1, best.clusters_Q))
        by_dim = ", ".join(f"{gain:+.3f} at {dim}" for gain, dim in zip(gains, dims, strict=True))
        label = what.replace("theirs_", "sentence-transformers' recipe at ")
        said.append(f"- against {label}: {by_dim}; on average {gains.mean():+.3f} ({low:+.3f} to {high:+.3f})")
    lost = best.other.mean(axis=0) - found[UNTRAINED].other.mean(axis=0)
    said.append(f"- on the other domain the dim that gained least: {lost.min():+.3f} to the untrained encoder")
    ratio = statistics.mean(found["theirs_8e-5"].seconds) / statistics.mean(best.seconds)
    said.append(f"- the whole command took 1/{ratio:.1f} of the seconds of their training alone")
    return ["\n".join(said)]
