"""LlamaIndex's files of questions (EmbeddingQAFinetuneDataset): one JSON object with queries, corpus, relevant_docs."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.data.reading.files import ending, opened, require_readable
from matryoshka.data.reading.form import TextForm
from matryoshka.data.reading.json_text import json_value
from matryoshka.data.reading.rows import read_rows, require_texts
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

PARTS = ("queries", "corpus", "relevant_docs")
BEGINS = re.compile(rb'\s*\{\s*("mode"\s*:\s*"\w*"\s*,\s*)?"(queries|corpus|relevant_docs)"\s*:\s*[{\[]')
LAYOUT = "LlamaIndex's file of questions: queries, corpus, relevant_docs"


def is_question_file(path: str, form: TextForm) -> bool:
    """Whether a .json file begins as such a file does: with an object of objects."""
    if ending(path) != ".json":
        return False
    try:
        with opened(require_readable(path, form), form) as content:
            return bool(BEGINS.match(content.read(1000).removeprefix(b"\xef\xbb\xbf")))
    except DataError:  # told where its rows are read
        return False


@dataclass(frozen=True)
class QuestionFile:
    """Queries and documents by id, and the ids of the documents that answer each query."""

    path: str
    queries: Mapping[str, str]
    corpus: Mapping[str, str]
    answers: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, path: str, form: TextForm) -> QuestionFile:
        """Raises DataError, with the id, for whatever of it is of another kind or names what is not there."""
        whole = _whole(path, form)
        if whole.get("mode", "text") != "text":
            raise DataError(f"{path}: mode is {whole['mode']!r}; only files of texts can be read, of mode text")
        for part in PARTS:
            if not isinstance(whole.get(part), dict):
                raise DataError(f"{path}: {part} is no object of ids; {LAYOUT} are objects by id")
        queries, corpus = (_texts(whole[part], f"{path}, {part}") for part in PARTS[:2])
        answers: dict[str, list[str]] = whole["relevant_docs"]
        for query, documents in answers.items():
            place = f"{path}, relevant_docs: query {query!r}"
            if query not in queries:
                raise DataError(f"{place} is not among the queries; give it a text there")
            if not isinstance(documents, list) or not all(isinstance(document, str) for document in documents):
                raise DataError(f"{place} has {reprlib.repr(documents)}; give a list of the ids of its documents")
            if unknown := [document for document in documents if document not in corpus]:
                raise DataError(
                    f"{place} names document {unknown[0]!r}, which is not in the corpus; give it a text there"
                )
        if not any(answers.values()):
            raise DataError(f"{path}: no query has a relevant document; name one in relevant_docs")
        return cls(path, queries, corpus, answers)

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Each query's text with that of each of its documents."""
        for query, documents in self.answers.items():
            yield from ((self.queries[query], self.corpus[document]) for document in dict.fromkeys(documents))

    def retrieval_set(self, name: str, more: Mapping[str, str]) -> RetrievalSet:
        """The queries over the corpus. more: documents that answer none."""
        corpus = {**{f"d-{key}": text for key, text in self.corpus.items()}, **more}
        relevant = {f"q-{query}": frozenset(f"d-{key}" for key in keys) for query, keys in self.answers.items()}
        return RetrievalSet(name, {f"q-{key}": text for key, text in self.queries.items()}, corpus, relevant)


def rows_of_pairs(path: str, form: TextForm, columns: Sequence[str]) -> Dataset:
    """The rows of a file of pairs; of a file of questions each pair, in the first two of the columns."""
    if not is_question_file(path, form):
        return read_rows(path, form, columns)
    from datasets import Dataset

    anchors, positives = zip(*QuestionFile.read(path, form).pairs(), strict=True)
    return Dataset.from_dict({columns[0]: anchors, columns[1]: positives})


def passages_of(path: str, form: TextForm, column: str) -> list[str]:
    """A column's texts; of a file of questions its corpus."""
    if is_question_file(path, form):
        return list(QuestionFile.read(path, form).corpus.values())
    from matryoshka.data.held_out_rows import document_texts

    return list(document_texts(read_rows(path, form, [column]), column, path))


def _whole(path: str, form: TextForm) -> dict[str, Any]:
    with opened(Path(path), form) as content:
        data = content.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; {form.remedy}") from None
    whole: dict[str, Any] = json_value(text, path, "JSON", f"{LAYOUT} are objects by id")
    return whole


def _texts(found: Mapping[str, Any], origin: str) -> dict[str, str]:
    from datasets import Dataset

    if not found:
        raise DataError(f"{origin}: has no texts; give at least one")
    for key, text in found.items():
        if not isinstance(text, str):
            raise DataError(f"{origin}: {key!r} is {reprlib.repr(text)}, not a text; put it in quotes")
    try:
        require_texts(Dataset.from_dict({"text": list(found.values())}), ["text"], origin)
    except UnicodeEncodeError:
        raise DataError(f"{origin}: half of a surrogate pair is no character; remove it") from None
    return dict(found)
