"""Grades of pairs, and of all answers, against the mappings that they come from."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matryoshka.evaluation.judgements import Grades

DOCUMENTS = 9
ANSWERS = st.dictionaries(st.integers(0, DOCUMENTS - 1), st.integers(1, 4), min_size=1)


@given(answers=st.lists(ANSWERS, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_every_pair_and_every_query_has_the_grades_of_the_mappings(answers: list[dict[int, int]]) -> None:
    grades = Grades.of(answers, DOCUMENTS)

    documents_N = torch.arange(-1, DOCUMENTS)
    found_QN = grades.of_pairs(torch.arange(len(answers))[:, None], documents_N)
    assert found_QN.tolist() == [[of.get(document, 0) for document in documents_N.tolist()] for of in answers]
    most = max(map(len, answers))
    highest = [sorted(of.values(), reverse=True) for of in answers]
    assert grades.all_QR.tolist() == [[*of, *[0] * (most - len(of))] for of in highest]
