"""Several sources as one: each split by itself, told apart by name."""

from __future__ import annotations

import pytest
from datasets import Dataset, Features, Value

from matryoshka.data.mixture import MixedSet, Mixture
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.split import DevOfTrain, SameSet
from matryoshka.errors import DataError
from tests.data.test_split import TEST, Given, apart


def rows_as(table: Dataset) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in table.column_names) for row in table]


def test_each_source_is_split_as_if_it_were_alone() -> None:
    sources = {"law": Given(apart(30)), "help": Given([(f"b{i}", f"q{i}") for i in range(50)], name="other")}
    split = DevOfTrain(share=0.1, seed=3)
    mixed = Mixture(name="both", weights={"law": 2, "help": 1}, prompts={"law": {"query": "l: "}}).of(sources)
    found = mixed.split_by(split)

    alone = {name: split.split(source) for name, source in sources.items()}
    assert rows_as(found.pairs) == [row for part in alone.values() for row in rows_as(part.pairs)]
    assert found.sizes == {"law": 27, "help": 45}
    assert found.weights == {"law": 2, "help": 1}
    assert [dict(part.prompts) for part in found.sources.values()] == [{"query": "l: "}, {}]
    assert isinstance(found.dev, MixedSet) and isinstance(found.test, MixedSet)
    assert {name: part.queries for name, part in found.dev.parts.items()} == {
        name: part.dev.queries for name, part in alone.items() if part.dev
    }
    assert found.test.parts == {"law": TEST, "help": TEST}
    assert found.label.startswith("the mean over sources selects; law: checkpoint selected on 3 dev queries")
    assert found.place(0) == f"law {alone['law'].source_row(0)}"
    assert found.place(27 + 44) == f"help {alone['help'].source_row(44)}"


def test_where_the_test_queries_select_there_are_no_dev_queries() -> None:
    found = Mixture(name="both").of({"law": Given(apart(3)), "help": Given(apart(4))}).split_by(SameSet())
    assert found.dev is None
    assert found.weights is None
    assert len(found.pairs) == 7


def test_ids_of_sets_have_the_name_of_their_source_and_keep_grades() -> None:
    graded = RetrievalSet("g", {"q": "Was?"}, {"d": "Das", "e": "Dies"}, {"q": {"d": 3, "e": 1}})
    found = MixedSet.of("both", {"law": TEST, "help": graded}, {})
    assert list(found.queries) == ["law/q-a", "law/q-b", "help/q"]
    assert found.corpus["help/d"] == "Das" and len(found.corpus) == len(TEST.corpus) + 2
    assert found.grades["help/q"] == {"help/d": 3, "help/e": 1}
    assert found.grades["law/q-a"] == {"law/d-a": 1}


def test_other_columns_are_refused_with_the_remedy() -> None:
    sources = {"law": Given([("a", "p", "n")]), "help": Given(apart(3))}
    mixed = Mixture(name="both").of(sources)
    for read in (mixed.training_pairs, lambda: mixed.split_by(SameSet())):
        with pytest.raises(
            DataError, match=r"law has the columns anchor, positive, negative_1, and help has anchor, posi"
        ):
            read()


class Scored(Given):
    """The same with a teacher's scores of the positives, as whole numbers or not."""

    def training_pairs(self) -> Dataset:
        kind = "int64" if self.name == "whole" else "float32"
        table = super().training_pairs()
        scores = Dataset.from_dict(
            {"positive_teacher": [i if kind == "int64" else i + 0.5 for i in range(len(table))]},
            features=Features({"positive_teacher": Value(kind)}),
        )
        columns = {name: table[name][:] for name in table.column_names}
        kinds = Features({name: Value("large_string" if kind == "int64" else "string") for name in columns})
        table = Dataset.from_dict(columns, features=kinds)
        return table.add_column("positive_teacher", scores["positive_teacher"][:])  # type: ignore[no-any-return]


def test_numbers_stay_what_they_are_whatever_a_file_keeps_them_as() -> None:
    sources = {"law": Scored(apart(2), name="whole"), "help": Scored(apart(2), name="parts")}
    found = Mixture(name="both").of(sources).split_by(SameSet())
    assert found.numbers is not None
    assert found.numbers["positive_teacher"][:] == [0.0, 1.0, 0.5, 1.5]
    assert rows_as(found.pairs) == [*apart(2), *apart(2)]

    with pytest.raises(DataError, match="law has the columns positive_teacher, and help has none of them"):
        Mixture(name="both").of({**sources, "help": Given(apart(2))}).split_by(SameSet())
