"""Malformed inputs, each to be met with one message: `python -m scripts.torture.malformed [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from tests.malformed.count import tried


def main() -> None:
    """Tries every case of tests/malformed; exits with 1 if one is met wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the counts here too")
    file = parser.parse_args().json
    count, harmless, lost = Counter[str](), 0, 0
    for table, case, problems in tried():
        count[table] += 1
        harmless += case.harmless
        lost += bool(problems)
        for problem in problems:
            print(f"{table}, {case.name}: {problem}")
    for table, cases in count.items():
        print(f"{table}: {cases} cases")
    total = count.total()
    print(f"malformed: {total} cases tried, {lost} lost something")
    if file:
        facts = [
            f"{total - harmless} malformed inputs were tried, each through a command's own path: "
            f"{', '.join(f'{cases} of {table}' for table, cases in count.items())}.",
            f"{harmless} odd but harmless inputs were tried and had to be read right.",
            f"{lost} of them were met wrongly: without exit code 2, a message with file, line or key and the remedy, "
            "or with something left behind.",
        ]
        record = {"name": "malformed", "tried": total, "lost": lost, "facts": facts}
        file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
