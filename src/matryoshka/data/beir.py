"""A folder in BEIR's or MTEB's layout as a source of pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from matryoshka.data.beir_files import judgement_files, text_files
from matryoshka.data.judged_sets import Table, judged, judged_set, texts_of
from matryoshka.data.pairs import drawn_pairs
from matryoshka.data.ranges import Count
from matryoshka.data.reading.form import PLAIN, TextForm
from matryoshka.data.reading.rows import read_rows
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import NOT_TRAINED_ON, TO_TRAIN, Problem, dev_problems
from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset


Texts = dict[str, str]


@dataclass(frozen=True)
class BeirFolder:
    """A folder in BEIR's layout: corpus.jsonl, queries.jsonl and qrels/<split>.tsv; or in MTEB's.

    There corpus and queries are files or folders of JSON lines or Parquet, as corpus/test-00000-of-00001.parquet, and
    judgements stand in qrels/ or data/, as qrels/test.jsonl. Every judgement with a score above 0 is a training pair in
    the train split; in the evaluation and the dev split the score is the document's grade, a whole number, as trec_eval
    reads no others. Title and text of a document are joined by a space. pairs_at_most: as of PairFiles. Without
    judgements of the train split it is only measured.
    Source: Thakur et al. 2021, arXiv:2104.08663; Muennighoff et al. 2023, arXiv:2210.07316.
    """

    name: str
    folder: str
    train_split: str | None = "train"
    evaluation_split: str = "test"
    dev_split: str | None = None
    pairs_at_most: Count | None = None

    def problems(self) -> Iterator[Problem]:
        """Files of the layout that are not there, but for those that are only trained on."""
        for kind in ("corpus", "queries"):
            yield from _missing(partial(text_files, Path(self.folder), kind, self.evaluation_split))
        for key in ("evaluation_split", "dev_split"):
            yield from self._split_problems(key)
        yield from dev_problems("dev_split", self.dev_split, self.train_split, self.evaluation_split)

    def training_problems(self) -> Iterator[Problem]:
        """Files that a training needs besides."""
        if self.train_split is None:
            yield "train_split", TO_TRAIN.format("a split of the folder, as data.train_split=train")
        yield from self._split_problems("train_split")

    def _split_problems(self, key: str) -> Iterator[Problem]:
        split = getattr(self, key)
        if split is not None and ("/" in split or "\\" in split or split in ("", ".", "..")):
            yield key, f"{split!r} is no name of a split; use for example train"
        elif split is not None:
            yield from _missing(partial(judgement_files, Path(self.folder), split))

    def read_as(self) -> Iterator[str]:
        """Which files were taken for what."""
        folder, split = Path(self.folder), self.evaluation_split
        files = [text_files(folder, "corpus", split), text_files(folder, "queries", split)]
        files.append(judgement_files(folder, split))
        told = [str(part[0].relative_to(folder)) + (f" and {len(part) - 1} more" if part[1:] else "") for part in files]
        layout = "BEIR" if told == ["corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"] else "MTEB"
        yield f"{folder} read as {layout}'s layout: {', '.join(told)}"

    def training_pairs(self) -> Dataset:
        """One row a judgement of the train split."""
        from datasets import Dataset

        if self.train_split is None:
            raise DataError(f"{self.name}: {NOT_TRAINED_ON.format('train_split')}")
        queries, corpus, pairs = self._read(self.train_split, training=True)
        rows = Dataset.from_dict(
            {"anchor": [queries[query] for query, _ in pairs], "positive": [corpus[document] for _, document in pairs]}
        )
        return drawn_pairs(rows, self.pairs_at_most)

    def retrieval_set(self) -> RetrievalSet:
        """The queries judged in the evaluation split over the whole corpus."""
        return judged_set(self.name, *self._read(self.evaluation_split))

    def dev_set(self) -> RetrievalSet | None:
        """The queries judged in the dev split over the whole corpus."""
        return judged_set(f"{self.name} (dev)", *self._read(self.dev_split)) if self.dev_split is not None else None

    def _read(self, split: str, *, training: bool = False) -> tuple[Texts, Texts, dict[tuple[str, str], int]]:
        """Queries, corpus, and which document answers which query."""
        folder = Path(self.folder)
        queries, corpus = (texts_of(_tables(text_files(folder, kind, split))) for kind in ("queries", "corpus"))
        tables = _tables(judgement_files(folder, split), TextForm(separator="\t"))
        named = _named("queries", folder), _named("corpus", folder)
        return queries, corpus, judged(tables, queries, corpus, named, training=training)


def _tables(files: Sequence[Path], form: TextForm = PLAIN) -> Iterator[Table]:
    return ((str(file), read_rows(str(file), form)) for file in files)


def _missing(find: Callable[[], object]) -> Iterator[Problem]:
    try:
        find()
    except DataError as error:
        yield "folder", str(error)


def _named(kind: str, folder: Path) -> str:
    return kind if (folder / kind).is_dir() else f"{kind}.jsonl"
