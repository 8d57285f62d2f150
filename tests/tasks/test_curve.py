"""task=curve through the command line's own path: equal to fits by hand, encoded once; and what it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from matryoshka.encoder.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.tasks.curve import nested_rows, pairs_of
from tests.real_pairs import write_pairs
from tests.tasks.test_project import project_vectors, read, write_vectors
from tests.tasks.test_train_and_sweep import run
from tests.tiny import tiny_encoder

pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries

PLAIN = ("logger=none", "hydra.run.dir=run", "task=curve", "projection=learned", "projection.steps=5", "split=same")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "tiny")
    write_pairs(tmp_path, train=40, evaluation=30)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_each_share_is_fitted_as_if_it_were_all_the_data(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *PLAIN, "shares=[1.0,0.5]") == 0
    said, found = capsys.readouterr().out, read(workplace / "run/curve.json")
    lines = (workplace / "train.jsonl").read_text("utf-8").splitlines(keepends=True)
    for point, number in zip(found["points"], (20, 40), strict=True):
        assert point["pairs"] == number and f"{number} ({point['share']:.0%})" in said
        chosen = "".join(lines[row] for row in nested_rows(40, number, 42).tolist())
        (workplace / "some.jsonl").write_text(chosen, encoding="utf-8")
        words = (*PLAIN[2:], "logger=none", f"hydra.run.dir=by_hand_{number}", "data.train=some.jsonl")
        more = ("projections=[]", "export=none", "baselines=[]")
        assert run(monkeypatch, *(word.replace("curve", "project") for word in words), *more) == 0
        by_hand = read(workplace / f"by_hand_{number}/results.json")
        for dim in ("32", "16"):
            assert point["values"][dim] == pytest.approx(by_hand["metrics"][dim]["ndcg@10"], abs=1e-6)
            assert point["intervals"][dim] == pytest.approx(by_hand["intervals"][dim]["ndcg@10"], abs=1e-6)
    base = read(workplace / "by_hand_40/base.json")
    assert found["base"]["metrics"] == base["metrics"]
    assert found["finding"] in said
    written = {path.name for path in (workplace / "run").iterdir()}
    assert {"curve.json", "curve.png", "curve.svg", "config.yaml", "environment.json"} <= written


def test_texts_are_encoded_once_and_only_those_that_are_needed(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, encoded_texts: list[int]
) -> None:
    assert run(monkeypatch, *PLAIN) == 0
    assert 0 < sum(encoded_texts) <= 2 * (40 + 30)
    encoded_texts.clear()
    assert run(monkeypatch, *PLAIN, "shares=[0.3,0.9]", "hydra.run.dir=other") == 0
    assert not encoded_texts


def test_it_ends_with_the_command_that_trains_on_as_many(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in PLAIN if "projection" not in word]
    assert run(monkeypatch, *words, "shares=[0.5,1.0]", "loss.scale=10") == 0
    said = capsys.readouterr().out
    assert "projection=learned is fitted, since the recipe has none" in said
    (line,) = [line for line in said.splitlines() if "no encoder was trained" in line]
    command = shlex.split(line.rpartition(": python")[2])
    assert command[:2] == ["train.py", "-m"] and command[-1] == "+sweep=pairs"
    assert {"loss.scale=10", "split=same"} < set(command)
    assert not any(word.startswith(("task=", "shares=", "logger=", "hydra.run.dir=")) for word in command)


def test_stored_vectors_have_a_curve_too(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(workplace, train=40, evaluation=12)
    assert project_vectors(monkeypatch, *PLAIN, *write_vectors(workplace)) == 0
    found = read(workplace / "run/curve.json")
    assert [point["pairs"] for point in found["points"]] == [10, 20, 40]
    assert "no encoder was trained" not in capsys.readouterr().out  # there is none to train


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shares=[1.0]"], "shares: [1.0] are too few to tell what more pairs gain; use shares=[0.5,1.0]"),
        (["shares=[0.5,0.5]"], "shares: [0.5, 0.5] names one twice"),
        (["shares=[0,1.0]"], "shares: 0 is not above 0; use for example 0.5"),
        (["shares=[0.5,2]"], "shares: 2 is more than 1; use for example 0.5"),
        (["shares=[0.01,1.0]"], "shares: of 40 pairs these are 0.01 -> 0, 1 -> 40; each must be at least 2"),
        (["shares=[0.99,1.0]"], "0.99 -> 40, 1 -> 40"),
        (
            ["projection=fitted", "projection.run=run"],
            "projection: a fitted matrix is the same for any number of pairs",
        ),
    ],
)
def test_mistakes_are_told_before_anything_is_encoded(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    def never(*arguments: Any, **options: Any) -> None:
        raise AssertionError("nothing may be encoded")

    monkeypatch.setattr(Encoder, "encode_batches", never)
    usual = [word for word in PLAIN if not (word.startswith("projection") and words[0].startswith("projection"))]
    assert run(monkeypatch, *usual, *words) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told


def test_smaller_shares_are_among_the_larger_and_follow_the_seed() -> None:
    quarter, half, whole = (set(nested_rows(100, number, seed=7).tolist()) for number in (25, 50, 100))
    assert quarter < half < whole == set(range(100))
    assert nested_rows(100, 100, seed=7).tolist() == list(range(100))
    assert set(nested_rows(100, 25, seed=8).tolist()) != quarter


def test_shares_are_numbers_of_pairs_fewest_first() -> None:
    assert list(pairs_of([1.0, 0.25], 10).items()) == [(0.25, 2), (1.0, 10)]
    with pytest.raises(UserError, match="at least 2"):
        pairs_of([0.25, 1.0], 4)


def test_the_record_is_plain_json(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, *PLAIN, "seed=3") == 0
    found = json.loads((workplace / "run/curve.json").read_text("utf-8"))
    assert found["seed"] == 3 and found["fitted"] == "projection (learned), on frozen embeddings of tiny"
    assert found["verdict"] in ("more pairs", "wider dims", "neither")
