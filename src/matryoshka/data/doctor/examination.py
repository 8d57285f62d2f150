"""The data doctor's work: it looks at every text once and counts what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from matryoshka.data.copies import normalised
from matryoshka.data.doctor import training_texts
from matryoshka.data.doctor.diagnosis import Diagnosis, HeldOut
from matryoshka.data.doctor.findings import findings
from matryoshka.data.doctor.languages import language_mixture
from matryoshka.data.doctor.near_copies import NearTexts, Signature, signatures
from matryoshka.data.doctor.shared_texts import TrainingTexts, answers, corpus_copies, held_out_overlap, overlap
from matryoshka.data.doctor.training_texts import Column
from matryoshka.data.retrieval_set import RetrievalSet

if TYPE_CHECKING:
    from datasets import Dataset

    from matryoshka.data.doctor.doctor import Doctor, TokenCounts
    from matryoshka.data.pools import Pools
    from matryoshka.data.samplers import BatchSummary


def examined(
    doctor: Doctor,
    pairs: Dataset,
    token_counts: TokenCounts,
    max_seq_length: int,
    held_out: Mapping[str, RetrievalSet],
    batches: BatchSummary | None,
    masked: bool,
    held_out_counts: Mapping[str, TokenCounts],
    pools: Pools | None = None,
) -> Diagnosis:
    """As `Doctor.examine` says."""
    normalise: Callable[[str], str] = cache(normalised)
    signature = signatures() if doctor.near_copies is not None else None
    table = pairs.with_format("arrow")
    texts = {column: table[column][:].to_pylist() for column in pairs.column_names}
    training = TrainingTexts.of(texts, normalise, _near(doctor, signature), pools)
    rows, normal_rows = (list(zip(*by.values(), strict=True)) for by in (training.texts, training.normal))
    diagnosis = Diagnosis(
        rows=len(pairs),
        max_seq_length=max_seq_length,
        columns={
            column: _column(doctor, column, training, token_counts[column], max_seq_length, signature)
            for column in texts
        },
        repeated_rows=training_texts.copies(rows, normal_rows),
        same_pairs=training_texts.same_pairs(texts, training.normal, doctor.examples),
        held_out={
            name: _held_out(doctor, data, training, normalise, max_seq_length, held_out_counts.get(name, {}))
            for name, data in held_out.items()
        },
        between=tuple(
            held_out_overlap((a, b), held_out[a], held_out[b], normalise, doctor.examples)
            for a, b in combinations(held_out, 2)
        ),
        batches=batches,
        masked=masked,
    )
    return replace(diagnosis, warnings=findings(diagnosis))


def _column(
    doctor: Doctor,
    column: str,
    training: TrainingTexts,
    tokens: npt.NDArray[np.integer],
    max_seq_length: int,
    signature: Signature | None,
) -> Column:
    texts, normal, near = training.texts[column], training.normal[column], _near(doctor, signature)
    return Column(
        distinct=len(set(texts)),
        copies=training_texts.copies(texts, normal),
        most_repeated=training_texts.most_repeated(column, texts, normal, doctor.examples),
        wordless=training_texts.wordless(column, texts, doctor.examples),
        lengths=training_texts.lengths(tokens, max_seq_length),
        near_copies=training_texts.near_copies(column, texts, normal, near, doctor.examples) if near else None,
        languages=language_mixture(texts, doctor.languages) if doctor.languages else None,
    )


def _held_out(
    doctor: Doctor,
    data: RetrievalSet,
    training: TrainingTexts,
    normalise: Callable[[str], str],
    max_seq_length: int,
    counts: TokenCounts,
) -> HeldOut:
    right = answers(data)
    others = {document: text for document, text in data.corpus.items() if document not in right}
    return HeldOut(
        queries=len(data.queries),
        documents=len(data.corpus),
        queries_in_training=overlap(data.queries, training, normalise, doctor.examples),
        answers_in_training=overlap(right, training, normalise, doctor.examples),
        others_in_training=overlap(others, training, normalise, doctor.examples),
        copies=corpus_copies(data, normalise),
        repeated=data.repeated,
        lengths={part: training_texts.lengths(tokens, max_seq_length) for part, tokens in counts.items()},
    )


def _near(doctor: Doctor, signature: Signature | None) -> NearTexts | None:
    """Nothing to compare with yet; None if near copies are not asked for."""
    return NearTexts(doctor.near_copies, signature) if doctor.near_copies is not None and signature else None
