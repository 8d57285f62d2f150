"""Cut the German pairs on music that ship with the package out of Debian's LilyPond manuals.

    apt-get download lilypond-doc-html-de && dpkg-deb -x lilypond-doc-html-de_*.deb unpacked
    python scripts/german_general_slice.py unpacked [folder]

Output: evaluation.jsonl and documents.jsonl, the same bytes each time, in the order of a hash of the ids.
The README in the output folder tells the rules and which package it was.
"""

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from german_help_slice import by_hash, distinct, first_of_its_anchor, is_prose, stands_alone, words, write

Row = dict[str, str]

FOLDER = Path(__file__).parents[1] / "src/matryoshka/embedded/german_music"
MANUALS = Path("usr/share/doc/lilypond/html/Documentation")
BOOKS = ("essay", "learning", "notation")
NO_TEXT = re.compile(r"gnu-free-documentation-license|index|literature-list|cheat-sheet")  # in a page's name
QUERIES = 300
DOCUMENTS = 200  # without a query

LONGEST_PASSAGE = 1100  # characters
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
LEFT_OUT = {"script", "style", "head", "pre", "table", "blockquote"}  # music, code, navigation
BLOCKS = {"p", "div", "li", "ul", "ol", "br", "dt", "dd", "dl"}
GENERIC = re.compile(
    r"^(LilyPond – |Siehe auch|Bekannte Probleme|Ausgewählte Schnipsel|Vordefinierte Befehle|Fußnoten|ADDENDUM|Inhalts)"
)
GLOSSARY = re.compile(r"^Glossar: [^.]*\. ")  # English words in front of a text
CODE = re.compile(r"[^\w\s.,:;!?()„“”‚‘’«»–/-]|\w[A-Z]|::|_")  # in a heading
GERMAN = """
    der die das und ist nicht sie ein eine einen einer eines den dem des mit für auf von im zu oder wird werden
"""
ENGLISH = "the of and to is are that this with for from you your can will be by it when or which not if"


class Sections(HTMLParser):
    """The (heading, text) of each section of a page; its first heading begins the first."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.inside = self.in_heading = False
        self.skipped = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Follow what is inside, left out, or a heading."""
        if ("id", "main") in attrs or ("id", "footer") in attrs:
            self.inside = ("id", "main") in attrs
        if tag in LEFT_OUT:
            self.skipped += 1
        elif tag in HEADINGS and self.inside:
            self.found.append(["", ""])
            self.in_heading = True
        elif tag in BLOCKS:
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        """The same, backwards."""
        if tag in LEFT_OUT:
            self.skipped -= 1
        elif tag in HEADINGS:
            self.in_heading = False
        elif tag in BLOCKS:
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        """Text of the heading or below it."""
        if self.inside and self.found and not self.skipped:
            self.found[-1][0 if self.in_heading else 1] += data


def plain(text: str) -> str:
    """One space between words, none in front of punctuation."""
    return re.sub(r" ([,;.!?)])(?=\s|$)", r"\1", " ".join(text.split()))


def sections(manuals: Path) -> Iterator[Row]:
    """Every section of the three manuals, in the byte order of the pages' paths; headings lose their number."""
    pages = [page for book in BOOKS for page in (manuals / book).glob("*.de.html") if not NO_TEXT.search(page.name)]
    for page in sorted(pages, key=lambda page: page.as_posix().encode()):
        source = page.relative_to(manuals).as_posix()
        parser = Sections()
        parser.feed(page.read_text("utf-8"))
        parser.close()
        for number, (heading, text) in enumerate(parser.found):
            anchor = re.sub(r"^([A-Z]|\d+)(\.\d+)*\.? ", "", plain(heading)).rstrip(" :")
            identifier = f"ly-{source.removesuffix('.de.html')}#{number}"
            yield {"id": identifier, "anchor": anchor, "positive": GLOSSARY.sub("", plain(text)), "source": source}


def is_german(text: str) -> bool:
    """Whether German function words occur, and more than twice as many as English ones."""
    found, german, english = words(text), set(GERMAN.split()), set(ENGLISH.split())
    return sum(word in german for word in found) > 2 * sum(word in english for word in found)


def is_passage(row: Row) -> bool:
    """Whether a section has an ordinary German text under a heading of its own."""
    text = row["positive"]
    return len(text) <= LONGEST_PASSAGE and not GENERIC.match(row["anchor"]) and is_prose(text) and is_german(text)


def is_query(row: Row) -> bool:
    """Whether a heading can be asked for: it stands alone, and names no command."""
    return not CODE.search(row["anchor"]) and stands_alone(row)


def main(unpacked: Path, folder: Path = FOLDER) -> None:
    """Of the pairs those with the smallest hash are the queries; other passages widen the corpus."""
    passages = list(distinct(filter(is_passage, sections(unpacked / MANUALS))))
    pairs = sorted(first_of_its_anchor(filter(is_query, passages)), key=by_hash)[:QUERIES]
    queries = {row["id"] for row in pairs}
    others = sorted((row for row in passages if row["id"] not in queries), key=by_hash)[:DOCUMENTS]
    write(folder / "evaluation.jsonl", pairs, "id", "anchor", "positive", "source")
    write(folder / "documents.jsonl", others, "id", "positive", "source")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
