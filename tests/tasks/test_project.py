"""task=project through the command line's own path: texts and stored vectors, what it writes, what it refuses."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra.core.global_hydra import GlobalHydra

from matryoshka.cli import app
from matryoshka.encoder.encoder import Encoder
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.projection.saved import SavedProjection
from tests.real_pairs import write_pairs
from tests.tasks.test_train_and_sweep import run
from tests.tiny import tiny_encoder

pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries

PLAIN = ("logger=none", "hydra.run.dir=run", "task=project", "projection=learned", "projection.steps=5")
ALONE = ("projections=[]", "export=none", "baselines=[]")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "tiny")
    write_pairs(tmp_path, train=40, evaluation=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def texts(path: Path, column: str) -> list[str]:
    return [json.loads(line)[column] for line in path.read_text(encoding="utf-8").splitlines()]


def project_vectors(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """task=project with these words alone; gives the exit code."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    try:
        app.train()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def write_vectors(folder: Path) -> list[str]:
    """The tiny encoder's embeddings of the pairs as files; the words that name them."""
    encoder = Encoder.load(str(folder / "tiny"))
    for name, column, prompt in (("q", "anchor", "query"), ("d", "positive", "document")):
        every = [*texts(folder / "train.jsonl", column), *texts(folder / "evaluation.jsonl", column)]
        np.save(folder / f"{name}.npy", encoder.encode(every, prompt=prompt, normalize=False))
    write_rows(folder / "pairs.csv", range(40))
    write_rows(folder / "held_out.csv", range(40, 52))
    files = [
        "dims=[32,16]",
        "data.queries=q.npy",
        "data.documents=d.npy",
        "data.pairs=pairs.csv",
        "data.evaluation=held_out.csv",
    ]
    return ["data=vectors", *files]


def write_rows(path: Path, rows: Any) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("query", "document"), *((row, row) for row in rows)])


def test_every_kind_is_measured_and_the_kept_one_is_the_saved_model(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *PLAIN) == 0
    beside = {result["model"] for result in read(workplace / "run/baselines.json")}
    assert len(beside) == 4 and "BM25" in beside  # three kinds besides the kept one
    said = capsys.readouterr().out
    for words in ("untrained, cut", "projection (pca)", "fitted in", "mean ndcg@10 over all dims on the dev queries"):
        assert words in said, words
    saved = SavedProjection.read(workplace / "run")
    assert f"projection ({saved.kind})" not in beside
    some = texts(workplace / "evaluation.jsonl", "positive")
    plain_ND = Encoder.load("tiny").encode(some, normalize=False, as_tensor=True)
    projected_ND = Encoder.load("run").encode(some, dim=16, as_tensor=True)
    assert isinstance(plain_ND, torch.Tensor) and isinstance(projected_ND, torch.Tensor)
    expected_ND = F.normalize((plain_ND @ torch.from_numpy(saved.matrix_DE))[:, :16], dim=1)
    torch.testing.assert_close(projected_ND, expected_ND, atol=1e-5, rtol=0)
    assert np.array_equal(np.load(workplace / "run/projection.npy"), saved.matrix_DE)
    for name in ("projection.md", "report.html", "metric_against_dim.png", "model/README.md", "run.json"):
        assert (workplace / "run" / name).stat().st_size > 0


def test_what_is_measured_is_what_the_saved_model_gives(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, *PLAIN, "projections=[]", "baselines=[]") == 0
    words = ("model=run", "dims=[32,16]", "hydra.run.dir=measured", "baselines=[]")
    assert run(monkeypatch, *words, task="evaluate") == 0
    ours, again = (read(workplace / name / "results.json")["metrics"] for name in ("run", "measured"))
    assert ours == again


def test_a_second_fit_encodes_nothing(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, encoded_texts: list[int]
) -> None:
    assert run(monkeypatch, *PLAIN, *ALONE) == 0
    assert sum(encoded_texts) > 60
    encoded_texts.clear()
    assert run(monkeypatch, *PLAIN, *ALONE, "projection.strength=1", "hydra.run.dir=other") == 0
    assert not encoded_texts


