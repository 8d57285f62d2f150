"""What can be wrong with several sources, said before anything is read."""

from __future__ import annotations

import pytest

from matryoshka.config.mixture import mixture_problems
from matryoshka.config.recipe import EvaluationRecipe, TrainingRecipe, build
from matryoshka.data.mixture import MixedSources
from tests.composing import plain, problems

MIXTURE = ("data=mixture", "+data@sources.law=german_help", "+data@sources.help=german_help")
SETS = "+sets.law={_target_: matryoshka.data.sources.PairFiles, name: l, train: null, evaluation: x.jsonl}"


def test_the_sources_are_those_of_the_group() -> None:
    data = build(plain(*MIXTURE, "data.weights={law: 2, help: 1}"), TrainingRecipe).data
    assert isinstance(data, MixedSources)
    assert list(data.sources) == ["law", "help"]
    assert data.weights == {"law": 2, "help": 1}
    assert data.prompts is None
    measured = build(plain(*MIXTURE, "model=embedded:e5_small", primary="evaluate"), EvaluationRecipe).data
    assert isinstance(measured, MixedSources)


@pytest.mark.parametrize(
    ("words", "key", "said"),
    [
        ("data.weights={law: 2, hlep: 1}", "data.weights.hlep", "no such source; did you mean data.weights.help?"),
        ("data.weights={law: 2}", "data.weights", "help has none; give each source one, or none at all"),
        ("data.weights={law: 0, help: 1}", "data.weights.law", "0 is not above 0; use for example 1, or ~sources.law"),
        ("data.weights={law: -2, help: 1}", "data.weights.law", "-2 is not above 0"),
        ("data.weights={law: .nan, help: 1}", "data.weights.law", "nan"),
        ("data.weights={law: a, help: 1}", "data.weights.law", '"a" is not a valid number'),
        ("data.prompts={lwa: {query: x}}", "data.prompts.lwa", "did you mean data.prompts.law?"),
        ("data.prompts={law: {qeury: x}}", "data.prompts.law.qeury", "did you mean data.prompts.law.query?"),
        ("+sources.law.trian=x", "sources.law.trian", "did you mean sources.law.train?"),
        ("sources.law.train=nowhere.jsonl", "sources.law.train", "nowhere.jsonl"),
        ("+data@sources.test=german_help", "sources.test", "cannot be called so"),
        ("+data@sources.dim_16=german_help", "sources.dim_16", "cannot be called so"),
        (SETS, "sources.law", "a further set has this name too"),
        ("task=mine", "task", "task=mine works on one source"),
        ("task=project", "task", "task=project works on one source"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(words: str, key: str, said: str) -> None:
    found = problems(*MIXTURE, words)
    assert [message for where, message in found if where == key and said in message], found


def test_sources_without_a_mixture_and_a_mixture_without_sources() -> None:
    ((key, said),) = problems("data=mixture")
    assert (key, "there is none to be mixed; give for example +data@sources.law=pairs" in said) == ("sources", True)
    ((key, said),) = problems(*MIXTURE[1:])
    assert (key, "law, help: are mixed by data=mixture" in said) == ("sources", True)


def test_vectors_are_no_source_and_a_name_has_no_slash() -> None:
    data = {"_target_": "matryoshka.data.mixture.Mixture", "name": "mixture"}
    vectors = {"_target_": "matryoshka.projection.stored_pairs.VectorFiles"}
    found = dict(mixture_problems({"data": data, "sources": {"law": vectors, "a/b": {}}}, set()))
    assert found == {
        "sources.law": "vectors without texts cannot be trained on; use task=project data=vectors",
        "sources.a/b": "a source's name is of letters, digits, _, - and .",
    }
    assert not list(mixture_problems({"data": data, "sources": {}}, {"sources"}))
