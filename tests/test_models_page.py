"""docs/models.md shows the architectures that are tried, each as it is computed."""

from __future__ import annotations

import re
from pathlib import Path

from matryoshka.encoder.architectures import FIRST_POSITION
from tests.architectures import PACKED, PADDED
from tests.parity.models_page import ALLOWED, MODELS, Measured, page, shown

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
ROW = re.compile(r"^\| (`.+?) \| (packed|padded) \| (.+?) \| (\S+) \| (\S+) \|$", re.MULTILINE)


def test_the_page_has_a_row_for_each_model_that_is_tried() -> None:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    expected = [
        (shown(name), "packed" if name in PACKED else "padded", " + ".join(modes)) for name, modes in MODELS.items()
    ]

    assert [row[:3] for row in rows] == expected
    assert all(float(difference) <= ALLOWED for row in rows for difference in row[3:])


def test_what_is_packed_is_in_the_table_and_what_is_padded_is_not() -> None:
    assert {kind for kind, _ in PACKED.values()} == FIRST_POSITION.keys()
    assert not set(PADDED) & FIRST_POSITION.keys()


def test_the_page_is_made_of_what_was_measured() -> None:
    text = page([Measured(name, name in PACKED, 1e-7, 2.5e-7) for name in reversed(MODELS)])

    assert len(ROW.findall(text)) == len(MODELS)
    assert "| `qwen3`, bidirectional | packed | mean | 1.0e-07 | 2.5e-07 |" in text
