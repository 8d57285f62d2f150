"""Retrieval metrics against sentence-transformers' evaluator on texts, through the embedded encoder of both sides."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import PairFiles
from matryoshka.embedded.german_help import FOLDER
from matryoshka.encoder import Encoder
from tests.parity.conftest import Parity
from tests.parity.prepared import (
    ALLOWED,
    DEPTH,
    THEIRS,
    Case,
    by_our_names,
    compare,
    evaluator_of_all,
    our_metrics,
    our_order,
    their_evaluator,
    their_metrics_and_order,
)
from tests.parity.two_encoders import embedded_encoder, saved_and_loaded

AREA = "Metrics"
CARD = (768, 512, 256, 128, 64)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, SentenceTransformer]:
    encoder = embedded_encoder()
    return encoder, saved_and_loaded(encoder, tmp_path_factory.mktemp("encoder"))


def page_of(document: str) -> str:
    """The page of a passage: d-lo-scalc/01/text for d-lo-scalc/01/text#6."""
    return document.rsplit("#", 1)[0]


def german_set(queries: int, documents: int) -> RetrievalSet:
    """The first questions of the embedded data, their passages, and others, those of the same pages first."""
    files = {name: str(FOLDER / f"{name}.jsonl") for name in ("train", "evaluation", "documents")}
    whole = PairFiles("german_help", files["train"], files["evaluation"], [files["documents"]], id="id").retrieval_set()
    asked = dict(islice(whole.queries.items(), queries))
    wanted = {document for query in asked for document in whole.relevant[query]}
    pages = {page_of(document) for document in wanted}
    chosen = sorted(whole.corpus, key=lambda document: (document not in wanted, page_of(document) not in pages))
    corpus = {document: whole.corpus[document] for document in chosen[:documents]}
    return RetrievalSet("german_help", asked, corpus, {query: whole.relevant[query] for query in asked})


@pytest.fixture(scope="module")
def encoded(sides: tuple[Encoder, SentenceTransformer]) -> Case:
    """The embeddings of SentenceTransformer, in fp32 as it gives them."""
    data, (_, model) = german_set(50, 170), sides
    queries, documents = list(data.queries.values()), list(data.corpus.values())
    rows_ND = torch.cat(
        [model.encode_query(queries, convert_to_tensor=True), model.encode_document(documents, convert_to_tensor=True)]
    )
    embeddings = dict(zip([*queries, *documents], rows_ND, strict=True))
    relevant = {query: set(answers) for query, answers in data.relevant.items()}
    return Case(data.queries, data.corpus, relevant, embeddings)


def test_rankings_in_fp32(parity: Parity, tmp_path: Path, encoded: Case) -> None:
    """The encoder's cosines crowd together, and in fp32 some are as near to each other as the sides round.

    Ours multiplies in fp64 and compares in fp32, theirs does both in fp32: such neighbours change places.
    """
    metrics, order = our_metrics(encoded, CARD), our_order(encoded, CARD)
    moved: list[bool] = []
    for dim in CARD:
        their_metrics, their_order = their_metrics_and_order(encoded, dim, tmp_path)
        theirs = [their_metrics[name] for name in metrics[dim]]
        item = f"all metrics, k = 1 to 100, {encoded.precision}: German texts"
        parity.within(item, THEIRS, list(metrics[dim].values()), theirs, ALLOWED)
        for hits, their_hits in zip(order[dim], their_order, strict=True):
            moved += [hit != their_hit for hit, their_hit in zip(hits, their_hits, strict=True)]
    assert len(moved) == len(CARD) * len(encoded.queries) * DEPTH
    item = f"share of places where the order of hits differs, {encoded.precision}: German texts"
    parity.within(item, THEIRS, sum(moved) / len(moved), 0, 1e-3)


def test_rankings_in_fp64(parity: Parity, tmp_path: Path, encoded: Case) -> None:
    """The same embeddings: no two cosines are as near to each other as the sides round in fp64."""
    given = replace(encoded, embeddings={text: row.double() for text, row in encoded.embeddings.items()})
    compare(parity, given, "German texts", tmp_path, CARD)

    pages = {query: {page_of(answer) for answer in answers} for query, answers in given.relevant.items()}
    whole_pages = {
        query: {document for document in given.corpus if page_of(document) in pages[query]} for query in pages
    }
    assert max(map(len, whole_pages.values())) >= 4
    compare(parity, replace(given, relevant=whole_pages), "German texts, all passages of a page", tmp_path, CARD)


def test_whole_evaluations(parity: Parity, sides: tuple[Encoder, SentenceTransformer]) -> None:
    """Each side encodes for itself, in fp32, and cuts to a dim."""
    data, (encoder, model) = german_set(15, 30), sides
    relevant = {query: set(answers) for query, answers in data.relevant.items()}

    ours = evaluator_of_all().evaluate(encoder, data, [128]).metrics[128]
    theirs = by_our_names(their_evaluator(data.queries, data.corpus, relevant, truncate_dim=128)(model))
    assert 0 < ours["map@100"] < 1
    item = "all metrics, k = 1 to 100, fp32: German texts, each side's own embeddings"
    parity.within(item, THEIRS, list(ours.values()), [theirs[name] for name in ours], ALLOWED)
