"""Whatever a text holds, the card stays a card."""

from __future__ import annotations

import dataclasses
import html

import pytest
import yaml
from markdown_it import MarkdownIt

from matryoshka.report.card.card import model_card
from matryoshka.report.markdown import plain
from tests.report.records import CONFIG, eval_results_of, metadata_of, page_tokens, record, tables

HOSTILE = [
    "a | b || c",
    "`code` ```python\nprint()\n``` ````",
    "---\nbase_model: evil\n---",
    "{{ record.name }} {% for x in y %} {# no #}",
    "<script>alert('x')</script> </details> <b>bold</b> &amp; &lt;",
    "**bold** _it_ __init__ snake_case [link](http://x) ![image](y) # heading ~~gone~~ $x^2$",
    "back\\slash \\| end\\",
    "zeile\r\nzwei\u2028drei\tvier   fünf",
    "- item\n1. one\n> quote\n\n# title",
    "'single' \"double\" '''triple''' : # no comment",
    "http://evil.example www.evil.example me@evil.example [a](javascript:alert(1)) <javascript:alert(1)> <!-- x",
    "漢字" * 900,
    "",
]


def code(card: str, language: str) -> str:
    """The content of the first code block of a language, as Markdown finds it."""
    blocks = [token for token in page_tokens(card) if token.type == "fence"]
    return next(block.content for block in blocks if block.info == language)


def headings(card: str) -> list[str]:
    """The page's outline."""
    return [token.tag for token in page_tokens(card) if token.type == "heading_open"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_text(text: str) -> None:
    shown = record(
        (text, f"positive {text}"),
        ("plain", "text"),
        name=f"run {text}",
        stand_in=(f"because {text}",),
        config={**CONFIG, "note": text},
        environment={"processor": text},
    )
    shown = dataclasses.replace(shown, pairs=dataclasses.replace(shown.pairs, name=f"data {text}"))
    card = model_card(shown)

    calm = model_card(record(("calm", "calm"), ("plain", "text")))
    assert eval_results_of(card) == eval_results_of(calm)
    line = " ".join(text.split())
    assert metadata_of(card)["widget"][0]["source_sentence"].startswith(line[:400])
    assert yaml.safe_load(code(card, "yaml"))["note"] == text
    compile(code(card, "python"), "card", "exec")

    found = tables(card)
    assert [len(table) for table in found] == [len(table) for table in tables(calm)]
    assert all(len(row) == len(table[0]) for table in found for row in table)
    assert found[-2][1][0] == (line if len(line) <= 1000 else line[:1000] + " ...")
    assert headings(card) == headings(calm)


@pytest.mark.parametrize("text", HOSTILE)
def test_plain_text_renders_as_itself(text: str) -> None:
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(f"x {plain(text)}")

    shown = html.unescape(page.strip().removeprefix("<p>").removesuffix("</p>"))
    assert shown == f"x {' '.join(text.split())}".strip()


def test_an_address_does_not_become_a_link() -> None:
    """GitHub and the hub make one of every address that stands by itself."""
    text = plain("http://a.example, HTTPS://b.example, www.c.example and me@d.example")

    assert text == r"http\://a.example, HTTPS\://b.example, www\.c.example and me\@d.example"
