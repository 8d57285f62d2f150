"""Every pooling against a loop over the sequences, values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import Tensor

from matryoshka.encoder.pooling import POOLINGS, Mode, Pooling

LENGTHS = (3, 1, 7, 2, 1, 5)
BY_LOOP: dict[Mode, Callable[[Tensor], Tensor]] = {
    "cls": lambda hidden_LH: hidden_LH[0],
    "max": lambda hidden_LH: hidden_LH.amax(0),
    "mean": lambda hidden_LH: sum(hidden_LH.unbind(0), torch.zeros(hidden_LH.shape[1])) / len(hidden_LH),
    "last": lambda hidden_LH: hidden_LH[-1],
}
ALL: list[Mode] = ["cls", "max", "mean", "last"]


def hidden(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(LENGTHS), 5, generator=generator, dtype=torch.float64)


def by_loop(mode: Mode, hidden_TH: Tensor) -> Tensor:
    return torch.stack([BY_LOOP[mode](hidden_LH) for hidden_LH in hidden_TH.split(LENGTHS)])


@pytest.mark.parametrize("mode", ALL)
def test_each_pooling_equals_a_loop(mode: Mode) -> None:
    hidden_TH = hidden().requires_grad_()
    weights_SH = torch.randn(len(LENGTHS), 5, dtype=torch.float64)

    pooled_SH = Pooling([mode])(hidden_TH, torch.tensor(LENGTHS))
    expected_SH = by_loop(mode, hidden_TH)
    torch.testing.assert_close(pooled_SH, expected_SH, rtol=0, atol=1e-12)
    (gradient_TH,) = torch.autograd.grad((pooled_SH * weights_SH).sum(), hidden_TH)
    (expected_TH,) = torch.autograd.grad((expected_SH * weights_SH).sum(), hidden_TH)
    torch.testing.assert_close(gradient_TH, expected_TH, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ALL)
def test_gradcheck(mode: Mode) -> None:
    def pooled(hidden_TH: Tensor) -> Tensor:
        embeddings_SH: Tensor = POOLINGS[mode](hidden_TH, torch.tensor(LENGTHS))
        return embeddings_SH

    assert torch.autograd.gradcheck(pooled, hidden().requires_grad_())


def test_every_mode_has_a_reference_here() -> None:
    assert set(POOLINGS) == set(BY_LOOP)


@pytest.mark.parametrize("given", [*permutations(ALL, 2), ("last", "mean", "max", "cls")])
def test_several_stand_side_by_side_in_the_order_of_sentence_transformers(given: tuple[Mode, ...]) -> None:
    pooling = Pooling(given)

    assert pooling.modes == [mode for mode in ALL if mode in given]
    expected_SD = torch.cat([by_loop(mode, hidden()) for mode in pooling.modes], dim=1)
    torch.testing.assert_close(pooling(hidden(), torch.tensor(LENGTHS)), expected_SD, rtol=0, atol=1e-12)


def test_cls_is_the_default() -> None:
    assert Pooling().modes == ["cls"]


@pytest.mark.parametrize("modes", [[], ["sum"], ["cls", "sum"], ["mean", "mean"]])
def test_unknown_repeated_and_no_modes_are_refused(modes: list[Mode]) -> None:
    with pytest.raises(ValueError, match=r"pooling modes .*: give each of cls, max, mean, last at most once"):
        Pooling(modes)
