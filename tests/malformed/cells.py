"""CSV and TSV."""

from __future__ import annotations

import gzip

from tests.malformed.case import CELLS, CSV, JSON_LINES, TSV, Case, Content, harmless, training_file
from tests.malformed.parquet import GOOD as PARQUET

HEADER, *ROWS = CSV.splitlines()
QUOTES = "its own are written twice"


def _rows(*rows: str) -> str:
    return "\n".join([HEADER, *rows]) + "\n"


BROKEN: dict[str, tuple[Content, ...]] = {
    "empty": ("", "has no rows"),
    "a header alone": (HEADER + "\n", "has no rows"),
    "colons": (CSV.replace(",", ":"), "has no column 'anchor'; it has 'anchor:positive:nr'", "data.separator=','"),
    "semicolons, a cell too many": (CSV.replace(",", ";") + "a;b;c;d\n", "line 5", "more cells", "data.separator=';'"),
    "semicolons, a cell too many at once": (f"{HEADER}\na,b,c,d\n".replace(",", ";"), "line 2", "data.separator=';'"),
    "semicolons, an open quote": (CSV.replace(",", ";") + '"a;b;c\n', "line 5", QUOTES, "data.separator=';'"),
    "semicolons, an empty cell": (CSV.replace(",", ";") + ";b;c\n", "row 4", "'anchor' is empty"),
    "semicolons in the header alone": (HEADER.replace(",", ";") + "\na,p,n\n", "'positive'", "is empty"),
    "two separators": (
        HEADER.replace(",", ";", 1) + "\na;p,n\n",
        "has no column 'positive'; it has 'anchor', 'positive",
    ),
    "no header": ("\n".join(ROWS) + "\n", "has no column 'anchor'; it has 'frage 0'"),
    "another header": (CSV.replace("anchor", "frage"), "has no column 'anchor'; it has 'frage'"),
    "a header with a blank": (CSV.replace("anchor,", "anchor ,"), "has no column 'anchor'; it has 'anchor '"),
    "a header in capitals": (CSV.replace("anchor", "Anchor"), "has no column 'anchor'; it has 'Anchor'"),
    "a doubled column": (CSV.replace("nr", "anchor"), "line 1", "'anchor' is named twice; give every column"),
    "a doubled other column": (
        "anchor,positive,x,x\na,p,1,2\n",
        "line 1",
        "'x' is named twice; give every column",
    ),
    "a cell too many": (_rows(*ROWS, "a,b,c,d"), "line 5", "more cells than the header", "in quotes"),
    "a cell too many at once": (_rows("a,b,c,d"), "line 2", "more cells than the header", "in quotes"),
    "a comma too many in every row": (_rows(*(f"{row}," for row in ROWS)), "line 2", "more cells than the header"),
    "an unquoted comma": (_rows(ROWS[0], "wer, wie, was,p,n"), "line 3", "more cells than the header", "in quotes"),
    "an open quote": (_rows(ROWS[0], '"a,p,n', ROWS[2]), "line 3", "a quote is not closed", QUOTES),
    "an open quote in the header": ('"anchor,positive\na,p\n', "line 1", "a quote is not closed", QUOTES),
    "an open quote closed rows later": (_rows('"a,p,n', ROWS[1], '"b,p,n'), "line 2", QUOTES),
    "text after a quote": (_rows(ROWS[0], '"a"b,p,n'), "line 3", QUOTES),
    "a quote of another kind escaped": (_rows('"a \\"b\\" c",p,n'), "line 2", QUOTES),
    "an empty cell": (_rows(ROWS[0], ",p,n"), "row 2", "'anchor' is empty; remove the row"),
    "a cell of blanks": (_rows(ROWS[0], "  ,p,n"), "row 2", "'anchor' is empty; remove the row"),
    "an empty cell in quotes": (_rows(ROWS[0], '"",p,n'), "row 2", "'anchor' is empty; remove the row"),
    "a short row": (_rows(ROWS[0], "a"), "row 2", "'positive' is empty; remove the row"),
    "a first short row": (_rows("a", ROWS[0]), "'positive'", "is empty"),
    "a row of commas": (_rows(ROWS[0], ",,"), "row 2", "is empty; remove the row"),
    "Latin-1": (_rows(ROWS[0], "ä,p,n").encode("latin-1"), "line 3", "is not UTF-8; save the file"),
    "Latin-1 in the header": ("anchor,pösitive\na,p\n".encode("latin-1"), "line 1", "is not UTF-8; save the file"),
    "UTF-16": (CSV.encode("utf-16"), "line 1", "UTF-16, or none; save the file in UTF-8"),
    "UTF-16 without a mark": (CSV.encode("utf-16-le"), "line 1", "UTF-16, or none; save"),
    "a byte 0": (_rows(ROWS[0], "a\0b,p,n"), "row 2", "NUL character"),
    "two million characters": (_rows(ROWS[0], "x" * 2_000_000 + ",p,n"), "row 2", "more than 1,000,000 characters"),
    "twenty million characters": (_rows("x" * 20_000_000 + ",p,n"), "line 2", ";"),
    "JSON lines": (JSON_LINES, "train.csv", ";"),
    "an HTML page": ("<html><body></body></html>\n<p>\n", "has no column 'anchor'"),
    "an Excel sheet": (b"PK\x03\x04" + bytes(60), "is a zip archive; unpack it"),
    "one column": ("anchor\na\nb\n", "has no column 'positive'; it has 'anchor'"),
}

