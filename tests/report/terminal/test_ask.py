"""Answers in the terminal: columns that fit, letters that stay with their passage, texts that break nothing."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from rich.console import Console

from matryoshka.evaluation.ask import Answers, Passage, answers
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.report.terminal.ask import answer_tables, letters, show_answers
from tests.evaluation.small import small_set
from tests.tiny import tiny_encoder

DIMS = (768, 512, 256, 128, 64)


def found(*passages: str) -> tuple[Passage, ...]:
    return tuple(Passage(name, name, f"[{name}] ein Text", 0.9 - place / 10) for place, name in enumerate(passages))


@pytest.fixture
def answered() -> Answers:
    best = [("p", "q", "r"), ("p", "r", "q"), ("q", "p", "s"), ("p", "t", "q"), ("t", "s", "u")]
    return Answers("Wann [bold]?", dict(zip(DIMS, (found(*names) for names in best), strict=True)))


def printed(answers: Answers, width: int) -> str:
    file = StringIO()
    console = Console(width=width, file=file)
    for table in answer_tables(answers, width):
        console.print(table)
    return file.getvalue()


@pytest.mark.parametrize(
    ("width", "rows"),
    [
        (150, [DIMS]),
        (149, [DIMS[:4], DIMS[4:]]),
        (80, [DIMS[:2], DIMS[2:4], DIMS[4:]]),
        (40, [(dim,) for dim in DIMS]),
        (20, [(dim,) for dim in DIMS]),
    ],
)
def test_as_many_dims_beside_each_other_as_fit(answered: Answers, width: int, rows: list[tuple[int, ...]]) -> None:
    text = printed(answered, width)
    headers = [line for line in text.splitlines() if "dim " in line]
    assert [tuple(map(int, re.findall(r"dim (\d+)", line))) for line in headers] == rows
    assert max(map(len, text.splitlines())) <= width
    for table in answer_tables(answered, width):
        assert all(column.width is not None and column.width >= min(28, width - 2) for column in table.columns)


def test_a_passage_keeps_its_letter_and_new_ones_are_marked(answered: Answers) -> None:
    assert letters(answered) == {"p": "A", "q": "B", "r": "C", "s": "D", "t": "E", "u": "F"}
    columns = [re.findall(r"^([A-Z]+\+?)  \d\.\d{3}", part, re.M) for part in printed(answered, 40).split("dim ")[1:]]
    assert columns == [["A", "B", "C"], ["A", "C", "B"], ["B", "A", "D+"], ["A", "E+", "B"], ["E+", "D+", "F+"]]


def test_what_a_dim_lost_stands_above_it(answered: Answers) -> None:
    heads = [part.splitlines()[1].strip() for part in printed(answered, 40).split("dim ")[1:]]
    assert heads == ["", "all of them kept", "without C", "without C", "without A B C"]


def test_letters_do_not_end() -> None:
    many = Answers("?", {64: found(*(f"p{place}" for place in range(60)))})
    assert list(letters(many).values())[24:29] == ["Y", "Z", "AA", "AB", "AC"]
    assert list(letters(many).values())[51:54] == ["AZ", "BA", "BB"]


def test_one_passage_has_one_colour(answered: Answers) -> None:
    (table,) = answer_tables(answered, 200)
    colours: dict[str, set[str]] = {}
    for column in table.columns:
        for cell in column.cells:
            colours.setdefault(cell.plain[0], set()).add(str(cell.spans[-1].style))  # type: ignore[union-attr]
    assert colours.keys() == set("ABCDEF")
    assert all(len(of) == 1 for of in colours.values())
    assert len(set().union(*colours.values())) == 6


def test_texts_stay_as_they_are_and_are_shortened() -> None:
    long = Answers("?", {64: (Passage("p", "p", "[red]viel[/red]\n\n" + "Wort " * 500, 0.5),)})
    text = printed(long, 60)
    assert "[red]viel[/red] Wort" in text
    assert text.rstrip().endswith("...")
    assert len(text.splitlines()) < 10


def test_what_a_model_finds(capsys: pytest.CaptureFixture[str]) -> None:
    encoder = tiny_encoder(modes=("mean",))
    texts = TokenizedSet.of(small_set(), encoder.tokenize)
    show_answers(answers(encoder, texts, "was ist [miete]?", [32, 8], 3))
    out = capsys.readouterr().out
    assert out.startswith("was ist [miete]?\n")
    assert "dim 32" in out and "dim 8" in out
