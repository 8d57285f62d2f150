"""All cases, table by table."""

from __future__ import annotations

from tests.malformed import beir, cells, configs, json_lines, model_folders, mteb, packed, parquet, questions, runs
from tests.malformed.case import Case

TABLES: dict[str, list[Case]] = {
    "JSON lines and arrays": json_lines.CASES,
    "CSV and TSV": cells.CASES,
    "Parquet": parquet.CASES,
    "gzip and archives": packed.CASES,
    "BEIR folders": beir.CASES,
    "MTEB folders": mteb.CASES,
    "files of questions": questions.CASES,
    "configurations": configs.CASES,
    "model folders": model_folders.CASES,
    "run folders": runs.CASES,
}
CASES = [case for cases in TABLES.values() for case in cases]
