"""Whole sets through a saved folder: mteb's own evaluation, and sentence-transformers' of NanoBEIR and its mean."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
import torch
from datasets import Dataset
from mteb._evaluators import retrieval_evaluator
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import NanoBEIREvaluator

from matryoshka.data.hub_beir import HubBeir
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.encoder import Encoder
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.suite import SuiteResult
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.data.clone import qrels, texts, write_clone
from tests.parity.conftest import Parity, release
from tests.tiny import tiny_encoder

AREA = "Metrics"
MTEB, THEIRS = release("mteb"), release("sentence-transformers")
ALLOWED = 1e-9
ROUNDED = 5.01e-6  # mteb gives its means with five digits
RANKS = (1, 3, 5, 10, 100)
FULL, CUT = 32, 16
SETS = ("NanoNQ", "NanoSciFact")
# Ours -> trec_eval's, whose values mteb takes the means of; its own hit rate is our accuracy, and its `accuracy`, which
# is recall@1, has no counterpart.
TREC = {"accuracy": "success_", "precision": "P_", "recall": "recall_", "ndcg": "ndcg_cut_", "map": "map_cut_"}
SCORES = {"accuracy": "hit_rate", **{name: name for name in ("precision", "recall", "ndcg", "mrr", "map")}}

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = tiny_encoder(width=FULL, prompts={"query": "query: ", "document": "passage: "})
    return SentenceTransformersFolder().save(encoder, tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return Pretrained(str(folder)).load(None)


def drawn_set(name: str, seed: int, queries: int = 25, documents: int = 70, *, graded: bool) -> RetrievalSet:
    """Texts of random letters; up to 30 right answers a query, some of them graded."""
    draw = random.Random(seed)

    def text() -> str:
        return " ".join("".join(draw.choices("abcdefghijklmnoprstuvwz", k=draw.randint(2, 9))) for _ in range(6))

    corpus = {f"d{row}": text() for row in range(documents)}
    answers = {f"q{row}": draw.sample(list(corpus), draw.choice((1, 2, 5, 30))) for row in range(queries)}
    relevant = {
        query: {document: draw.randint(1, 3) if graded else 1 for document in of} for query, of in answers.items()
    }
    return RetrievalSet(name, {query: text() for query in relevant}, corpus, relevant)


def without_ties(encoder: Encoder, data: RetrievalSet) -> RetrievalSet:
    """Without the queries to which two documents are as near as the sides may round: their order is open."""
    clear = torch.ones(len(data.queries), dtype=torch.bool)
    for dim in (FULL, CUT):
        queries_QD, documents_ND = (
            torch.from_numpy(np.asarray(encoder.encode(list(texts.values()), prompt=prompt, dim=dim))).double()
            for texts, prompt in ((data.queries, "query"), (data.corpus, "document"))
        )
        clear &= (queries_QD @ documents_ND.T).sort(dim=1).values.diff(dim=1).amin(1) > 1e-6
    assert clear.sum() >= 15
    kept = [query for query, alone in zip(data.queries, clear.tolist(), strict=True) if alone]
    return RetrievalSet(data.name, {query: data.queries[query] for query in kept}, data.corpus, data.relevant)


def every_metric(encoder: Encoder, data: RetrievalSet) -> Mapping[int, Mapping[str, float]]:
    names = ("accuracy_at", "precision_at", "recall_at", "ndcg_at", "mrr_at", "map_at")
    return Evaluator(**dict.fromkeys(names, RANKS)).evaluate(encoder, data, [FULL, CUT]).metrics  # type: ignore[arg-type]


class LocalTask(AbsTaskRetrieval):  # type: ignore[misc]
    """A retrieval set as a task of mteb, without the hub."""

    k_values = RANKS
    metadata = TaskMetadata(
        name="LocalRetrieval",
        description="A set given in memory.",
        reference=None,
        dataset={"path": "nobody/local", "revision": "1"},
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=["test"],
        eval_langs=["deu-Latn"],
        main_score="ndcg_at_10",
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )

    def __init__(self, data: RetrievalSet) -> None:
        super().__init__()
        self.given = data

    def load_data(self, *arguments: Any, **options: Any) -> None:
        def rows(of: Mapping[str, str]) -> Dataset:
            return Dataset.from_list([{"id": key, "text": text} for key, text in of.items()])

        split = {"queries": rows(self.given.queries), "corpus": rows(self.given.corpus), "top_ranked": None}
        relevant = {query: dict(self.given.grades[query]) for query in self.given.queries}
        self.dataset = {"default": {"test": {**split, "relevant_docs": relevant}}}
        self.data_loaded = True


@pytest.mark.parametrize("dim", [FULL, CUT])
@pytest.mark.parametrize("graded", [False, True])
def test_a_saved_folder_passes_through_mteb(
    parity: Parity, folder: Path, encoder: Encoder, dim: int, graded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """map@k is theirs where no query has more than k answers: trec_eval divides by all of them, ours by k at most."""
    data = without_ties(encoder, drawn_set("local", 1 + graded, graded=graded))
    kept: list[Any] = []
    scored = retrieval_evaluator.calculate_retrieval_scores
    monkeypatch.setattr(
        retrieval_evaluator, "calculate_retrieval_scores", lambda *args: kept.append(scored(*args)) or kept[-1]
    )
    model = SentenceTransformer(str(folder), device="cpu", truncate_dim=dim, local_files_only=True)
    result = mteb.evaluate(model, LocalTask(data), cache=None, show_progress_bar=False, co2_tracker=False)
    (scores,) = result.task_results[0].scores["test"]

    ours = {name: value for name, value in every_metric(encoder, data)[dim].items() if name not in _capped(data)}
    assert {name.partition("@")[0] for name in ours} == set(SCORES)
    assert 0.05 < ours["ndcg@10"] < 0.95
    exact = [_unrounded(kept[0], *name.split("@")) for name in ours]
    kind = f"a set of one's own, {'graded' if graded else 'several answers'}, saved folder"
    parity.within(
        f"all metrics, k = 1 to 100: {kind}, at full width and cut", MTEB, list(ours.values()), exact, ALLOWED
    )
    given = [scores[f"{SCORES[name]}_at_{k}"] for name, k in (metric.split("@") for metric in ours)]
    parity.within(f"the same as mteb writes them, five digits: {kind}", MTEB, list(ours.values()), given, ROUNDED)


def _capped(data: RetrievalSet) -> set[str]:
    most = max(len(data.grades[query]) for query in data.queries)
    return {f"map@{k}" for k in RANKS if k < most}


def _unrounded(found: Any, name: str, k: str) -> float:
    if name == "mrr":
        return float(found.mrr[f"MRR@{k}"])
    return float(np.mean([of[f"{TREC[name]}{k}"] for of in found.all_scores.values()]))


@pytest.mark.parametrize("dim", [FULL, CUT])
def test_sets_of_nano_beir_and_their_mean(
    parity: Parity, folder: Path, encoder: Encoder, dim: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read by each side from one folder, which is laid out as the data set on the hub."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    drawn = [drawn_set(name, seed, 30 + 9 * seed, graded=False) for seed, name in enumerate(SETS)]
    sets = {of.name: without_ties(encoder, of) for of in drawn}
    subsets = {
        "corpus": {name: [*texts(of.corpus), {"_id": "empty", "text": ""}] for name, of in sets.items()},
        "queries": {name: texts(of.queries) for name, of in sets.items()},
        "qrels": {name: qrels({query: list(of.grades[query]) for query in of.queries}) for name, of in sets.items()},
    }
    clone = write_clone(tmp_path / "nano", subsets)
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    theirs = NanoBEIREvaluator(["nq", "scifact"], dataset_id=str(clone), truncate_dim=dim, write_csv=False)(model)

    read = {name: HubBeir(name, str(clone), name).retrieval_set() for name in SETS}
    suite = SuiteResult.of({name: Evaluator().evaluate(encoder, of, [dim]) for name, of in read.items()})
    for name, of in suite.sets.items():
        values = [theirs[f"{name}_{dim}_cosine_{metric}"] for metric in of.metrics[dim]]
        parity.within(
            "all metrics of each set: two of NanoBEIR", THEIRS, list(of.metrics[dim].values()), values, ALLOWED
        )
    mean = suite.mean.metrics[dim]
    values = [theirs[f"NanoBEIR_mean_{dim}_cosine_{metric}"] for metric in mean]
    parity.within("their mean over sets", f"{THEIRS}, NanoBEIREvaluator", list(mean.values()), values, ALLOWED)
