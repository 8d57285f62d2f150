"""A fused optimizer that clips and skips in its step, against clipping before it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from matryoshka.training.clipping import clip_gradients, clip_in_step, clips_itself, gradient_norm, gradient_norms

ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1)


def parameters(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    made = [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((3, 4), (5,), (2, 2, 2))]
    for p in made:
        p.grad = torch.randn(p.shape, generator=generator)
    return made


def test_fused_adam_alone_clips_itself() -> None:
    assert clips_itself(ADAMW(parameters(), fused=True))
    assert not clips_itself(ADAMW(parameters()))
    assert not clips_itself(torch.optim.SGD(parameters(), lr=0.1))
    assert not clips_itself(torch.optim.SGD(parameters(), lr=0.1, momentum=0.9, fused=True))


@pytest.mark.parametrize("max_norm", [0.1, 1e9])
def test_a_step_that_clips_equals_one_after_clipping(max_norm: float) -> None:
    plain, inside = parameters(), parameters()
    one, other = ADAMW(plain, fused=True), ADAMW(inside, fused=True)
    for _ in range(3):
        clip_gradients(plain, max_norm)
        one.step()
        clip_in_step(other, max_norm, gradient_norm([p.grad for p in inside if p.grad is not None]), torch.zeros(()))
        other.step()
    for p, q in zip(plain, inside, strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), atol=1e-7, rtol=1e-6)
        assert not torch.equal(p.detach(), parameters()[0].detach()) if p.shape == (3, 4) else True


def test_a_broken_step_changes_no_weight_and_no_average() -> None:
    weights = parameters()
    optimizer = ADAMW(weights, fused=True)
    clip_in_step(optimizer, 1.0, torch.tensor(1.0), torch.tensor(0.0))
    optimizer.step()
    before = [p.detach().clone() for p in weights]
    averages = [{name: value.clone() for name, value in optimizer.state[p].items()} for p in weights]
    assert weights[0].grad is not None
    weights[0].grad[0, 0] = torch.nan
    norm = gradient_norm([p.grad for p in weights if p.grad is not None])
    clip_in_step(optimizer, 1.0, norm, torch.tensor(1.0))
    optimizer.step()
    for p, value, states in zip(weights, before, averages, strict=True):
        assert torch.equal(p.detach(), value)
        for name, state in states.items():
            assert torch.equal(optimizer.state[p][name], state), name


def test_norms_are_those_of_each_gradient() -> None:
    gradients: list[Tensor] = [torch.randn(5_000_000), torch.randn(3, 4)]
    expected = [float(g.double().norm()) for g in gradients]
    assert gradient_norms(gradients).tolist() == pytest.approx(expected, rel=1e-12)
    assert float(gradient_norm(gradients)) == pytest.approx(sum(x**2 for x in expected) ** 0.5, rel=1e-12)
