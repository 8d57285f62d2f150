"""What a guide leaves out, against a loop over rows and candidates."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor

from matryoshka.data.guide import Guide
from matryoshka.data.negatives import KnownPositives
from matryoshka.data.samplers import BatchSummary

ROWS = [4, 0, 7, 9, 2]
TEXTS = [[i % 9, 20 + i % 7, 40 + i] for i in range(12)]  # rows that share questions and answers


def guide(**options: object) -> tuple[Guide, list[tuple[Tensor, Tensor]]]:
    generator = torch.Generator().manual_seed(3)
    columns = []
    for column in zip(*TEXTS, strict=True):
        number = {text: i for i, text in enumerate(dict.fromkeys(column))}
        texts_UD = torch.randn(len(number), 6, generator=generator) + 1
        columns.append((texts_UD, torch.tensor([number[text] for text in column])))
    made = Guide(TEXTS, Dataset.from_dict({}), **options)  # type: ignore[arg-type]
    made.prepare(columns)
    return made, columns


def by_loop(made: Guide, columns: list[tuple[Tensor, Tensor]]) -> tuple[list[list[float]], list[list[bool]]]:
    def cosine(row: int, column: int, other: int) -> float:
        (anchors, anchor_of), (texts, text_of) = columns[0], columns[column]
        found = F.cosine_similarity(anchors[anchor_of[row]], texts[text_of[other]], dim=0).item()
        return (found - made.unrelated) / (1 - made.unrelated)

    known = KnownPositives(TEXTS, Dataset.from_dict({})).mask(ROWS)
    candidates = [(column, row) for column in (1, 2) for row in ROWS]
    similarities, left_out = [], []
    for i, row in enumerate(ROWS):
        own = cosine(row, 1, row)
        values = [cosine(row, column, other) for column, other in candidates]
        masks = [known is not None and bool(known[i, n]) for n in range(len(candidates))]
        if made.absolute is not None:
            masks = [mask or value > own - made.absolute for mask, value in zip(masks, values, strict=True)]
        if made.relative is not None:
            least = own - abs(own) * made.relative
            masks = [mask or value > least for mask, value in zip(masks, values, strict=True)]
        masks[i] = False
        similarities.append(values)
        left_out.append(masks)
    return similarities, left_out


@pytest.mark.parametrize("rescaled", [True, False])
@pytest.mark.parametrize(("absolute", "relative"), [(None, 0.05), (0.1, None), (0.0, 0.3), (None, None), (-0.2, None)])
def test_equals_a_loop(absolute: float | None, relative: float | None, rescaled: bool) -> None:
    made, columns = guide(absolute=absolute, relative=relative, rescaled=rescaled)
    similarities, left_out = by_loop(made, columns)

    mask_BN = made.mask(ROWS)

    torch.testing.assert_close(made.numbers(ROWS)["teacher_BN"], torch.tensor(similarities), atol=1e-5, rtol=1e-5)
    assert (mask_BN.tolist() if mask_BN is not None else [[False] * 10] * 5) == left_out
    assert made.masks(BatchSummary(1))


def test_random_pairs_have_a_rescaled_similarity_of_0_on_average() -> None:
    made, columns = guide()
    (anchors, anchor_of), (positives, positive_of) = ((F.normalize(texts, dim=1), rows) for texts, rows in columns[:2])
    every = anchors[anchor_of] @ positives[positive_of].T

    assert made.unrelated == pytest.approx(every.mean().item(), abs=0.02)
    assert guide(rescaled=False)[0].unrelated == 0
