"""Two runs compared by what they wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from matryoshka.errors import UserError
from matryoshka.evaluation.comparison import compare
from matryoshka.evaluation.uncertainty import bootstrap_intervals, holm, paired_randomisation
from tests.evaluation.written_runs import letters, ndcg, write_run

SOME = [1, 2, 3, 4, 5, 0, 7, 8] * 3
BETTER = [1, 1, 1, 2, 3, 2, 2, 10] * 3
WIDE_AND_NARROW = {64: SOME, 8: SOME}


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two runs: the second is better at 64 and equal at 8; each has a dim more."""
    first = write_run(tmp_path / "a", {**WIDE_AND_NARROW, 16: SOME})
    return first, write_run(tmp_path / "b", {32: SOME, 64: BETTER, 8: SOME})


def test_means_intervals_and_p_are_those_of_the_queries(runs: tuple[Path, Path]) -> None:
    comparison = compare(*runs)
    wide, narrow = comparison.dims
    values_QD = np.array([[[ndcg(rank)] * 2 for rank in ranks] for ranks in (SOME, BETTER)])
    values_QD[1, :, 1] = values_QD[0, :, 1]
    clusters_Q = np.arange(24) // 2
    low_D, high_D = bootstrap_intervals(values_QD[1] - values_QD[0], clusters_Q)
    p_D = paired_randomisation(*values_QD, clusters_Q)

    assert (comparison.queries, comparison.clusters, wide.dim, narrow.dim) == (24, 12, 64, 8)
    assert wide.first == pytest.approx(np.mean([ndcg(rank) for rank in SOME]))
    assert wide.second == pytest.approx(np.mean([ndcg(rank) for rank in BETTER]))
    assert wide.difference == pytest.approx(wide.second - wide.first)
    assert wide.interval == pytest.approx((low_D[0], high_D[0]))
    assert (wide.p, narrow.p) == tuple(p_D)
    assert (wide.adjusted_p, narrow.adjusted_p) == tuple(holm(p_D))
    assert (wide.wins, wide.losses, wide.ties) == (18, 3, 3)
    assert wide.verdict == "better"


def test_equal_runs_show_no_difference(runs: tuple[Path, Path]) -> None:
    narrow = compare(*runs).dims[1]

    assert (narrow.difference, narrow.interval, narrow.p, narrow.ties) == (0, (0, 0), 1, 24)
    assert narrow.verdict == "no difference shown"
    assert narrow.changed == ()


def test_the_other_way_round_is_the_opposite(runs: tuple[Path, Path]) -> None:
    there, back = compare(*runs).dims[0], compare(*reversed(runs)).dims[0]

    assert there.interval is not None
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
    assert (back.p, back.verdict) == (there.p, "worse")
    assert (back.wins, back.losses) == (there.losses, there.wins)


def test_what_changed_most_is_shown_with_its_texts(runs: tuple[Path, Path]) -> None:
    changed = compare(*runs).dims[0].changed
    gains = [query.second_value - query.first_value for query in changed]

    assert sum(gain > 0 for gain in gains) == 5
    assert sum(gain < 0 for gain in gains) == 3
    assert [abs(gain) for gain in gains] == sorted(map(abs, gains), reverse=True)
    assert gains[0] == max(ndcg(new) - ndcg(old) for old, new in zip(SOME, BETTER, strict=True))
    found = next(query for query in changed if query.query == "q05")
    assert (found.first_rank, found.second_rank, found.text) == (0, 2, "question q05")
    assert (found.answer, found.first_top, found.second_top) == ("text 2", "text 0", "text 0")
    lost = next(query for query in changed if query.query == "q15")
    assert (lost.first_rank, lost.second_rank, lost.answer) == (8, 10, "text 7")


def test_a_run_with_itself_is_base_and_tuned(tmp_path: Path) -> None:
    run = write_run(tmp_path, {64: BETTER})
    write_run(run, {64: SOME}, base=True)
    comparison = compare(run, run / ".", metric="accuracy@1")

    assert (comparison.first, comparison.second, comparison.title) == ("base", "tuned", f"base -> tuned of {run}")
    assert (comparison.first_model, comparison.second_model) == ("tiny base", "tiny")
    assert comparison.dims[0].difference == pytest.approx(np.mean([r == 1 for r in BETTER]) - 1 / 8)


def test_merged_is_read_where_there_are_copies_and_is_as_is_where_there_are_none(tmp_path: Path) -> None:
    first, second = write_run(tmp_path / "a", {64: SOME}), write_run(tmp_path / "b", {64: BETTER})
    expected = compare(first, second)
    for run in (first, second):
        path = run / "rankings" / "queries.parquet"
        table = parquet.read_table(path)
        rows = table["protocol"].to_pylist()
        values = table["ndcg@10"].to_numpy() * np.where(np.array(rows) == "merged", 0.5, 1)
        parquet.write_table(table.set_column(table.column_names.index("ndcg@10"), "ndcg@10", [values]), path)
    merged = compare(first, second, protocol="merged")
    assert merged.dims[0].difference == pytest.approx(expected.dims[0].difference / 2)

    for run in (first, second):
        path = run / "rankings" / "queries.parquet"
        parquet.write_table(parquet.read_table(path, filters=[("protocol", "=", "as_is")]), path)
    assert compare(first, second, protocol="merged").dims == expected.dims


def test_one_cluster_has_no_interval(tmp_path: Path) -> None:
    data = letters(2)
    runs = [write_run(tmp_path / name, {64: ranks}, data=data) for name, ranks in (("a", [1, 2]), ("b", [2, 3]))]

    assert (compare(*runs).dims[0].interval, compare(*runs).dims[0].p) == (None, 1)


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        compare(*arguments, **options)
    return str(caught.value)


def test_what_is_missing_is_named_with_the_remedy(runs: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = runs
    assert f"{tmp_path / 'c'} is no folder" in refusal(first, tmp_path / "c")
    assert "has no base.json: only a training run has both" in refusal(first, first)
    (second / "rankings" / "hits.parquet").unlink()
    said = refusal(first, second)
    assert f"{second / 'rankings' / 'hits.parquet'} does not exist" in said
    assert f"python evaluate.py model={second}" in said
    (second / "rankings" / "queries.parquet").write_bytes(b"PAR1 but no more")
    assert "queries.parquet cannot be read" in refusal(first, second)
    (second / "results.json").write_text("{", encoding="utf-8")
    assert "results.json cannot be read" in refusal(first, second)
    (second / "results.json").unlink()
    assert "results.json does not exist; give the folder that train.py" in refusal(first, second)


def test_what_cannot_be_compared_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = runs
    fewer = write_run(tmp_path / "d", {64: SOME[:22]}, data=letters(22, "fewer"))
    assert "are of other data (letters, fewer)" in refusal(first, fewer)
    same_ids = letters(24, "others")
    same_ids = replace(same_ids, corpus={**same_ids.corpus, "d00": "another text"})
    assert "are of other data" in refusal(first, write_run(tmp_path / "c", WIDE_AND_NARROW, data=same_ids))
    other_dims = write_run(tmp_path / "e", {4: SOME})
    assert "have no dim in common (64,16,8 and 4)" in refusal(first, other_dims)
    assert "no metric 'ndcg@1'; did you mean metric=ndcg@10?" in refusal(first, second, metric="ndcg@1")
    assert "there are ndcg@10, accuracy@1" in refusal(first, second, metric="f1")
