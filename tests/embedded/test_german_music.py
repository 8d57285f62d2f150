import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from matryoshka.embedded.german_help import FOLDER as HELP
from matryoshka.embedded.german_music import FOLDER

SCRIPTS = Path(__file__).parents[2] / "scripts"
Rows = list[dict[str, str]]

PAGE = """<html><head><title>nein</title></head><body><div>nein</div><div id="main">
<p>vor der ersten Überschrift</p><h3 class="x">1.2.3 Der <code>Balken</code> und sein Winkel:</h3>
<p>Glossar: beam. Ein Balken verbindet die Hälse von Noten , die kürzer sind als ein Viertel.</p>
<pre>c8 d</pre><table><tr><td>Navigation</td></tr></table><ul><li>eins</li><li>zwei</li></ul>
<h4>Siehe auch</h4><p>Notationsreferenz</p></div><div id="footer"><p>Diese Seite</p></div></body></html>"""


@pytest.fixture(scope="module")
def rows() -> dict[str, Rows]:
    return {
        name: [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()]
        for name in ("evaluation", "documents")
    }


@pytest.fixture
def slicing(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    spec = importlib.util.spec_from_file_location("german_general_slice", SCRIPTS / "german_general_slice.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_counts_are_those_of_the_readme(rows: dict[str, Rows]) -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    for name, these in rows.items():
        assert f"| `{name}.jsonl` | {len(these)} |" in readme


def test_columns_are_filled_and_ids_unique(rows: dict[str, Rows]) -> None:
    for name, these in rows.items():
        columns = {"id", "positive", "source"} | ({"anchor"} if name == "evaluation" else set())
        for row in these:
            assert row.keys() == columns
            assert all(value.strip() == value != "" for value in row.values())
    assert len({row["id"] for these in rows.values() for row in these}) == 500


def test_it_is_small_enough_to_be_measured_beside_any_run(rows: dict[str, Rows]) -> None:
    assert sum((FOLDER / f"{name}.jsonl").stat().st_size for name in rows) < 400_000
    assert sum(len(row["positive"]) for these in rows.values() for row in these) < 220_000


def test_no_text_occurs_twice_and_no_passage_in_the_help_pairs(rows: dict[str, Rows], slicing: ModuleType) -> None:
    for column, theirs in (("anchor", rows["evaluation"]), ("positive", rows["evaluation"] + rows["documents"])):
        texts = {" ".join(slicing.words(row[column])) for row in theirs}
        assert len(texts) == len(theirs)
    help_rows = [json.loads(line) for path in HELP.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    assert not texts & {" ".join(slicing.words(row["positive"])) for row in help_rows}


def test_every_row_is_one_that_the_rules_keep(rows: dict[str, Rows], slicing: ModuleType) -> None:
    passages = rows["evaluation"] + [row | {"anchor": ""} for row in rows["documents"]]
    assert all(map(slicing.is_passage, passages))
    assert all(map(slicing.is_query, rows["evaluation"]))
    assert len(list(slicing.distinct(passages))) == len(passages)


def test_a_page_is_cut_into_sections(slicing: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "notation").mkdir()
    (tmp_path / "notation/beams.de.html").write_text(PAGE, encoding="utf-8")
    (tmp_path / "notation/index.de.html").write_text(PAGE, encoding="utf-8")
    first, second = slicing.sections(tmp_path)
    assert first == {
        "id": "ly-notation/beams#0",
        "anchor": "Der Balken und sein Winkel",
        "positive": "Ein Balken verbindet die Hälse von Noten, die kürzer sind als ein Viertel. eins zwei",
        "source": "notation/beams.de.html",
    }
    assert (second["anchor"], second["positive"]) == ("Siehe auch", "Notationsreferenz")
    assert slicing.is_passage(first)
    assert not slicing.is_passage(second)
    assert not slicing.is_passage(first | {"positive": "The beam of this note is not what you want it to be. " * 3})


@pytest.mark.parametrize(
    ("anchor", "verdict"),
    [
        ("Die Silben der Strophe", True),
        ("Die extra-offset-Eigenschaft (Genaues Positionieren)", True),
        ("Balken", False),
        ("\\paper-Variablen für den Seitenumbruch", False),
        ("Die Eigenschaft barNumberVisibility", False),
    ],
)
def test_headings_that_can_be_asked_for(slicing: ModuleType, anchor: str, verdict: bool) -> None:
    assert slicing.is_query({"anchor": anchor, "positive": "Hier steht etwas anderes."}) is verdict


def test_the_script_makes_the_same_bytes_each_time(slicing: ModuleType, tmp_path: Path) -> None:
    pages = tmp_path / "unpacked" / slicing.MANUALS / "notation"
    pages.mkdir(parents=True)
    (pages / "beams.de.html").write_text(PAGE, encoding="utf-8")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        slicing.main(tmp_path / "unpacked", tmp_path / name)
    one, two = ((tmp_path / name / "evaluation.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two != b""


def test_licence_is_there() -> None:
    licence = (FOLDER / "LICENSE.GFDL-1.3").read_text("utf-8")
    assert "GNU Free Documentation License" in licence
    assert "Version 1.3, 3 November 2008" in licence
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert "lilypond-doc-html-de" in readme
    assert "LICENSE.GFDL-1.3" in readme
