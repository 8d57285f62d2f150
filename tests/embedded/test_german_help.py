import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from matryoshka.embedded.german_help import FOLDER

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def rows() -> dict[str, Rows]:
    names = ("train", "evaluation", "documents")
    return {
        name: [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()]
        for name in names
    }


@pytest.fixture(scope="module")
def slicing() -> ModuleType:
    path = Path(__file__).parents[2] / "scripts/german_help_slice.py"
    spec = importlib.util.spec_from_file_location("german_help_slice", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_counts_are_those_of_the_readme(rows: dict[str, Rows]) -> None:
    assert len(rows["evaluation"]) == 500
    readme = (FOLDER / "README.md").read_text("utf-8")
    for name, these in rows.items():
        assert f"| `{name}.jsonl` | {len(these)} |" in readme


def test_columns_are_filled(rows: dict[str, Rows]) -> None:
    for name, these in rows.items():
        columns = {"id", "positive", "source"} if name == "documents" else {"id", "anchor", "positive", "source"}
        for row in these:
            assert row.keys() == columns
            assert all(isinstance(value, str) and value.strip() == value != "" for value in row.values())


def test_ids_are_unique(rows: dict[str, Rows]) -> None:
    ids = [row["id"] for these in rows.values() for row in these]
    assert len(set(ids)) == len(ids)


def test_no_page_is_on_both_sides(rows: dict[str, Rows]) -> None:
    searched = rows["evaluation"] + rows["documents"]
    assert not {row["source"] for row in rows["train"]} & {row["source"] for row in searched}


def test_no_text_occurs_twice(rows: dict[str, Rows], slicing: ModuleType) -> None:
    pairs = rows["train"] + rows["evaluation"]
    for texts in (
        [row["anchor"] for row in pairs],
        [row["positive"] for row in pairs + rows["documents"]],
    ):
        normalised = [" ".join(slicing.words(text)) for text in texts]
        assert len(set(normalised)) == len(normalised)


@pytest.mark.slow
def test_the_script_makes_the_files_again(
    rows: dict[str, Rows], slicing: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its rules keep every shipped pair and put it on the same side, byte for byte."""
    full = tmp_path / "full.jsonl"
    pairs = rows["train"] + rows["evaluation"]
    full.write_text("".join(json.dumps(row) + "\n" for row in pairs), encoding="utf-8")
    slicing.main(full, tmp_path)
    for name in ("train.jsonl", "evaluation.jsonl"):
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
    assert f"{len(rows['train'])} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("anchor", "verdict"),
    [
        ("Zeilen und Spalten fixieren", True),
        ("So legen Sie eine neue Bibliothek an", True),
        ("Medienwiedergabe", True),
        ("Mit Kennwort", False),
        ("Erzeugen aus", False),
        ("Nummerierung wird gefolgt von", False),
        ("Formular basierend auf dieser Tabelle erstellen", False),
        ("Ja, die Datenbank für mich registrieren", False),
        ("Das Fenster", False),
    ],
)
def test_headings_that_stand_alone(slicing: ModuleType, anchor: str, verdict: bool) -> None:
    assert slicing.stands_alone({"anchor": anchor, "positive": "Hier steht etwas anderes."}) is verdict


def test_a_caption_is_cut_off(slicing: ModuleType) -> None:
    row = {"anchor": "Rahmen verketten", "positive": "Verkettet zwei Rahmen. Rahmen Verketten"}
    assert slicing.without_caption(row)["positive"] == "Verkettet zwei Rahmen."
    kept = {"anchor": "Rahmen", "positive": "Verkettet zwei Rahmen"}
    assert slicing.without_caption(kept) == kept


def test_near_duplicates_are_dropped(slicing: ModuleType) -> None:
    text = "Legt fest, wie weit der Absatz vom Rand der Seite eingerückt werden soll, in beide Richtungen."
    rows = [
        {"positive": text},
        {"positive": text.upper() + " !"},
        {"positive": "Etwas ganz anderes als das."},
    ]
    assert list(slicing.distinct(rows)) == [rows[0], rows[2]]


def test_licence_is_there() -> None:
    licence = (FOLDER / "LICENSE.MPL-2.0").read_text("utf-8")
    assert licence.startswith("Mozilla Public License Version 2.0")
    assert "Exhibit A - Source Code Form License Notice" in licence
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert "libreoffice-help-de" in readme
    assert "LICENSE.MPL-2.0" in readme
