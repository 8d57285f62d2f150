"""One question put to a corpus: the passages that each dim finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matryoshka.encoder.encoder import Encoder, Precision
from matryoshka.errors import UserError
from matryoshka.evaluation.embeddings import Store, embed
from matryoshka.evaluation.nearest import search
from matryoshka.evaluation.protocols import CopyGroups
from matryoshka.evaluation.tokenized_set import TokenizedSet


@dataclass(frozen=True)
class Passage:
    """A document found, with its cosine. passage: the id of the first document that it is a copy of, else its own."""

    passage: str
    document: str
    text: str
    similarity: float


@dataclass(frozen=True)
class Answers:
    """The best passages for a question at every dim, widest first, best first; copies are one passage."""

    question: str
    best: Mapping[int, tuple[Passage, ...]]

    @property
    def dims(self) -> list[int]:
        """The dims searched, widest first."""
        return list(self.best)

    def lost(self, dim: int) -> list[str]:
        """The passages found at the widest dim and not at this one, best first."""
        here = {found.passage for found in self.best[dim]}
        return [found.passage for found in self.best[self.dims[0]] if found.passage not in here]


def answers(
    encoder: Encoder,
    texts: TokenizedSet,
    question: str,
    dims: Sequence[int],
    k: int = 5,
    *,
    token_budget: int = 4096,
    precision: Precision = "fp32",
    store: Store | None = None,
) -> Answers:
    """The k best passages at every dim, as an evaluation with merged copies ranks them.

    store: where embeddings of the documents are found, as of an evaluation with the same token_budget and precision.
    Raises UserError for a question without text.
    """
    if not question.strip():
        raise UserError("ask: the question is empty; write for example ask='Wann wird die Zulage gekürzt?'")
    parts = [encoder.token_ids([question], "query"), texts.documents]
    (question_QD, documents_UD), _ = embed(encoder, parts, token_budget=token_budget, precision=precision, store=store)
    copies = CopyGroups(texts.judgements, texts.documents_N)
    hits = search(question_QD, documents_UD, dims, copies.depth(k))
    best = {}
    for dim in sorted(dims, reverse=True):
        merged = copies.merge(copies.spread(hits[dim], k), k)
        found = zip(merged.documents_Qk[0].tolist(), merged.similarities_Qk[0].tolist(), strict=True)
        best[dim] = tuple(_passage(texts, row, similarity) for row, similarity in found if row >= 0)
    return Answers(question, best)


def _passage(texts: TokenizedSet, row: int, similarity: float) -> Passage:
    document = texts.document_ids[row]
    first = texts.document_ids[int(texts.judgements.copy_of_N[row])]
    return Passage(first, document, texts.data.corpus[document], similarity)
