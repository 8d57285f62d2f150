"""Files of every kind read alike, and errors that name the file and the row or line to mend."""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from datasets import Dataset
from datasets.exceptions import DatasetGenerationError

import matryoshka.data.reading.files
import matryoshka.data.reading.unreadable
from matryoshka.data.reading.form import TextForm
from matryoshka.data.reading.rows import first_row, read_rows, require_texts
from matryoshka.errors import DataError

GOOD = '{"anchor": "a", "positive": "p"}'
HOSTILE = ['He said "no", twice', "two\nlines", "tab\there", " padded ", "007", "NA", "null", "1e3", "ä ß €"]


def written(path: Path, text: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def cells(values: list[str], separator: str) -> str:
    return separator.join('"' + value.replace('"', '""') + '"' for value in values) + "\n"


def table_file(folder: Path, ending: str, texts: list[str]) -> str:
    """The same two columns in a file of any ending."""
    folder.mkdir(exist_ok=True)
    rows = [{"anchor": text, "positive": f"p{i}"} for i, text in enumerate(texts)]
    path = folder / f"rows{ending}"
    if ending == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
        return str(path)
    if ending == ".jsonl":
        return written(path, "".join(json.dumps(row) + "\n" for row in rows))
    if ending == ".json":
        return written(path, json.dumps(rows, indent=1))
    separator = "\t" if ending == ".tsv" else ","
    lines = [cells([row["anchor"], row["positive"]], separator) for row in rows]
    return written(path, cells(["anchor", "positive"], separator) + "".join(lines))


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, ending: str) -> None:
    path = table_file(tmp_path, ending, HOSTILE)

    rows = require_texts(read_rows(path), ["anchor", "positive"], path)
    assert rows.column_names == ["anchor", "positive"]
    assert list(rows["anchor"]) == HOSTILE
    assert list(rows["positive"]) == [f"p{i}" for i in range(len(HOSTILE))]
    assert first_row(path) == {"anchor": HOSTILE[0], "positive": "p0"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bom.jsonl", "\ufeff" + GOOD),
        ("bom.csv", "\ufeffanchor,positive\na,p\n"),
        ("gaps.jsonl", f"\n\n{GOOD}\n\n"),
        ("windows.jsonl", GOOD + "\r\n"),
        ("windows.csv", "anchor,positive\r\na,p\r\n"),
    ],
)
def test_what_editors_leave_in_a_file_does_not_matter(tmp_path: Path, name: str, text: str) -> None:
    path = written(tmp_path / name, text)

    assert read_rows(path)[:] == {"anchor": ["a"], "positive": ["p"]}
    assert first_row(path) == {"anchor": "a", "positive": "p"}


def test_a_column_without_a_name_is_no_obstacle(tmp_path: Path) -> None:
    path = written(tmp_path / "pandas.csv", ",anchor,positive\n0,a,p\n1,b,q\n")

    rows = read_rows(path)
    assert (list(rows["anchor"]), list(rows["positive"])) == (["a", "b"], ["p", "q"])


