"""Cut the German help pairs that ship with the package out of the full set of headings and sections.

    python scripts/german_help_slice.py libreoffice_de.jsonl [folder]

Input: one JSON object a line (id, anchor, positive, source), made from Debian's libreoffice-help-de as the
README in the output folder tells. Output: train.jsonl, evaluation.jsonl, documents.jsonl, the same bytes each
time, in the order of a hash of the ids: the first n rows are a fair sample.
"""

import hashlib
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

Row = dict[str, str]

FOLDER = Path(__file__).parents[1] / "src/matryoshka/embedded/german_help"
EVALUATION_SHARE = 0.24  # of the pages
QUERIES = 500

SHORTEST_PASSAGE = 60  # characters
LONGEST_SENTENCE = 40  # words on average: above, a table or a list of links
MOST_SYMBOLS = 1 / 8  # of the characters: above, code or figures
NEAR_DUPLICATE = 0.8  # Jaccard similarity of word trigrams
STUB = "Diese Hilfeseite benötigt weitere Arbeit"

FUNCTION_WORDS = """
    der die das des dem den ein eine einen einem einer eines und oder von vom zu zum zur im in an am auf aus
    für mit ohne bei beim nach vor über unter hinter neben zwischen durch bis als wie so um sie es ihr ihre
    ihren man sich ist sind wird werden nicht nur auch dann wenn sonst kein keine keinen alle alles andere
    anderen weitere weiterer neu neue neuen neuer neues
"""
PREPOSITIONS = "von vom zu zum zur im in am auf für mit ohne bei beim nach vor über unter durch bis als"
POINTS_AT_ITS_PAGE = re.compile(r"\b(dies\w*|folgende\w*|hier)\b|^(ja|nein),|(…|,|>)$", re.IGNORECASE)


def words(text: str) -> list[str]:
    """The words of a text in lower case: what is left when space and punctuation do not count."""
    return re.findall(r"\w+", text.lower())


def fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone (its SHA-256)."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def without_caption(row: Row) -> Row:
    """The row without the icon's caption: the heading again, which ends many a passage and gives it away."""
    passage = row["positive"].rstrip(" .")
    start = max(0, len(passage) - len(row["anchor"]))
    text, caption = passage[:start].rstrip(), passage[start:]
    if text.endswith((".", ":")) and words(caption) == words(row["anchor"]):
        return row | {"positive": text}
    return row


def is_prose(passage: str) -> bool:
    """Whether a passage says something in sentences: no stub, table, list of links or code."""
    sentences = len(re.findall(r"[.!?:](?=\W|$)", passage)) or 0.5
    symbols = sum(not (c.isalpha() or c.isspace()) for c in passage)
    return (
        len(passage) >= SHORTEST_PASSAGE
        and STUB not in passage
        and len(words(passage)) / sentences <= LONGEST_SENTENCE
        and symbols / len(passage) <= MOST_SYMBOLS
    )


def stands_alone(row: Row) -> bool:
    """Whether a heading can be understood without its page and is not simply how its passage begins."""
    anchor = words(row["anchor"])
    content = {word for word in anchor if word.isalpha() and len(word) > 1} - set(FUNCTION_WORDS.split())
    return (
        (len(content) >= 2 or any(len(word) >= 16 for word in content))
        and ("sie" in anchor or anchor[-1] not in PREPOSITIONS.split())  # "So legen Sie ... an" is whole
        and not POINTS_AT_ITS_PAGE.search(row["anchor"])
        and words(row["positive"])[: len(anchor)] != anchor
    )


def distinct(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows whose passage is no near-duplicate of an earlier row's, on whichever page."""
    holders: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    sizes: list[int] = []
    for row in rows:
        text = words(row["positive"])
        trigrams = set(zip(text, text[1:], text[2:], strict=False))
        shared = Counter(earlier for trigram in trigrams for earlier in holders[trigram])
        if all(n < NEAR_DUPLICATE * (len(trigrams) + sizes[earlier] - n) for earlier, n in shared.items()):
            for trigram in trigrams:
                holders[trigram].append(len(sizes))
            sizes.append(len(trigrams))
            yield row


def first_of_its_anchor(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows whose heading, normalised, no earlier row has."""
    seen: set[str] = set()
    for row in rows:
        anchor = " ".join(words(row["anchor"]))
        if anchor not in seen:
            seen.add(anchor)
            yield row


def in_evaluation(row: Row) -> bool:
    """Whether the row's page is on the evaluation side."""
    return fraction(row["source"]) < EVALUATION_SHARE


def by_hash(row: Row) -> float:
    """A sort key: an order that has nothing to do with the pages."""
    return fraction(row["id"])


def write(path: Path, rows: Iterable[Row], *columns: str) -> None:
    """Write the columns of the rows as JSON lines and print how many there are."""
    ordered = [{column: row[column] for column in columns} for row in sorted(rows, key=by_hash)]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in ordered]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")
    print(f"{len(lines):5} {path}")


def main(source: Path, folder: Path = FOLDER) -> None:
    """Each page goes to one side; of the evaluation side, passages without a query widen the corpus."""
    with source.open(encoding="utf-8") as lines:
        rows = [without_caption(json.loads(line)) for line in lines]
    passages = list(distinct(row for row in rows if is_prose(row["positive"])))
    pairs = list(first_of_its_anchor(row for row in passages if stands_alone(row)))
    train = [row for row in pairs if not in_evaluation(row)]
    evaluation = sorted(filter(in_evaluation, pairs), key=by_hash)[:QUERIES]
    queries = {row["id"] for row in evaluation}
    documents = [row for row in passages if in_evaluation(row) and row["id"] not in queries]
    write(folder / "train.jsonl", train, "id", "anchor", "positive", "source")
    write(folder / "evaluation.jsonl", evaluation, "id", "anchor", "positive", "source")
    write(folder / "documents.jsonl", documents, "id", "positive", "source")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
