"""Every pooling against a loop over the sequences, values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import pytest
import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder.pooling import POOLINGS, Mode, Pooling, described, pool
from matryoshka.errors import UserError

LENGTHS = (3, 1, 7, 2, 1, 5)
BY_LOOP: dict[Mode, Callable[[Tensor], Tensor]] = {
    "cls": lambda hidden_LH: hidden_LH[0],
    "max": lambda hidden_LH: hidden_LH.amax(0),
    "mean": lambda hidden_LH: sum(hidden_LH.unbind(0), torch.zeros(hidden_LH.shape[1])) / len(hidden_LH),
    "mean_sqrt_len_tokens": lambda hidden_LH: hidden_LH.sum(0) / len(hidden_LH) ** 0.5,
    "weightedmean": lambda hidden_LH: by_weight(hidden_LH),
    "last": lambda hidden_LH: hidden_LH[-1],
}
ALL: list[Mode] = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "last"]
PROMPTS = (1, 0, 4, 1, 0, 2)


def by_weight(hidden_LH: Tensor, before: int = 0) -> Tensor:
    """The first token counts 1 + before, the next 2 + before ..."""
    weights = [before + place for place in range(1, len(hidden_LH) + 1)]
    return torch.stack([w * h_H for w, h_H in zip(weights, hidden_LH, strict=True)]).sum(0) / sum(weights)


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
def test_several_stand_side_by_side_in_the_order_given(given: tuple[Mode, ...]) -> None:
    pooling = Pooling(given)

    assert pooling.modes == list(given)
    expected_SD = torch.cat([by_loop(mode, hidden()) for mode in pooling.modes], dim=1)
    torch.testing.assert_close(pooling(hidden(), torch.tensor(LENGTHS)), expected_SD, rtol=0, atol=1e-12)


def test_cls_is_the_default() -> None:
    assert Pooling().modes == ["cls"]


@pytest.mark.parametrize("modes", [[], ["sum"], ["cls", "sum"], ["mean", "mean"]])
def test_unknown_repeated_and_no_modes_are_refused(modes: list[Mode]) -> None:
    with pytest.raises(ValueError, match=r"pooling modes .*: give each of cls, max, mean, .*, last at most once"):
        Pooling(modes)


def batch(prompts: Sequence[int] | None) -> PackedBatch:
    """A batch of sequences of these lengths, each a column of its own, so that each has a prompt of its own."""
    return PackedBatch.from_ids([[[7] * length] for length in LENGTHS], prompts=prompts or ())


@pytest.mark.parametrize("mode", ALL)
def test_a_prompt_that_is_left_out_is_not_pooled(mode: Mode) -> None:
    hidden_TH = hidden().requires_grad_()
    parts = zip(hidden_TH.split(LENGTHS), PROMPTS, strict=True)
    behind = [(hidden_LH[before:], before) for hidden_LH, before in parts]
    weighted = mode == "weightedmean"  # a token keeps the weight of its place in the whole text
    expected = [by_weight(h_LH, before) if weighted else BY_LOOP[mode](h_LH) for h_LH, before in behind]

    pooled_SH = pool(Pooling([mode], include_prompt=False), hidden_TH, batch(PROMPTS))
    torch.testing.assert_close(pooled_SH, torch.stack(expected), rtol=0, atol=1e-12)
    weights_SH = torch.randn(len(LENGTHS), 5, dtype=torch.float64)
    (gradient_TH,) = torch.autograd.grad((pooled_SH * weights_SH).sum(), hidden_TH, retain_graph=True)
    (expected_TH,) = torch.autograd.grad((torch.stack(expected) * weights_SH).sum(), hidden_TH)
    torch.testing.assert_close(gradient_TH, expected_TH, rtol=0, atol=1e-12)
    whole_SH = pool(Pooling([mode]), hidden_TH, batch(PROMPTS))
    assert not torch.equal(whole_SH, pooled_SH) or mode == "last"
    torch.testing.assert_close(whole_SH, by_loop(mode, hidden_TH), rtol=0, atol=1e-12)


def test_without_a_prompt_everything_is_pooled() -> None:
    pooling = Pooling(ALL, include_prompt=False)

    assert torch.equal(pool(pooling, hidden(), batch([0] * 6)), Pooling(ALL)(hidden(), torch.tensor(LENGTHS)))


def test_a_prompt_of_unknown_length_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="does not say how many tokens"):
        pool(Pooling(["mean"], include_prompt=False), hidden(), batch(None))
    assert pool(Pooling(["mean"]), hidden(), batch(None)).shape == (6, 5)


def test_a_text_that_is_nothing_but_its_prompt_is_named() -> None:
    with pytest.raises(UserError, match="no tokens behind its prompt"):
        pool(Pooling(["mean"], include_prompt=False), hidden(), batch((1, 1, 4, 1, 0, 2)))


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_prompts_stay_with_their_sequences_in_parts_and_joined(pairs: int) -> None:
    columns = [[[1] * (row + 3) for row in range(5)], [[2] * (row + 4) for row in range(5)]]
    whole = PackedBatch.from_ids(columns, prompts=(2, 3))

    assert whole.prompts == (2,) * 5 + (3,) * 5
    for part, places in whole.in_parts(pairs):
        assert part.prompts == tuple(whole.prompts[place] for place in places)
    assert PackedBatch.joined([whole, whole]).prompts == whole.prompts * 2
    assert PackedBatch.joined([whole, PackedBatch.from_ids(columns)]).prompts == ()


def test_a_pooling_in_words() -> None:
    assert described(Pooling(["cls", "mean"])) == "cls + mean"
    assert described(Pooling(["mean"], include_prompt=False)) == "mean without the prompt"
    assert described(torch.nn.Identity()) == "Identity"