@pytest.mark.parametrize("folder", ["runs[1]", "a*", "what?", "with space#1%20"])
def test_a_path_is_no_pattern(tmp_path: Path, folder: str) -> None:
    written(tmp_path / "ab" / "x.jsonl", GOOD)  # what a* would find too
    path = written(tmp_path / folder / "x.jsonl", GOOD)

    assert len(read_rows(path)) == 1


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_reading_a_file_asks_no_server(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """datasets.load_dataset counts every reading of a local file at a server, and waits for it to answer."""
    asked: list[object] = []
    monkeypatch.setattr("datasets.load.increase_load_count", asked.append)
    monkeypatch.setattr("socket.socket.connect", asked.append)
    read_rows(table_file(tmp_path, ending, ["a"]))

    assert asked == []


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl", GOOD)
    assert list(read_rows(path)["anchor"]) == ["a"]

    written(tmp_path / "x.jsonl", GOOD.replace('"a"', '"b"'))
    assert list(read_rows(path)["anchor"]) == ["b"]


@pytest.mark.parametrize("reader", [read_rows, first_row])
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.tsv"])
@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_file_has_no_rows(tmp_path: Path, reader: object, name: str, text: str) -> None:
    assert callable(reader)
    with pytest.raises(DataError, match=rf"{name} has no rows"):
        reader(written(tmp_path / name, text))


def test_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.csv has no rows"):
        read_rows(written(tmp_path / "x.csv", "anchor,positive\n"))
    with pytest.raises(DataError, match=r"x\.json has no rows"):
        read_rows(written(tmp_path / "x.json", "[]"))
    parquet.write_table(pa.table({"anchor": pa.array([], pa.string())}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet has no rows"):
        read_rows(str(tmp_path / "x.parquet"))


UNREADABLE = {
    "truncated.jsonl": (
        f'{GOOD}\n\n{GOOD}\n{{"anchor": "b", "posi',
        r"truncated\.jsonl, line 4: not a JSON object",
    ),
    "truncated_at_once.jsonl": (
        '{"anchor": "b", "posi',
        r"truncated_at_once\.jsonl, line 1: not a JSON object",
    ),
    "array.jsonl": (f'{GOOD}\n["a", "p"]\n', r"array\.jsonl, line 2: not a JSON object"),
    "text.jsonl": ("anchor and positive", r"text\.jsonl, line 1: not a JSON object"),
    "first_array.jsonl": (f'["a", "p"]\n{GOOD}\n', r"first_array\.jsonl, line 1: not a JSON object"),
    "first_line.csv": (
        "anchor,positive\na,b,c\nd,e,f\n",
        r"first_line\.csv, line 2: more cells than the header",
    ),
    "third_line.csv": (
        "anchor,positive\na,b\nd,e,f\n",
        r"third_line\.csv, line 3: 3 cells, more cells than the header's 2",
    ),
    "cut.json": (f"\n\n[{GOOD},\n\n\n{GOOD}", r"cut\.json, line 6: not a JSON array"),
    "not.parquet": ("hello", r"not\.parquet cannot be read"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_file_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    text, message = UNREADABLE[name]

    with pytest.raises(DataError, match=message):
        read_rows(written(tmp_path / name, text))


@pytest.mark.parametrize("rows_before", [0, 2000])
@pytest.mark.parametrize("name", ["latin.jsonl", "latin.csv"])
def test_another_encoding_is_refused(tmp_path: Path, name: str, rows_before: int) -> None:
    lines = [GOOD] * rows_before + [GOOD.replace('"a"', '"ä"')]
    if name.endswith(".csv"):
        lines = ["anchor,positive"] + ["a,p"] * rows_before + ["ä,p"]

    path = written(tmp_path / name, "\n".join(lines).encode("latin-1"))
    with pytest.raises(DataError, match=rf"{name}.*(utf-8|UTF-8)"):
        require_texts(read_rows(path), ["anchor", "positive"], path)


UNUSABLE = {
    "null": (f'{GOOD}\n{{"anchor": null, "positive": "p"}}', r", row 2: 'anchor' is empty"),
    "missing": (f'{GOOD}\n{GOOD}\n{{"anchor": "a"}}', r", row 3: 'positive' is empty"),
    "blank": (f'{GOOD}\n{{"anchor": " \\n\\u00a0", "positive": "p"}}', r", row 2: 'anchor' is empty"),
    "number": (f'{GOOD}\n{{"anchor": 2, "positive": "p"}}', r", row 2: 'anchor' is 2, not a text"),
    "numbers": (
        '{"anchor": 1, "positive": "p"}\n{"anchor": 2, "positive": "p"}',
        r", row 1: 'anchor' is 1, not",
    ),
    "object": (
        f'{GOOD}\n{{"anchor": {{"text": "a"}}, "positive": "p"}}',
        r", row 2: 'anchor' is \{'text': 'a'\}",
    ),
    "list": ('{"anchor": ["a"], "positive": "p"}', r", row 1: 'anchor' is \['a'\], not a text"),
    "nothing": ('{"anchor": null, "positive": "p"}', r", row 1: 'anchor' is None, not a text"),
    "column": ('{"ankor": "a", "positive": "p"}', r" has no column 'anchor'; it has 'ankor', 'positive'"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_cell_that_is_no_text_is_named_with_its_row(tmp_path: Path, case: str) -> None:
    text, message = UNUSABLE[case]
    path = written(tmp_path / "x.jsonl", text)

    with pytest.raises(DataError, match=r"x\.jsonl" + message):
        require_texts(read_rows(path), ["anchor", "positive"], path)


def test_a_missing_cell_of_a_csv_is_empty(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", "anchor,positive\na,p\nb\n")

    with pytest.raises(DataError, match=r"x\.csv, row 2: 'positive' is empty"):
        require_texts(read_rows(path), ["positive"], path)


def test_a_blank_text_passes_where_it_may_a_missing_one_never(tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl", '{"text": "a"}\n{"text": " "}\n')
    assert list(require_texts(read_rows(path), ["text"], path, blank=True)["text"]) == ["a", " "]

    path = written(tmp_path / "y.jsonl", '{"text": "a"}\n{"text": null}\n')
    with pytest.raises(DataError, match="row 2: 'text' is empty"):
        require_texts(read_rows(path), ["text"], path, blank=True)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_texts_of_every_arrow_type_are_texts(tmp_path: Path, kind: pa.DataType) -> None:
    parquet.write_table(pa.table({"text": pa.array(["a", "b", "a"]).cast(kind)}), tmp_path / "x.parquet")

    rows = require_texts(read_rows(str(tmp_path / "x.parquet")), ["text"], "x")
    assert list(rows["text"]) == ["a", "b", "a"]


def test_a_missing_file_lists_its_neighbours(tmp_path: Path) -> None:
    for name in ("train.jsonl", "eval.csv", "notes.txt"):
        written(tmp_path / name, GOOD)

    with pytest.raises(DataError) as error:
        read_rows(str(tmp_path / "trian.jsonl"))
    assert str(error.value) == f"{tmp_path}/trian.jsonl does not exist; {tmp_path} has eval.csv, train.jsonl"


def test_a_missing_folder_is_no_second_error() -> None:
    with pytest.raises(DataError, match=r"^no/such/x\.jsonl does not exist$"):
        read_rows("no/such/x.jsonl")


def test_an_unknown_ending_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.xlsx: unknown ending '\.xlsx'; use \.jsonl, .*\.parquet"):
        read_rows(written(tmp_path / "x.xlsx", "hello"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").mkdir()

    with pytest.raises(DataError, match=r"x\.jsonl is a folder, not a file"):
        read_rows(str(tmp_path / "x.jsonl"))


def test_an_error_leaves_nothing_that_a_later_run_could_take_for_rows(tmp_path: Path, datasets_cache: Path) -> None:
    folder = tmp_path / "data"
    path = written(folder / "x.jsonl", GOOD + '\n{"anchor": "b", "posi')
    with pytest.raises(DataError):
        read_rows(path)

    assert [file.name for file in folder.iterdir()] == ["x.jsonl"]
    assert not list(datasets_cache.rglob("*.arrow"))
    written(folder / "x.jsonl", GOOD + '\n{"anchor": "b", "positive": "q"}')
    assert list(read_rows(path)["anchor"]) == ["a", "b"]


def test_a_row_is_counted_over_the_chunks_before_it() -> None:
    chunks = [["a", "b"], ["c", "d", "e"], ["f", ""]]
    rows = Dataset(pa.table({"text": pa.chunked_array(chunks)}), fingerprint="own")

    with pytest.raises(DataError, match=r"^here, row 7: 'text' is empty"):
        require_texts(rows, ["text"], "here")


def test_a_column_may_be_larger_than_one_array_of_arrow(tmp_path: Path) -> None:
    chunk = pa.array(["x" * 1_000_000] * 4 + [""])
    rows = Dataset(
        pa.table({"text": pa.chunked_array([chunk] * 600)}), fingerprint="own"
    )  # 2.4 GB, of one chunk in memory

    with pytest.raises(DataError, match=r"^here, row 5: 'text' is empty"):
        require_texts(rows, ["text"], "here")


def failing(error: Exception) -> object:
    """A reader of datasets' that fails while it writes its cache, as datasets tells it."""

    def read(*_: object, **__: object) -> None:
        try:
            raise error
        except Exception as cause:
            raise DatasetGenerationError("An error occurred while generating the dataset") from cause

    return read


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
        MemoryError(),
    ],
)
def test_what_the_machine_lacks_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Dataset, "from_csv", failing(error))
    monkeypatch.setattr("matryoshka.data.reading.json_rows.whole_file", failing(error))

    for path in (written(tmp_path / "x.csv", "anchor\na\n"), written(tmp_path / "x.jsonl", GOOD)):
        with pytest.raises(type(error)) as raised:
            read_rows(path)
        assert raised.value is error


def test_what_the_machine_lacks_for_the_first_row_is_not_blamed_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table_file(tmp_path, ".parquet", ["a"])
    monkeypatch.setattr(parquet, "ParquetFile", failing(OSError(errno.EMFILE, "Too many open files")))

    with pytest.raises(OSError, match="Too many open files"):
        first_row(path)


def test_another_error_of_a_reader_is_still_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "x.csv", "anchor\na\n")
    monkeypatch.setattr(Dataset, "from_csv", failing(OSError("Unexpected end of stream")))

    with pytest.raises(DataError, match=r"x\.csv cannot be read: Unexpected end of stream; write the file again"):
        read_rows(path)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose lines were gone through."""
    seen: list[str] = []
    lines = matryoshka.data.reading.files.numbered_lines

    def counted(file: Path, form: TextForm) -> Iterator[tuple[int, str]]:
        seen.append(file.suffix)
        return lines(file, form)

    monkeypatch.setattr("matryoshka.data.reading.unreadable.numbered_lines", counted)
    return seen


def test_the_cells_of_a_file_are_checked_once_until_it_is_changed(tmp_path: Path, passes: list[str]) -> None:
    path = written(tmp_path / "x.csv", "anchor,positive\na,p\n")
    assert [list(read_rows(path)["anchor"]) for _ in range(3)] == [["a"]] * 3
    assert passes == [".csv"]

    written(tmp_path / "x.csv", 'anchor,positive\na,p\n"b,p\nc,p\n')
    for _ in range(2):  # what is refused is not taken for checked
        with pytest.raises(DataError, match=r"x\.csv, line 3: a quote is not closed"):
            read_rows(path)


def test_a_change_of_the_same_size_is_checked_too(tmp_path: Path, passes: list[str]) -> None:
    path = written(tmp_path / "x.csv", "anchor,positive\na,p\n")
    read_rows(path)
    written(tmp_path / "x.csv", 'anchor,positive\n",p\n')
    os.utime(path, ns=(1, 1))

    with pytest.raises(DataError, match=r"x\.csv, line 2: a quote is not closed"):
        first_row(path)
    with pytest.raises(DataError, match=r"x\.csv, line 2: a quote is not closed"):
        read_rows(path)


def test_a_packed_file_is_unpacked_once_until_it_is_changed(
    tmp_path: Path, passes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked: list[Path] = []
    whole_file = matryoshka.data.reading.files.whole_file
    monkeypatch.setattr(
        "matryoshka.data.reading.files.whole_file", lambda path: (unpacked.append(path), whole_file(path))[1]
    )
    path = written(tmp_path / "x.csv.gz", gzip.compress(b"anchor,positive\na,p\n"))
    assert [list(read_rows(path)["anchor"]) for _ in range(2)] == [["a"]] * 2
    assert (passes, len(unpacked)) == ([".gz"], 1)

    written(tmp_path / "x.csv.gz", gzip.compress(b"anchor,positive\nb,p\nc,p\n"))
    assert list(read_rows(path)["anchor"]) == ["b", "c"]
    assert len(unpacked) == 2


def test_a_tab_separated_file_without_quoting_is_told_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path / "x.tsv", 'anchor\tpositive\na\tp\n"Hello" she said.\tp\n')

    with pytest.raises(DataError, match="write JSON lines") as error:
        read_rows(path)
    assert "x.tsv, line 3: a tab expected after '\"'; " in str(error.value)
    assert "\t" not in str(error.value)


DATES = ["2024-01-01", "2020-05-17T00:00:00", "2020-05-17T00:00:00Z", "2020-05-17 12:30:00", "007", "12:30"]


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
def test_texts_that_look_like_dates_stay_texts(tmp_path: Path, ending: str) -> None:
    for text in DATES:  # each alone, as a reader that guesses by column would find nothing else
        path = table_file(tmp_path / text[:10], ending, [text, text])

        assert list(require_texts(read_rows(path), ["anchor"], path)["anchor"]) == [text, text]
        assert first_row(path)["anchor"] == text


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_lists_of_texts_stay_what_they_are(tmp_path: Path, ending: str) -> None:
    rows = [{"neg": ["2024-01-01"], "n": 1}, {"neg": [], "n": 2.5}, {"n": 3, "neg": None}]
    text = json.dumps(rows) if ending == ".json" else "".join(json.dumps(row) + "\n" for row in rows)

    found = read_rows(written(tmp_path / f"x{ending}", text))
    assert (list(found["neg"]), list(found["n"])) == ([["2024-01-01"], [], None], [1.0, 2.5, 3.0])


def test_a_column_takes_the_type_of_all_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first rows of a large file are not all."""
    monkeypatch.setattr("matryoshka.data.reading.json_rows.ROWS", 2)
    values = [1, 2, None, 3.5, 4, "five", {"six": 6}]
    lines = [json.dumps({"anchor": f"{i}", "odd": value}) for i, value in enumerate(values)]
    lines[4] = '{"anchor": "4", "odd": 4, "late": "2024-01-01"}'
    path = written(tmp_path / "x.jsonl", "\n".join(lines))

    found = read_rows(path)
    assert list(found["odd"]) == values
    assert list(found["late"]) == [None] * 4 + ["2024-01-01"] + [None] * 2
    assert list(read_rows(path)["anchor"]) == list("0123456")
    with pytest.raises(DataError, match="row 1: 'odd' is 1, not a text"):
        require_texts(found, ["odd"], "x")


def test_a_date_of_parquet_is_refused_with_the_remedy(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": pa.array([0], pa.timestamp("s"))}), tmp_path / "x.parquet")

    with pytest.raises(DataError, match="row 1: 'text' is the date or time 1970-01-01 00:00:00, not a text; save"):
        require_texts(read_rows(str(tmp_path / "x.parquet")), ["text"], "x")
