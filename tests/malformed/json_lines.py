"""JSON lines and JSON arrays."""

from __future__ import annotations

import json
from pathlib import Path

from tests.malformed.case import JSON_LINES, LINES, PAIRS, Case, harmless, training_file


def _second(line: str | bytes) -> str | bytes:
    """A file with the line between good ones."""
    if isinstance(line, bytes):
        return b"\n".join([LINES[0].encode(), line, LINES[2].encode()])
    return "\n".join([LINES[0], line, LINES[2]])


def _pair(anchor: object, positive: object = "p") -> str:
    return json.dumps({"anchor": anchor, "positive": positive})


OBJECT = "each line holds one whole JSON object"
LINE_2 = {
    "cut in a text": (LINES[1][:17], OBJECT),
    "cut after a key": ('{"anchor": ', OBJECT),
    "cut before its end": (LINES[1][:-1], OBJECT),
    "an array": ('["a", "p"]', OBJECT),
    "an empty array": ("[]", OBJECT),
    "null": ("null", OBJECT),
    "an array of objects": (f"[{LINES[1]}]", OBJECT),
    "a text": ('"a"', OBJECT),
    "a number": ("17", OBJECT),
    "true": ("true", OBJECT),
    "words": ("Wer haftet?", OBJECT),
    "a comment": ("# the second row", OBJECT),
    "a comment of C": ("// the second row", OBJECT),
    "single quotes": ("{'anchor': 'a', 'positive': 'p'}", OBJECT),
    "no quotes": ("{anchor: a, positive: p}", OBJECT),
    "a comma at its end": (LINES[1] + ",", OBJECT),
    "a comma before its end": (LINES[1][:-1] + ",}", OBJECT),
    "a semicolon at its end": (LINES[1] + ";", OBJECT),
    "no comma": ('{"anchor": "a" "positive": "p"}', OBJECT),
    "no colon": ('{"anchor" "a", "positive": "p"}', OBJECT),
    "two commas": ('{"anchor": "a",, "positive": "p"}', OBJECT),
    "a brace too many": (LINES[1] + "}", OBJECT),
    "a bracket for a brace": (LINES[1][:-1] + "]", OBJECT),
    "a byte 1": ('{"anchor": "a\x01b", "positive": "p"}', OBJECT),
    "a tab in a text": ('{"anchor": "a\tb", "positive": "p"}', OBJECT),
    "a delete and a bell": ('{"anchor": "\x07\x7f", "positive": "p"}', OBJECT),
    "a byte 0": ('{"anchor": "a\x00b", "positive": "p"}', OBJECT),
    "an unknown escape": ('{"anchor": "\\x41", "positive": "p"}', OBJECT),
    "a short escape": ('{"anchor": "\\u12", "positive": "p"}', OBJECT),
    "deep brackets": ('{"anchor": ' + "[" * 100_000, "nested too deeply"),
    "deep objects": ('{"a":' * 100_000, "nested too deeply"),
    "NaN": ('{"anchor": NaN, "positive": "p", "nr": "x"}', ""),
    "NaN of another key": (LINES[1][:-1] + ', "score": NaN, "score": 1}', "NaN is no JSON"),
    "a key twice": ('{"anchor": "a", "anchor": "b", "positive": "p"}', "'anchor' is given twice; keep one"),
    "another key twice": (LINES[1][:-1] + ', "nr": "n9"}', "'nr' is given twice; keep one"),
    "half a surrogate pair": ('{"anchor": "\\ud800", "positive": "p"}', "surrogate pair"),
    "surrogates in wrong order": ('{"anchor": "\\udc00\\ud800", "positive": "p"}', "surrogate pair"),
    "Latin-1": (_pair("Straße").encode().decode("unicode_escape").encode("latin-1"), "UTF-8"),
    "a broken UTF-8 text": ('{"anchor": "ä'.encode()[:-1] + b'", "positive": "p"}', "is not UTF-8; save the file"),
    "an overlong encoding": (b'{"anchor": "\xc0\xaf", "positive": "p"}', "is not UTF-8; save the file"),
    "an encoded surrogate": (b'{"anchor": "\xed\xa0\x80", "positive": "p"}', "is not UTF-8; save the file"),
    "a byte 255": (b'{"anchor": "\xff", "positive": "p"}', "is not UTF-8; save the file"),
}
CELLS = {
    "null": (_pair(None), "is empty; remove the row"),
    "null as positive": (_pair("a", None), "'positive' is empty; remove the row"),
    "an empty text": (_pair(""), "is empty; remove the row"),
    "blanks": (_pair(" \t\n"), "is empty; remove the row"),
    "hard blanks": (_pair("\u00a0\u2003"), "is empty; remove the row"),
    "no anchor": ('{"positive": "p"}', "'anchor' is empty; remove the row"),
    "no positive": ('{"anchor": "a", "answer": "p"}', "'positive' is empty; remove the row"),
    "no key": ("{}", "is empty; remove the row"),
    "another case of the key": ('{"Anchor": "a", "positive": "p"}', "'anchor' is empty; remove the row"),
    "a number": (_pair(3), "is 3, not a text; put it in quotes"),
    "a fraction": (_pair(0.5), "is 0.5, not a text; put it in quotes"),
    "true": (_pair(True), "is True, not a text; put it in quotes"),
    "a list": (_pair(["a", "b"]), "is ['a', 'b'], not a text"),
    "a nested list": (_pair([["a"], [["b"]]]), "not a text"),
    "an empty list": (_pair([]), "is [], not a text"),
    "an object": (_pair({"text": "a"}), "is {'text': 'a'}, not a text"),
    "an empty object": (_pair({}), "not a text"),
    "a list as positive": (_pair("a", ["p", "q"]), "'positive' is ['p', 'q'], not a text"),
    "an escaped byte 0": (_pair("a\0b"), "has a NUL character"),
    "two million characters": (_pair("x" * 2_000_000), "more than 1,000,000 characters; cut it into passages"),
    "two million as positive": (_pair("a", "ä" * 2_000_000), "'positive' has more than 1,000,000 characters"),
    "two million words": (_pair("wort " * 400_000), "more than 1,000,000 characters; cut it into passages"),
}
FIRST = {
    "cut": (LINES[0][:20], "line 1", OBJECT),
    "an array": ('["a", "p"]', "line 1", OBJECT),
    "a number": ("3", "line 1", OBJECT),
    "null": ("null", "line 1", OBJECT),
    "a text": ('"a"', "line 1", OBJECT),
    "words": ("anchor and positive", "line 1", OBJECT),
    "an HTML page": ("<!DOCTYPE html><html></html>", "line 1", OBJECT),
    "a pretty object": (json.dumps(PAIRS[0], indent=2), "line 1", OBJECT),
    "a YAML row": ("anchor: a\npositive: p\n", "line 1", OBJECT),
    "a pointer of git-lfs": ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "line 1", OBJECT),
    "deep brackets": ("[" * 100_000, "line 1", "JSON object"),
    "a byte 0": ("\0" * 100, "line 1", "UTF-16, or none; save"),
    "UTF-16": (JSON_LINES.encode("utf-16"), "line 1", "UTF-16, or none; save the file in UTF-8"),
    "UTF-16 without a mark": (JSON_LINES.encode("utf-16-le"), "line 1", "UTF-16, or none; save"),
    "UTF-32": (JSON_LINES.encode("utf-32"), "line 1", "save the file in UTF-8"),
    "a byte 255": (b"\xff" + JSON_LINES.encode()[1:], "line 1", "save the file in UTF-8"),
    "two marks of the byte order": (b"\xef\xbb\xbf" * 2 + JSON_LINES.encode(), "line 1", OBJECT),
}
ANCHORLESS = {
    "another column": '{"frage": "a", "positive": "p"}\n',
    "a column with a blank": '{"anchor ": "a", "positive": "p"}\n',
    "a column in capitals": '{"ANCHOR": "a", "positive": "p"}\n',
    "one nested key": '{"data": {"anchor": "a", "positive": "p"}}\n',
    "no columns": "{}\n",
    "no columns twice": "{}\n{}\n",
}
ARRAYS = {
    "cut": (json.dumps(PAIRS)[:50], "line 1", "write the complete file again"),
    "cut in its second line": (json.dumps(PAIRS, indent=0)[:60], "write the complete file again"),
    "empty": ("[]", "has no rows; give a file with at least one"),
    "of texts": ('["a", "b"]', "row 1", "an object of texts"),
    "of lists": ('[["a", "p"]]', "an object of texts"),
    "with a number": (json.dumps([*PAIRS, 3]), "row 4", "an object of texts"),
    "with null": (json.dumps([PAIRS[0], None]), "row 2", "an object of texts"),
    "with an empty text": (json.dumps([*PAIRS, {"anchor": "", "positive": "p"}]), "row 4", "is empty; remove the row"),
    "with a number as text": (json.dumps([*PAIRS, {"anchor": 5, "positive": "p"}]), "row 4", "is 5, not a text"),
    "with another after it": (json.dumps(PAIRS) + json.dumps(PAIRS), "write the complete file again"),
    "with a comma too many": (json.dumps(PAIRS)[:-1] + ",]", "write the complete file again"),
    "in an object": (json.dumps({"data": PAIRS}), "has no column 'anchor'; it has 'data'"),
    "of columns": (json.dumps({"anchor": ["a", "b"], "positive": ["p", "q"]}), "not a text"),
    "a pretty object": (json.dumps(PAIRS[0], indent=2), "line 1", "JSON object"),
    "Latin-1": ('[{"anchor": "ä", "positive": "p"}]'.encode("latin-1"), "UTF-8"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "a key twice": ('[{"anchor": "a", "anchor": "b", "positive": "p"}]', "'anchor' is given twice; keep one"),
}


DEEP = '{"a": ' * 90 + "[" * 90 + "]" * 90 + "}" * 90


def _folder(path: Path) -> None:
    path.mkdir()


def _nowhere(path: Path) -> None:
    path.symlink_to("nowhere.jsonl")


CASES: list[Case] = [
    *(
        training_file(f"line 2: {name}", _second(line), *_place(line, says), clean=JSON_LINES)
        for _place in [lambda line, says: ("2", *([says] if says else []))]
        for name, (line, says) in LINE_2.items()
    ),
    *(
        training_file(f"cell: {name}", _second(line), "row 2", says, clean=JSON_LINES)
        for name, (line, says) in CELLS.items()
    ),
    *(training_file(f"first line: {name}", text, *says, clean=JSON_LINES) for name, (text, *says) in FIRST.items()),
    *(
        training_file(f"column: {name}", text, "has no column 'anchor'; it has", clean=JSON_LINES)
        for name, text in ANCHORLESS.items()
    ),
    *(
        training_file(f"array: {name}", text, *says, file="train.json", clean=json.dumps(PAIRS))
        for name, (text, *says) in ARRAYS.items()
    ),
    training_file("an empty file", "", "has no rows; give a file", clean=JSON_LINES),
    training_file("a file of line ends", "\n\r\n\n", "has no rows; give a file", clean=JSON_LINES),
    training_file("a file of blanks", "   \n \t\n", "has no rows; give a file", clean=JSON_LINES),
    training_file("a file of a byte order mark", b"\xef\xbb\xbf", "has no rows; give a file", clean=JSON_LINES),
    training_file("a folder", _folder, "is a folder, not a file; give one"),
    training_file("a link to nowhere", _nowhere, "does not exist"),
    training_file("another ending", JSON_LINES, "unknown ending '.txt'; use .jsonl", file="train.txt"),
    training_file("no ending", JSON_LINES, "unknown ending ''; use .jsonl", file="train"),
    training_file("an ending in capitals", JSON_LINES, "unknown ending '.JSONL'; use .jsonl", file="train.JSONL"),
    harmless("as it should be", JSON_LINES),
    harmless("a byte order mark", b"\xef\xbb\xbf" + JSON_LINES.encode()),
    harmless("line ends of Windows", JSON_LINES.replace("\n", "\r\n")),
    harmless("line ends of old Macs", JSON_LINES.replace("\n", "\r")),
    harmless("blank lines", "\n\n" + "\n \n".join(LINES) + "\n\n\n"),
    harmless("no line end at the end", JSON_LINES.rstrip()),
    harmless("blanks around the objects", "".join(f"  {line} \t\n" for line in LINES)),
    harmless("keys in another order", "".join(json.dumps(dict(reversed(pair.items()))) + "\n" for pair in PAIRS)),
    harmless("a key of one line", LINES[0][:-1] + ', "more": [1, {"a": null}]}\n' + "\n".join(LINES[1:])),
    harmless(
        "a key of many kinds",
        "".join(f'{line[:-1]}, "more": {i}}}\n' for i, line in zip("3[{", LINES, strict=True))
        .replace("[}", '"x"}')
        .replace("{}", "null}"),
    ),
    harmless("escaped characters", JSON_LINES.replace("frage", "\\u0066rage")),
    harmless(
        "dates in another key", "".join(f'{line[:-1]}, "day": "2024-01-0{i + 1}"}}\n' for i, line in enumerate(LINES))
    ),
    harmless("lists in another key", "".join(f'{line[:-1]}, "more": [["a"], []]}}\n' for line in LINES)),
    harmless("a number beyond all in another key", f'{LINES[0][:-1]}, "n": {"9" * 50}}}\n' + "\n".join(LINES[1:])),
    harmless("objects in objects in another key", f'{LINES[0][:-1]}, "n": {DEEP}}}\n' + "\n".join(LINES[1:])),
    harmless("an array", json.dumps(PAIRS), file="train.json"),
    harmless("a pretty array", json.dumps(PAIRS, indent=2), file="train.json"),
    harmless("lines in a .json", JSON_LINES, file="train.json"),
]
