"""Paths as they are typed; of a sweep, what commas mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Sweep

from matryoshka.cli.literal_words import read_literally

PATHS = [
    "Über [1]/a=b#c, d.jsonl",
    "(1).jsonl",
    "[1].jsonl",
    "it's.jsonl",
    'a "b".jsonl',
    " a.jsonl",
    "a  b.jsonl",
    "{a}.jsonl",
    "a;b&c!.jsonl",
    "~/a.jsonl",
    "a\\,b.jsonl",
    "choice(a,b)",
    "a,b.jsonl",
    "'a'.jsonl",
    "2024",
    "1e3",
    "${x}.jsonl",
    "[a.jsonl,b.jsonl]",
]


def values(word: str, sweep: bool) -> list[object]:
    """What Hydra makes of it: one value, or those that are swept over."""
    override = OverridesParser.create().parse_override(read_literally(word, sweep=sweep))
    value = override.value()
    if isinstance(value, Sweep):
        return [text.strip("'") for text in override.sweep_string_iterator()]
    return [value.replace(r"\${", "${") if isinstance(value, str) else value]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("sweep", [False, True])
@pytest.mark.parametrize("key", ["data.train", "model", "+data.path", "sets.more.evaluation", "hydra.run.dir"])
@pytest.mark.parametrize("path", PATHS)
def test_an_existing_path_is_one_value(path: str, key: str, sweep: bool) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()

    assert values(f"{key}={path}", sweep) == [path]


@pytest.mark.parametrize("path", ["Über/a=b#c, d.jsonl", "it's", "(1)", "a, b"])
def test_a_folder_of_results_need_not_be_there(path: str) -> None:
    assert values(f"hydra.run.dir={path}", sweep=False) == [path]
    assert values(f"hydra.sweep.dir={path}", sweep=True) == [path]


def test_commas_of_a_sweep_stand_between_its_values() -> None:
    assert values("data.train=a.jsonl,b.jsonl", sweep=True) == ["a.jsonl", "b.jsonl"]
    for name in ("Über, zwei.jsonl", "b [2].jsonl"):
        Path(name).touch()
    assert values("data.train=Über, zwei.jsonl,b [2].jsonl", sweep=True) == ["Über, zwei.jsonl", "b [2].jsonl"]
    assert values("data.train='Über, zwei.jsonl',a.jsonl", sweep=True) == ["Über, zwei.jsonl", "a.jsonl"]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("data.documents=[ä.jsonl,b [1].jsonl]", ["ä.jsonl", "b [1].jsonl"]),
        ("compare=[outputs/a=1,'outputs/b, c']", ["outputs/a=1", "outputs/b, c"]),
        ("data.anchor=Frage (kurz)", "Frage (kurz)"),
        ("data.separator=;", ";"),
        ("data.separator=,", ","),
        ("data.separator=|", "|"),
        ("data.separator=\\t", "\\t"),
        ("data.train=${oc.env:HOME}/ä.jsonl", "${oc.env:HOME}/ä.jsonl"),
    ],
)
def test_other_texts_need_no_quotes_either(word: str, value: object) -> None:
    assert values(word, sweep=False) == [value]


@pytest.mark.parametrize(
    "word",
    [
        "data=pairs",
        "data.train=null",
        "data.train=a.jsonl,b.jsonl",  # without -m Hydra says what it could mean
        "data.pairs_at_most=100",
        "data.documents=[a.jsonl,b.jsonl]",
        "data.train='a, b.jsonl'",
        "data.train=${x}/a.jsonl",
        "data.train=",
        "~data.dev",
        "name=a=b",
        "dims=[32",
        "--config-dir=a, b",
    ],
)
def test_the_grammar_is_left_alone(word: str) -> None:
    for name in ("null", "100", "pairs", "b", "a=b"):
        Path(name).touch()

    assert read_literally(word, sweep=False) == word
