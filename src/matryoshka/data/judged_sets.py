"""Texts and judgements apart, as in BEIR's layout: tables of _id, title, text, and of query-id, corpus-id, score."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matryoshka.data.reading.rows import missing_column, require_texts
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

IDS = ("_id", "id")
JUDGEMENT = QUERY, DOCUMENT, SCORE = "query-id", "corpus-id", "score"
Table = tuple[str, "Dataset"]  # what messages name, and its rows


def texts_of(tables: Iterable[Table], *, leave_out_blank: bool = False) -> dict[str, str]:
    """id -> title, where there is one, and text, joined by a space.

    Raises DataError at what is no id or no text, at an id given twice, and, unless left out, at neither title nor text.
    """
    texts: dict[str, str] = {}
    blank: set[str] = set()
    for origin, rows in tables:
        require_texts(rows, ["text"], origin, blank=True)
        ids = next((column for column in IDS if column in rows.column_names), None)
        if ids is None:
            raise DataError(f"{origin} {missing_column(IDS[0], rows.column_names)}; give every text an id there")
        titles = rows["title"] if "title" in rows.column_names else [None] * len(rows)
        for row, (key, title, text) in enumerate(zip(rows[ids], titles, rows["text"], strict=True), start=1):
            place = f"{origin}, row {row}"
            if (name := _id(key, "the id", place)) in texts or name in blank:
                raise DataError(f"{place}: id {name!r} is given twice; give every text its own")
            if title is not None and not isinstance(title, str):
                raise DataError(f"{place}: 'title' is {title!r}, not a text; put it in quotes")
            if whole := f"{title or ''} {text}".strip():
                texts[name] = whole
            elif leave_out_blank:
                blank.add(name)
            else:
                raise DataError(f"{place}: neither a title nor a text; remove the row")
    return texts


def judged(
    tables: Iterable[Table],
    queries: Mapping[str, str],
    corpus: Mapping[str, str],
    named: tuple[str, str],
    *,
    training: bool = False,
    needed: Sequence[str] = JUDGEMENT,
) -> dict[tuple[str, str], int]:
    """(query, document) -> grade above 0, in the order of the rows; to train on 1, whatever the score above 0.

    A row judges a document or a list of them. To evaluate, scores are whole numbers, as trec_eval reads no others, and
    queries without a text are left out, as BEIR does. named: where queries and documents have their texts. needed:
    columns that must be there; without scores all documents are right. Raises DataError with the row, and where no
    query has a relevant document.
    """
    grades: dict[tuple[str, str], int] = {}
    origin = ""
    for origin, rows in tables:
        if missing := [column for column in needed if column not in rows.column_names]:
            lacks = missing_column(missing[0], rows.column_names)
            raise DataError(f"{origin} {lacks}; its header is {', '.join(needed)}")
        scores = rows[SCORE] if SCORE in rows.column_names else [1] * len(rows)
        for row, (key, found, score) in enumerate(zip(rows[QUERY], rows[DOCUMENT], scores, strict=True), start=1):
            place = f"{origin}, row {row}"
            query, grade = _id(key, QUERY, place), _grade(score, place, training=training)
            for document in found if isinstance(found, list) else [found]:
                pair = query, _id(document, DOCUMENT, place)
                if grade and query not in queries and training:
                    raise DataError(f"{place}: query {query!r} has no text in {named[0]}; give it one there")
                if query not in queries:
                    continue
                if grade and pair[1] not in corpus:
                    raise DataError(f"{place}: document {pair[1]!r} has no text in {named[1]}; give it one there")
                if grades.setdefault(pair, grade) != grade:
                    both = f"query {query!r} and document {pair[1]!r} are judged twice"
                    raise DataError(f"{place}: {both}; keep one of the scores")
    right = {pair: grade for pair, grade in grades.items() if grade}
    if not right:
        raise DataError(f"{origin}: no query has a relevant document; give a score above 0 to a query of {named[0]}")
    return right


def judged_set(
    name: str, queries: Mapping[str, str], corpus: Mapping[str, str], right: Mapping[tuple[str, str], int]
) -> RetrievalSet:
    """What is judged, as a set to evaluate on."""
    relevant: dict[str, dict[str, int]] = {}
    for (query, document), grade in right.items():
        relevant.setdefault(query, {})[document] = grade
    return RetrievalSet(name, queries, corpus, relevant)


def _id(key: Any, what: str, place: str) -> str:
    if key is None or key == "":
        raise DataError(f"{place}: {what} is empty; give every text its own id")
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise DataError(f"{place}: {what} is {key!r}, no text and no number; write the id as text")
    return str(key)


def _grade(score: Any, place: str, *, training: bool) -> int:
    """The score as a grade; 0 for what is no answer."""
    try:
        grade = float(score)  # of TSV files every cell is a text
    except (TypeError, ValueError):
        grade = math.nan
    if not math.isfinite(grade):
        raise DataError(f"{place}: score is {score!r}, not a number; write 1 for a right document, 0 for a wrong one")
    if training:
        return int(grade > 0)
    if not grade.is_integer():
        raise DataError(f"{place}: score is {score!r}, no whole number; multiply all scores until they are")
    return max(0, int(grade))