def test_stored_vectors_give_the_figures_of_their_texts(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = write_vectors(workplace)
    plain = (*PLAIN[:3], "projection=rotation", *ALONE, "split=same")
    assert run(monkeypatch, *plain, "hydra.run.dir=of_texts", "data.documents=[train.jsonl]") == 0
    assert project_vectors(monkeypatch, *plain, *words) == 0
    for name in ("base", "results"):
        of_texts, of_vectors = (read(workplace / of / f"{name}.json") for of in ("of_texts", "run"))
        for dim in ("32", "16"):
            assert of_vectors["metrics"][dim] == pytest.approx(of_texts["metrics"][dim], abs=1e-6)
    matrices = [SavedProjection.read(workplace / of) for of in ("of_texts", "run")]
    np.testing.assert_allclose(matrices[0].matrix_DE, matrices[1].matrix_DE, atol=1e-3)
    assert (matrices[0].encoder, matrices[1].encoder) == ("tiny", "vectors")
    assert not (workplace / "run/model").exists() and (workplace / "run/report.html").is_file()


def test_a_matrix_for_queries_leaves_documents_alone(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = write_vectors(workplace)
    assert project_vectors(monkeypatch, *PLAIN, *ALONE, *words, "projection.side=query", "split=same") == 0
    saved = SavedProjection.read(workplace / "run")
    assert saved.side == "query"
    query_QD, document_ND = (torch.from_numpy(np.load(workplace / f"{name}.npy")) for name in "qd")
    similarity_QN = F.normalize(query_QD[40:] @ torch.from_numpy(saved.matrix_DE), dim=1) @ F.normalize(document_ND).T
    first = float((similarity_QN.argmax(1) == torch.arange(40, 52)).float().mean())
    assert read(workplace / "run/results.json")["metrics"]["32"]["accuracy@1"] == pytest.approx(first)


def test_without_held_out_pairs_some_are_held_out_and_fewer_can_be_fitted_on(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word for word in write_vectors(workplace) if "evaluation" not in word]
    few = ("data.pairs_at_most=20", "data.corpus_at_most=10")
    assert project_vectors(monkeypatch, *PLAIN, *ALONE, *words, *few) == 0
    found = read(workplace / "run/results.json")
    assert (found["queries"], found["documents"]) == (4, 10)
    assert SavedProjection.read(workplace / "run").pairs == 18  # and two for dev


def broken(folder: Path, what: str) -> list[str]:
    """Words for stored vectors with one thing wrong."""
    words = write_vectors(folder)
    query_ND = np.load(folder / "q.npy")
    if what == "nan":
        query_ND[7, 3] = np.nan
    if what == "zero":
        query_ND[7] = 0
    if what == "widths":
        query_ND = query_ND[:, :30]
    np.save(folder / "q.npy", query_ND)
    if what == "row":
        write_rows(folder / "pairs.csv", [0, 1, 99])
    if what == "text":
        (folder / "pairs.csv").write_text("query,document\n0,0\none,1\n")
    if what == "column":
        (folder / "pairs.csv").write_text("query,passage\n0,0\n")
    if what == "few":
        write_rows(folder / "pairs.csv", [0])
    return words


@pytest.mark.parametrize(
    ("what", "words", "said"),
    [
        ("nan", [], "q.npy: the vector of row 7 is not finite"),
        ("zero", [], "q.npy: the vector of row 7 is zero, which has no direction"),
        ("widths", [], "d.npy has vectors of 32 numbers and q.npy of 30"),
        ("row", [], "pairs.csv, row 3: query '99' names no row; there are 52, counted from 0"),
        ("text", [], "pairs.csv, row 2: query 'one' names no row"),
        ("column", [], "pairs.csv has no column 'document'; it has 'query', 'passage'"),
        ("few", ["split=same"], "at least 2 pairs, and there is 1"),
        ("", ["dims=[64,16]"], "64 is wider than the vectors' 32; use dims=[32,16]"),
        ("", ["task=train"], "can only be projected"),
        ("", ["projection=none", "projections=[]"], "nothing is fitted"),
        ("", ["data.queries=none.npy"], "none.npy does not exist"),
    ],
)
def test_what_is_wrong_with_vectors_is_one_message(
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
    words: list[str],
    said: str,
) -> None:
    given = {word.partition("=")[0] for word in words}
    usual = [word for word in (*PLAIN, *ALONE) if word.partition("=")[0] not in given and "steps" not in word]
    vectors = [word for word in broken(workplace, what) if word.partition("=")[0] not in given]
    assert project_vectors(monkeypatch, *usual, *vectors, *words) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told


def test_a_matrix_of_another_encoder_is_refused(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *PLAIN, *ALONE) == 0
    again = ("logger=none", "hydra.run.dir=again", "task=project", "projection=fitted", *ALONE)
    assert run(monkeypatch, *again, "projection.run=run") == 0
    assert read(workplace / "again/results.json")["metrics"] == read(workplace / "run/results.json")["metrics"]
    torch.manual_seed(5)
    SentenceTransformersFolder().save(tiny_encoder(seed=5), workplace / "tiny")
    capsys.readouterr()
    assert run(monkeypatch, *again, "projection.run=run", "hydra.run.dir=third") == 2
    assert "its matrix was fitted on tiny, of other weights" in capsys.readouterr().err
    assert run(monkeypatch, *again, "projection.run=nowhere", "hydra.run.dir=third") == 2
    assert "projection.run: nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("lr", ["1e-2", "null"])
def test_a_training_begins_with_the_projection(workplace: Path, monkeypatch: pytest.MonkeyPatch, lr: str) -> None:
    words = ("logger=none", "hydra.run.dir=run", "projection=learned", "projection.steps=5", f"projection.lr={lr}")
    assert run(monkeypatch, *words, "scheduler=constant", "scheduler.warmup=0") == 0
    saved, tuned = SavedProjection.read(workplace / "run"), Encoder.load("run").dense[0].linear.weight
    moved = float((tuned.detach().T - torch.from_numpy(saved.matrix_DE)).abs().max())
    assert moved > 1e-3 if lr != "null" else moved == 0
    alone, bm25 = read(workplace / "run/baselines.json")
    assert (alone["model"], bm25["model"]) == ("projection (learned)", "BM25")
    base = read(workplace / "run/base.json")["metrics"]["16"]
    assert alone["metrics"]["16"] != base  # the base row is the encoder without it
    first = json.loads((workplace / "run/metrics.jsonl").read_text().splitlines()[0])
    assert first["projection/ndcg@10/dim_16"] == alone["metrics"]["16"]["ndcg@10"]