MARKS = {"commas": ",", "semicolons": ";", "tabs": "\t", "bars": "|"}
ALL_QUOTED = "".join(";".join(f'"{cell}"' for cell in row) + "\n" for row in CELLS)
UMLAUT = _rows("ä,p,n", "\u20ac,p,n").replace("\u20ac", "ß")
# Words of the command, the file, what is said.
FORMS: dict[str, tuple[tuple[str, ...], Content, str]] = {
    "another separator than is given": (
        ("data.separator=;",),
        CSV,
        "has no column 'anchor'; it has 'anchor,positive,nr'",
    ),
    "two separators given": (("data.separator=;;",), CSV, "data.separator: ';;' cannot stand between cells; use"),
    "a letter for a separator": (("data.separator=a",), CSV, "data.separator: 'a' cannot stand between cells; use"),
    "a quote for a separator": (('data.separator="',), CSV, "data.separator: '\"' cannot stand between cells; use"),
    "an unknown encoding": (("data.encoding=windows",), CSV, "data.encoding: 'windows' is no encoding of texts; use"),
    "a codec of bytes": (("data.encoding=zip",), CSV, "data.encoding: 'zip' is no encoding of texts; use"),
    "no text of the encoding": (("data.encoding=ascii",), UMLAUT, "line 2: byte 0xc3 is not ascii; save the file"),
    "no text of a Japanese one": (("data.encoding=shift_jis",), UMLAUT.encode("latin-1"), "is not shift_jis; save"),
    "UTF-8 as cp1252": (("data.encoding=cp1252",), UMLAUT, "train.csv is UTF-8, not cp1252; save all files in one"),
    "half a character of UTF-16": (
        ("data.encoding=utf-16",),
        CSV.encode("utf-16")[:-1],
        "is not utf-16; save the file",
    ),
    "ASCII as UTF-16": (("data.encoding=utf-16-le",), CSV, "train.csv"),
}


def _read_with(name: str, given: tuple[str, ...], content: Content, *says: str) -> Case:
    words = ("data=pairs", "data.evaluation=good.parquet", "data.train=train.csv", *given)
    return Case(f"csv: {name}", words, says, {"train.csv": content, "good.parquet": PARQUET})


CASES: list[Case] = [
    *(
        training_file(f"csv: {name}", text, *map(str, says), file="train.csv", clean=CSV)
        for name, (text, *says) in BROKEN.items()
    ),
    training_file("tsv: colons", CSV.replace(",", ":"), "has no column 'anchor'", file="train.tsv", clean=TSV),
    training_file("tsv: a cell too many", TSV + "a\tb\tc\td\n", "line 5", "more cells", file="train.tsv", clean=TSV),
    training_file("tsv: an open quote", TSV + '"a\tb\tc\n', "line 5", QUOTES, file="train.tsv", clean=TSV),
    training_file("tsv: an empty cell", TSV + "\tb\tc\n", "row 4", "is empty", file="train.tsv", clean=TSV),
    training_file("tsv: a header alone", TSV.splitlines()[0], "has no rows", file="train.tsv", clean=TSV),
    training_file(
        "tsv: Latin-1", (TSV + "ä\tb\tc\n").encode("latin-1"), "line 5", "UTF-8", file="train.tsv", clean=TSV
    ),
    *(_read_with(name, words, content, *says) for name, (words, content, *says) in FORMS.items()),
    *(harmless(f"csv: {name}", CSV.replace(",", mark), "train.csv") for name, mark in MARKS.items()),
    *(harmless(f"tsv: {name}", CSV.replace(",", mark), "train.tsv") for name, mark in MARKS.items()),
    harmless("csv: semicolons, packed", gzip.compress(CSV.replace(",", ";").encode()), "train.csv.gz"),
    harmless("csv: semicolons, all in quotes", ALL_QUOTED, "train.csv"),
    harmless("csv: as it should be", CSV, "train.csv"),
    harmless("csv: a byte order mark", b"\xef\xbb\xbf" + CSV.encode(), "train.csv"),
    harmless("csv: line ends of Windows", CSV.replace("\n", "\r\n"), "train.csv"),
    harmless("csv: line ends of old Macs", CSV.replace("\n", "\r"), "train.csv"),
    harmless("csv: no line end at the end", CSV.rstrip(), "train.csv"),
    harmless("csv: blank lines", CSV.replace("\n", "\n\n"), "train.csv"),
    harmless("csv: all in quotes", "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in CELLS), "train.csv"),
    harmless(
        "csv: a column without a name",
        "".join(f"{i or ''},{row}\n" for i, row in enumerate(CSV.splitlines())),
        "train.csv",
    ),
    harmless("tsv: as it should be", TSV, "train.tsv"),
    harmless("tsv: line ends of Windows", TSV.replace("\n", "\r\n"), "train.tsv"),
]
