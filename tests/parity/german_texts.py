"""Texts for comparing encoders: real German ones of any length, and what users type by accident."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from matryoshka.embedded.german_help import FOLDER

BLANK = ["", " ", "   ", "\n", "\t \r\n", "\u00a0\u2003", "\u200b", "\ufeff"]
UNUSUAL = [
    " blank in front and behind \n",
    "mehrere   Leerzeichen\tund\n\nZeilen",
    "Gru\u0308ße, zerlegt: a\u0308 o\u0308 u\u0308",
    "ﬁnden, ½ Ⅷ, ｆｕｌｌ ｗｉｄｔｈ, ① ㍿",
    "👩‍💻 🇩🇪 👍🏽",
    "soft\u00adhy\u00adphen, zero\u200bwidth, mark\u200e\ufeff",
    "مرحبا בעולם สวัสดี 你好世界 こんにちは नमस्ते",
    "𝔊𝔬𝔱𝔥𝔦𝔠 𝒶𝓃𝒹 𐍈",
    "<s> </s> <pad> <mask> <unk> [CLS]",
    "replaced \ufffd, null \x00, bell \x07, \x85 \u2028",
    "Z̸̧͔̈́a̷͚͐l̴̘̈́g̶̣̏o",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3,
    "§ 26 Abs. 1 Satz 3 EStG; 19 % -> 1.234,56 €",
]


def texts_of(name: str, column: str, count: int) -> list[str]:
    """One column of the first rows of an embedded file: train, evaluation, documents; anchor, positive."""
    return [json.loads(line)[column] for line in _lines(name, count)]


def german_pairs(rows: int) -> list[tuple[str, str]]:
    """The first rows of the embedded training set: (question, passage)."""
    return list(zip(*(texts_of("train", column, rows) for column in ("anchor", "positive")), strict=True))


def long_texts() -> list[str]:
    """Real passages laid end to end: of 147, 1,117 and 1,199 tokens; the last two begin alike."""
    passages = texts_of("evaluation", "positive", 10)
    return [" ".join(passages[:n]) for n in (1, 9, 10)]


def write_pairs(folder: Path, **rows: int) -> None:
    """The first rows of embedded files as files of a user: train.jsonl, evaluation.jsonl."""
    for name, count in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(_lines(name, count)), encoding="utf-8")


def _lines(name: str, count: int) -> list[str]:
    with (FOLDER / f"{name}.jsonl").open(encoding="utf-8") as file:
        return list(islice(file, count))
