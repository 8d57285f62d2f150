"""A loss that takes numbers of the candidates: alone, through GradCache, and in two processes it is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from matryoshka.data.packing import PackedBatch, number_matrices
from matryoshka.losses import MatryoshkaLoss
from matryoshka.losses.matryoshka import NestedLoss
from matryoshka.memory.measured import loss_bytes
from matryoshka.processes.together import add_up_gradients, processes
from matryoshka.training.accumulation import add_gradients
from tests.several_processes import in_processes
from tests.tiny import tiny_encoder

TEXTS = [["der", "die das", "und der", "ein rad", "x"], ["das haus", "am see", "y", "der baum", "z"], list("abcde")]
TEACHER = {"positive_teacher": [1.0, 0.9, 0.8, 0.7, 0.6], "negative_1_teacher": [0.0, 0.1, 0.2, 0.3, 0.4]}


class TeacherError(nn.Module):
    """Mean square of similarity less teacher score; where a teacher has scored, and where nothing masks."""

    def forward(self, similarity_BN: Tensor, mask_BN: Tensor | None = None, *, teacher_BN: Tensor) -> Tensor:
        known_BN = ~teacher_BN.isnan() if mask_BN is None else ~teacher_BN.isnan() & ~mask_BN
        return (similarity_BN - teacher_BN)[known_BN].square().mean()


LOSS = MatryoshkaLoss(TeacherError(), [32, 8], [1.0, 0.5])


def batch() -> PackedBatch:
    encoder, mask_BN = tiny_encoder(), torch.zeros(5, 10, dtype=torch.bool)
    mask_BN[2, 7] = True
    columns = [encoder.tokenize(texts) for texts in TEXTS]
    return PackedBatch.from_ids(columns, mask_BN, range(5), number_matrices(TEACHER, ["positive", "negative_1"]))


def loss_and_gradients(at_once: int | None) -> tuple[float, dict[str, Tensor]]:
    encoder, packed = tiny_encoder().train(), batch()

    def loss_of(_: int, embeddings_SD: Tensor) -> NestedLoss:
        both = embeddings_SD.tensor_split([5])
        nested: NestedLoss = LOSS(*both, packed.mask_BN, packed.numbers, one_dim_at_a_time=at_once is not None)
        return nested

    (nested,) = add_gradients(encoder, [packed], loss_of, pairs_at_once=at_once, shared=processes() > 1)
    add_up_gradients(encoder.parameters())
    return float(nested.total.detach()), {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}


def by_loop() -> float:
    """Over the pairs of text and score that there are."""
    encoder, total = tiny_encoder(), 0.0
    columns = [encoder.encode(texts, normalize=False, as_tensor=True) for texts in TEXTS]
    for dim, weight in ((32, 1.0), (8, 0.5)):
        errors = []
        for name, candidates in (("positive_teacher", columns[1]), ("negative_1_teacher", columns[2])):
            for row, score in enumerate(TEACHER[name]):
                if (name, row) != ("negative_1_teacher", 2):  # masked
                    cosine = torch.cosine_similarity(columns[0][row, :dim], candidates[row, :dim], dim=0)
                    errors.append((float(cosine) - score) ** 2)
        total += weight * sum(errors) / len(errors)
    return total


def test_the_loss_is_that_of_a_loop() -> None:
    assert loss_and_gradients(None)[0] == pytest.approx(by_loop(), abs=1e-5)


def assert_equal(found: tuple[float, dict[str, Tensor]], expected: tuple[float, dict[str, Tensor]]) -> None:
    assert found[0] == pytest.approx(expected[0], abs=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_through_gradcache_it_is_the_same(at_once: int) -> None:
    assert_equal(loss_and_gradients(at_once), loss_and_gradients(None))


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [None, 2])
def test_in_two_processes_it_is_the_same(tmp_path: Path, at_once: int | None) -> None:
    alone = loss_and_gradients(None)
    for of_process in in_processes(loss_and_gradients, 2, tmp_path / "run", at_once):
        assert_equal(of_process, alone)


def test_numbers_of_candidates_of_other_rows_are_unknown_on_every_device_copy() -> None:
    packed = batch().to("cpu")
    teacher_BN = packed.numbers["teacher_BN"]
    assert teacher_BN.isnan().sum() == 5 * 10 - 10
    assert teacher_BN.nansum() == pytest.approx(sum(map(sum, TEACHER.values())))


def test_what_a_loss_needs_is_what_it_cannot_do_without() -> None:
    class Both(nn.Module):
        def forward(self, similarity_BN: Tensor, *, teacher_BN: Tensor, rank_BN: Tensor | None = None) -> Tensor: ...

    loss = MatryoshkaLoss(Both(), [8])
    assert (loss.needs, loss.takes) == ({"teacher_BN"}, {"teacher_BN", "rank_BN"})
    assert LOSS.needs == {"teacher_BN"}


def test_its_memory_can_be_measured() -> None:
    assert loss_bytes(LOSS, 256, 2, 32) > 2 * 256 * 512 * 4  # at least the similarities and their gradient
