"""Which languages texts are in, by py3langid on a fixed sample."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

from matryoshka.data.doctor.training_texts import Languages

SHORTEST = 20  # characters: of less, a language is a guess
ENOUGH = 500  # characters: more do not change the answer, and take time
CONFIDENCE = 0.5  # of German headings, .03 are guessed to be something else without it, .003 with it
NAMED, LEAST = 4, 0.01  # languages, each of this share; the rest are "other"


def language_mixture(texts: Sequence[str], sample: int, seed: int = 0) -> Languages:
    """The languages of so many texts, always the same ones; all texts if there are fewer."""
    rows = sorted(random.Random(seed).sample(range(len(texts)), min(sample, len(texts))))
    sampled = [texts[row].strip() for row in rows]
    judged = [text[:ENOUGH] for text in sampled if len(text) >= SHORTEST]
    identifier = _identifier()
    found = Counter(language for language, confidence in map(identifier.classify, judged) if confidence >= CONFIDENCE)
    total = found.total()
    shares = {language: count / total for language, count in found.most_common(NAMED) if count >= LEAST * total}
    if rest := sum(count for language, count in found.items() if language not in shares):
        shares["other"] = rest / total
    return Languages(len(sampled), len(sampled) - len(judged), len(judged) - total, total, shares)


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
