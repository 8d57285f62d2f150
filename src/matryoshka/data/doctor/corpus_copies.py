"""How many documents of a corpus are copies of others, and what that does to its right answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from matryoshka.data.doctor.held_out import CorpusCopies
from matryoshka.data.retrieval_set import RetrievalSet


def corpus_copies(data: RetrievalSet, normalise: Callable[[str], str]) -> CorpusCopies:
    """Count them, in one pass over the corpus and one over the judgements."""
    normal = {document: normalise(text) for document, text in data.corpus.items()}
    having, having_exactly = Counter(normal.values()), Counter(data.corpus.values())
    right = [(query, document) for query in data.queries for document in data.grades[query]]
    right_with = Counter((query, normal[document]) for query, document in right)
    right_with_exactly = Counter((query, data.corpus[document]) for query, document in right)
    queries_with = Counter(text for _, text in right_with)
    best = dict.fromkeys(data.queries, 0.0)
    for (query, text), count in right_with_exactly.items():
        best[query] = max(best[query], count / having_exactly[text])
    return CorpusCopies(
        documents=len(normal) - len(having),
        answers=len({query for (query, text), count in right_with.items() if count < having[text]}),
        mean=sum(having[normal[document]] - 1 for _, document in right) / len(right),
        best_accuracy=sum(best.values()) / len(best),
        sharing=len({query for query, text in right_with if queries_with[text] > 1}),
    )
