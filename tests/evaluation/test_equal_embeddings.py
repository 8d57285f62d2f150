"""An encoder of which all embeddings are equal ends with a message, not with figures of chance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Precision
from matryoshka.errors import UserError
from matryoshka.evaluation.embeddings import InMemory, embed
from matryoshka.evaluation.equal_embeddings import ROWS, require_different
from matryoshka.evaluation.evaluator import Evaluator
from tests.evaluation.small import small_set
from tests.tiny import tiny_encoder

TOLD = r"tiny gives 3 texts the same embedding, by cls pooling, .* use pooling=last .* pooling=mean"
THREE = TokenIds.of([[0, 5, 2], [0, 6, 2], [0, 7, 2]])
PRECISIONS: list[Precision] = ["fp32", "bf16"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_equal_rows_are_told(precision: Precision) -> None:
    rounding = 1e-5 if precision == "fp32" else 3e-3
    rows_ND = np.full((3, 4), 2.0) + rounding * np.random.default_rng(0).uniform(-1, 1, (3, 4))

    with pytest.raises(UserError, match=TOLD):
        require_different(tiny_encoder(), THREE, torch.from_numpy(rows_ND), precision)
    with pytest.raises(UserError, match=TOLD):
        require_different(tiny_encoder(), THREE, torch.zeros(3, 4), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_row_that_differs_is_enough(precision: Precision) -> None:
    rows_ND = torch.full((3, 4), 2.0)
    rows_ND[2, 1] *= 1.05

    require_different(tiny_encoder(), THREE, rows_ND, precision)


def test_the_last_of_many_rows_is_looked_at() -> None:
    ids = TokenIds.of([[0, 5, n, 2] for n in range(2 * ROWS + 1)])
    rows_ND = torch.ones(len(ids), 2)
    with pytest.raises(UserError, match="2,049 texts"):
        require_different(tiny_encoder(), ids, rows_ND, "fp32")

    rows_ND[-1] = 2
    require_different(tiny_encoder(), ids, rows_ND, "fp32")


def test_equal_texts_and_what_is_not_finite_are_left_alone() -> None:
    require_different(tiny_encoder(), TokenIds.of([[0, 5, 2]] * 3), torch.ones(3, 4), "fp32")
    require_different(tiny_encoder(), THREE, torch.full((3, 4), torch.nan), "fp32")
    require_different(tiny_encoder(), TokenIds.of([[0, 5, 2]]), torch.ones(1, 4), "fp32")


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_evaluation_ends_with_the_message(on_disk: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path))
    encoder = tiny_encoder()
    for parameter in encoder.backbone.encoder.parameters():
        parameter.data.zero_()  # so no token sees another
    evaluator, data = Evaluator(token_budget=64), small_set()

    with pytest.raises(UserError, match="the same embedding, by cls pooling"):
        evaluator.evaluate(encoder, data, [32], on_disk=on_disk)
    in_training = evaluator.evaluate(encoder, data, [32], on_disk=on_disk, may_be_equal=True)
    assert in_training.expected[32]["accuracy@1"] < 0.1
    ids = encoder.token_ids(["der", "die", "das"], "query")
    for _ in range(2):  # computed, and found again
        with pytest.raises(UserError, match=TOLD):
            embed(encoder, [ids], token_budget=64, store=InMemory())
