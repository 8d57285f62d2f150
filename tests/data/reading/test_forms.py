"""Separators that are found, encodings that are given, and both in every message."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest

from matryoshka.data.reading.form import TextForm
from matryoshka.data.reading.rows import first_row, read_rows
from matryoshka.errors import DataError

COLUMNS = ["Frage", "Antwort"]
TEXTS = [
    ["Wer, wie; was?", 'Er sagte "nein", | zweimal;'],
    ["Zwei\nZeilen, bitte", "ä ß"],
    ["kurz", "mit\tTab"],
    ["a,b,c,d", "e;f;g;h"],
]


def written(path: Path, separator: str, encoding: str = "utf-8", texts: list[list[str]] = TEXTS) -> str:
    """As csv writes it: in quotes only where it must be."""
    content = io.StringIO()
    csv.writer(content, delimiter=separator, lineterminator="\r\n").writerows([COLUMNS, *texts])
    data = content.getvalue().encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


@pytest.mark.parametrize("columns", [COLUMNS, ["Antwort"], []])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.csv.gz"])
def test_the_separator_is_found(tmp_path: Path, name: str, separator: str, columns: list[str]) -> None:
    path = written(tmp_path / name, separator)

    rows = read_rows(path, TextForm(), columns)
    assert rows.column_names == COLUMNS
    assert [list(row.values()) for row in rows] == TEXTS
    assert first_row(path, TextForm(), columns) == dict(zip(COLUMNS, TEXTS[0], strict=True))


def test_the_columns_decide_where_rows_are_odd(tmp_path: Path) -> None:
    """As many commas as semicolons in every row, and a row cut short."""
    path = tmp_path / "x.csv"
    path.write_text("Frage;Antwort, lang\na;b,c\n", encoding="utf-8")

    assert read_rows(str(path), TextForm(), ["Frage"]).column_names == ["Frage", "Antwort, lang"]
    assert read_rows(str(path), TextForm(), ["Antwort, lang"])["Frage"][:] == ["a"]
    assert read_rows(str(path), TextForm(separator=","), []).column_names == ["Frage;Antwort", " lang"]


@pytest.mark.parametrize("given", [";", "tab", r"\t", "^"])
def test_a_separator_that_is_given_is_taken(tmp_path: Path, given: str) -> None:
    path = written(tmp_path / "x.csv", {"tab": "\t", r"\t": "\t"}.get(given, given))

    assert [list(row.values()) for row in read_rows(path, TextForm(separator=given))] == TEXTS


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "utf-16-le", "UTF-8", "utf-8-sig", "utf-32"])
@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_an_encoding_that_is_given_is_taken(tmp_path: Path, name: str, encoding: str) -> None:
    path = written(tmp_path / name, ";", encoding)

    form = TextForm(encoding=encoding)
    assert [list(row.values()) for row in read_rows(path, form, COLUMNS)] == TEXTS
    assert first_row(path, form, COLUMNS)["Frage"] == TEXTS[0][0]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
@pytest.mark.parametrize(("name", "text"), [("x.jsonl", '{"a": "ä"}\n\n'), ("x.json", '[{"a":\n "ä"}]')])
def test_json_may_be_in_another_encoding(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))

    assert read_rows(str(path), TextForm(encoding=encoding))["a"][:] == ["ä"]


def test_what_is_kept_of_a_file_is_kept_by_its_form(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("a,b;c\nä,ö;ü\n".encode("latin-1"))

    forms = [TextForm(",", "latin-1"), TextForm(";", "latin-1"), TextForm(",", "cp850"), TextForm(",", "latin-1")]
    assert [read_rows(str(path), form)[0] for form in forms] == [
        {"a": "ä", "b;c": "ö;ü"},
        {"a,b": "ä,ö", "c": "ü"},
        {"a": "õ", "b;c": "÷;³"},
        {"a": "ä", "b;c": "ö;ü"},
    ]


def test_another_encoding_is_refused_with_the_key(tmp_path: Path) -> None:
    form = TextForm(keys=True)
    path = written(tmp_path / "x.csv", ";", "latin-1")
    with pytest.raises(DataError, match=r"x\.csv, line 4: byte 0xe4 is not UTF-8; .* as data\.encoding=cp1252"):
        read_rows(path, form, COLUMNS)
    path = written(tmp_path / "y.csv", ";", "utf-16")
    with pytest.raises(DataError, match=r"y\.csv, line 1: the text is UTF-16, .*data\.encoding=cp1252 or utf-16"):
        read_rows(path, form, COLUMNS)
    path = written(tmp_path / "z.csv", ",", "ascii", [["a", "b"], ["a", "b", "c"]])
    with pytest.raises(
        DataError, match=r"line 3: 3 cells, .*\(read with data\.separator=',' and data\.encoding=utf-8\)"
    ):
        read_rows(path, form, COLUMNS)
    with pytest.raises(DataError, match=r"not UTF-8; save the file in UTF-8$"):  # a reader without keys
        read_rows(str(tmp_path / "x.csv"))


def test_a_file_is_not_read_in_an_encoding_that_it_has_not(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", ";", "cp1252", [["a", "b"]] * 200_000 + [["\u20ac", "\u201d"]])
    with pytest.raises(DataError, match=r"x\.csv, line 200002: byte 0x80 is not shift_jis"):
        read_rows(path, TextForm(encoding="shift_jis"))
    path = written(tmp_path / "y.csv", ";", "utf-8")
    with pytest.raises(DataError, match=r"y\.csv is UTF-8, not cp1252; save all files in one encoding"):
        read_rows(path, TextForm(encoding="cp1252"))
    ascii_alone = written(tmp_path / "z.csv", ";", "utf-8", [["a", "b"]])
    assert len(read_rows(ascii_alone, TextForm(encoding="cp1252"))) == 1
    with pytest.raises(DataError, match=r"z\.csv has no rows; .*data\.separator=',' and data\.encoding=utf-16-be"):
        read_rows(ascii_alone, TextForm(encoding="utf-16-be", keys=True))


@pytest.mark.parametrize("separator", ["", ";;", "a", '"', "\n", "\0"])
def test_what_cannot_stand_between_cells_is_told(separator: str) -> None:
    assert [key for key, _ in TextForm(separator=separator).problems()] == ["separator"]


@pytest.mark.parametrize("encoding", ["", "none", "rot13", "zip", "base64", "hex", "a\0b", "undefined"])
def test_what_is_no_encoding_of_texts_is_told(encoding: str) -> None:
    assert [key for key, _ in TextForm(encoding=encoding).problems()] == ["encoding"]


@pytest.mark.parametrize(
    "form", [TextForm(), TextForm("tab", "Latin1"), TextForm(r"\t", "windows-1252"), TextForm("|")]
)
def test_others_are_fine(form: TextForm) -> None:
    assert list(form.problems()) == []
