"""The first lines name what was found in files; nothing of those that are plain."""

from __future__ import annotations

from pathlib import Path

import pytest

from matryoshka.data.sources import PairFiles
from matryoshka.data.split import SameSet
from matryoshka.report.terminal import lines
from matryoshka.tasks.data_lines import show_read_as


def test_separators_and_encodings_are_told(tmp_path: Path) -> None:
    header, row = "anchor,positive\n", "Wer, wo?,ä\n"
    (tmp_path / "plain.csv").write_text(header + "a,p\n", encoding="utf-8")
    (tmp_path / "semi.csv").write_text("anchor;positive\nWer, wo?;p\n", encoding="utf-8")
    (tmp_path / "tabs.csv").write_text((header + row).replace(",", "\t"), encoding="cp1252")
    (tmp_path / "x.jsonl").write_text('{"anchor": "a", "positive": "p"}\n', encoding="utf-8")
    plain, semi, tabs, rows = (str(tmp_path / name) for name in ("plain.csv", "semi.csv", "tabs.csv", "x.jsonl"))

    assert list(PairFiles("x", plain, rows, [plain]).read_as()) == []
    assert list(PairFiles("x", semi, plain, [semi]).read_as()) == [f"{semi} read with ';' between cells"]
    assert list(PairFiles("x", None, tabs, encoding="cp1252").read_as()) == [
        rf"{tabs} read with '\t' between cells, in cp1252"
    ]
    assert list(PairFiles("x", rows, plain, encoding="utf-8-sig").read_as()) == []


def test_lines_are_shown_of_sources_that_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    class Telling:
        def read_as(self) -> list[str]:
            return ["x read as y"]

    class Recipe:
        data, sets = Telling(), {"more": object()}

    said: list[tuple[str, str]] = []
    monkeypatch.setattr(lines, "say", lambda *words: said.append(words))
    show_read_as(Recipe())  # type: ignore[arg-type]
    assert said == [("data", "x read as y")]


def test_what_was_found_in_rows_is_told_once_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("question;answer\nWer, wo?;Ich, hier\nWann?;Nie\n", encoding="utf-8")
    source, found = PairFiles("x", str(path), str(path)), f"{path} read with ';' between cells"

    assert list(source.read_as()) == [found]
    rows = ["read as pairs (question, answer)", f"{path}: read as pairs (question, answer)"]
    assert [*SameSet().split(source).notes] == [found, *rows]
