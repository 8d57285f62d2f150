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
    THEIRS,
    Case,
    by_our_names,
    compare,
    evaluator_of_all,
    their_evaluator,
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


def test_rankings_of_an_encoder(parity: Parity, tmp_path: Path, sides: tuple[Encoder, SentenceTransformer]) -> None:
    """The embeddings of SentenceTransformer, encoded once and in fp64 from there on.

    Its cosines crowd together: in fp32 the sides' products round differently, and of 25,000 hits 9 changed places with
    a neighbour (no metric changed by it).
    """
    data, (_, model) = german_set(50, 170), sides
    queries, documents = list(data.queries.values()), list(data.corpus.values())
    rows_ND = torch.cat(
        [model.encode_query(queries, convert_to_tensor=True), model.encode_document(documents, convert_to_tensor=True)]
    )
    embeddings = dict(zip([*queries, *documents], rows_ND.double(), strict=True))
    one_each = {query: set(answers) for query, answers in data.relevant.items()}
    given = Case(data.queries, data.corpus, one_each, embeddings)
    compare(parity, given, "German texts", tmp_path, CARD)

    pages = {query: {page_of(answer) for answer in answers} for query, answers in data.relevant.items()}
    whole_pages = {
        query: {document for document in data.corpus if page_of(document) in pages[query]} for query in pages
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
    item = "all metrics, k = 1 to 100: German texts, each side's own embeddings"
    parity.within(item, THEIRS, list(ours.values()), [theirs[name] for name in ours], ALLOWED)
