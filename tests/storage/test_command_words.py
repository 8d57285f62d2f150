"""Texts in the quotes that Hydra's grammar and a shell need."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from matryoshka.storage.command_words import in_quotes, pasted, quoted

ODD = [
    "plain/path.jsonl",
    "/tmp/Über [1]/a=b#c, d.jsonl",
    "it's",
    'a "b"',
    r"back\slash",
    "ends with \\",
    r"quote after \' it",
    "(1) {2} $x ${y} `z` & ; | * ? ~",
    "日本",
    " blanks ",
    "2024",
    "1e-5",
    "null",
    "True",
    "-1_000",
    "nan",
]


def read(word: str) -> object:
    override = OverridesParser.create().parse_override(word)
    assert not override.is_sweep_override()
    return OmegaConf.create({"key": override.value()}).key


@pytest.mark.parametrize("text", ODD)
def test_a_text_is_read_as_it_is(text: str) -> None:
    for word in (f"key={quoted(text)}", f"key={in_quotes(text)}", *shlex.split(pasted("key", text))):
        assert read(word) == text


def test_what_needs_none_has_no_quotes() -> None:
    assert [quoted(text) for text in ("a/b-1.jsonl", "2024-01-01_12-00", "owner/name")] == [
        "a/b-1.jsonl",
        "2024-01-01_12-00",
        "owner/name",
    ]


def test_what_is_to_be_interpolated_stays_so() -> None:
    (word,) = OverridesParser.create().parse_overrides([f"key={in_quotes('${x}/ä', interpolated=True)}"])
    assert OmegaConf.create({"x": "a", "key": word.value()}).key == "a/ä"
