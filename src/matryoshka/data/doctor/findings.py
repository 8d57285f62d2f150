"""The findings that a user should mend, in short sentences: how many, what they do, and the remedy."""

from __future__ import annotations

from collections.abc import Iterator

from matryoshka.data.doctor.diagnosis import Diagnosis, HeldOut
from matryoshka.data.doctor.training_texts import Column, TextPlace

CUT, LANGUAGE, REPEATED = 0.05, 0.05, 0.01  # shares of texts up to which nothing is said
FEW = 10  # texts: so few of a language are mistakes of judging
APART = "split so that equal texts stay on one side"


def findings(diagnosis: Diagnosis) -> tuple[str, ...]:
    """Worst first: what makes the figures wrong, what makes training wrong, what to know."""
    held_out, columns = diagnosis.held_out.items(), diagnosis.columns.items()
    return (
        *(line for name, found in held_out for line in _leaks(name, found)),
        *_between(diagnosis),
        *(line for name, found in held_out for line in _copies(name, found)),
        *_batches(diagnosis),
        *_pairs(diagnosis),
        *(line for name, column in columns for line in _wordless(name, column)),
        *_cut(diagnosis),
        *(line for name, column in columns for line in _languages(name, column)),
    )


def _leaks(name: str, found: HeldOut) -> Iterator[str]:
    for leak, what in ((found.queries_in_training, "queries"), (found.answers_in_training, "right answers")):
        if not leak.found:
            continue
        first = "".join(f" (first: {one.id}, {one.column} of row {one.row:,})" for one in leak.examples[:1])
        equal = f"{leak.normalised:,} equal a training text" + (f", {leak.near:,} nearly" if leak.near else "")
        yield (
            f"of {leak.texts:,} {what} of {name}, {equal}, in {_count(leak.rows, 'row')}{first}: there the figures "
            f"show memory; remove these rows from training, or {APART}"
        )


def _between(diagnosis: Diagnosis) -> Iterator[str]:
    for found in diagnosis.between:
        first, second = found.sets
        if found.queries.normalised or found.answers.normalised:
            yield (
                f"queries of {second} found in {first} as well: {found.queries.normalised:,}, right answers: "
                f"{found.answers.normalised:,}; what is chosen by {first} flatters {second}; {APART}"
            )


def _copies(name: str, found: HeldOut) -> Iterator[str]:
    copies = found.copies
    if copies.answers > REPEATED * found.queries:
        yield (
            f"the right answers of {copies.answers:,} of {found.queries:,} queries of {name} stand in the corpus under "
            "other ids too, which count as wrong: as is, accuracy@1 cannot be expected above "
            f"{copies.best_accuracy:.2f}; read the merged figures"
        )


def _batches(diagnosis: Diagnosis) -> Iterator[str]:
    batches = diagnosis.batches
    if batches and batches.clashing and not diagnosis.masked:
        yield (
            f"{_count(batches.clashing, 'row')} in a batch with a copy, each epoch: a right answer is trained as a "
            "wrong one; sampler=no_duplicates keeps copies apart"
        )
    if batches and batches.extra and batches.of_one_row:
        yield (
            f"{batches.of_one_row:,} of {batches.batches:,} batches of one row, since copies are kept apart: they "
            "teach nothing; sampler.clashes=mask keeps batches full"
        )


def _pairs(diagnosis: Diagnosis) -> Iterator[str]:
    if diagnosis.same_pairs.count:
        yield (
            f"{_count(diagnosis.same_pairs.count, 'row')} with the same text as anchor and positive"
            f"{_first(diagnosis.same_pairs.examples)}: nothing is learned there; remove or mend"
        )
    repeated = diagnosis.repeated_rows.normalised
    if repeated > REPEATED * diagnosis.rows:
        yield f"{_count(repeated, 'row')} whole copies of an earlier row: such pairs count double; keep one of each"


def _wordless(name: str, column: Column) -> Iterator[str]:
    if column.wordless.count:
        yield (
            f"{_count(column.wordless.count, f'{name} text')} without a letter or digit"
            f"{_first(column.wordless.examples)}: noise in training; remove or mend"
        )


def _cut(diagnosis: Diagnosis) -> Iterator[str]:
    counted = {f"{name} texts": column.lengths for name, column in diagnosis.columns.items()}
    for name, found in diagnosis.held_out.items():
        counted |= {f"{name} {part}": lengths for part, lengths in found.lengths.items()}
    much = [f"{of.cut_share:.0%} of {what}" for what, of in counted.items() if of.cut_share > CUT]
    if much:
        yield (
            f"{', '.join(much)} reach {diagnosis.max_seq_length:,} tokens: what comes after is never seen; raise "
            "encoder.max_seq_length, or make the texts shorter"
        )


def _languages(name: str, column: Column) -> Iterator[str]:
    found = column.languages
    main = {k: v for k, v in found.shares.items() if v > LANGUAGE and v * found.judged >= FEW} if found else {}
    if found and len(main) > 1:
        mixture = ", ".join(f"{language} {share:.0%}" for language, share in main.items())
        yield (
            f"{name} texts in more than one language ({mixture} of {found.judged:,} judged): figures are means over "
            "languages, and within a batch the language gives answers away; check that this is meant"
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _first(examples: tuple[TextPlace, ...]) -> str:
    return "".join(f" (first: row {place.row:,})" for place in examples[:1])
