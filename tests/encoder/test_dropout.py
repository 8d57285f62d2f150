"""Fast dropout: the distribution, the gradient and the seed of torch's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from matryoshka.encoder.dropout import Dropout, keep_mask, use_fast_dropout
from tests.tiny import tiny_encoder


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("p", [0.0, 0.001, 0.1, 0.5, 0.9, 1.0])
def test_as_many_stay_as_asked_and_the_mean_is_kept(p: float) -> None:
    n = 1_000_000
    kept, scale = keep_mask((n,), p)

    deviation = (p * (1 - p) / n) ** 0.5
    assert abs(float(kept.double().mean()) - (1 - p)) <= 5 * deviation + 1 / 65536
    assert scale == pytest.approx(1 / (1 - p) if p < 1 else 0.0, rel=2e-4)


def test_each_of_the_four_parts_of_a_number_is_drawn_alike() -> None:
    """Of a number without its highest bit every fourth part would never be negative."""
    kept, _ = keep_mask((4_000_000,), 0.25)

    shares = kept.view(-1, 4).double().mean(0)
    assert (shares - 0.75).abs().max() < 5 * (0.25 * 0.75 / 1e6) ** 0.5


def test_neighbours_are_independent() -> None:
    kept = keep_mask((1_000_000,), 0.5)[0].double() - 0.5

    for distance in (1, 2, 3, 4, 5, 64):
        assert abs(float((kept[:-distance] * kept[distance:]).mean())) < 5 * 0.25 / 1e3


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 3, 4), (0, 4)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert keep_mask(shape, 0.1)[0].shape == shape


def test_the_gradient_passes_where_the_value_did() -> None:
    x = torch.rand(50, 40, dtype=torch.float64).add(1).requires_grad_()
    y = Dropout(0.3)(x)

    (gradient,) = torch.autograd.grad(y.sum(), x)
    scale = 65536 / (65536 - round(0.3 * 65536))
    assert torch.equal(gradient, (y != 0).double() * scale)
    torch.testing.assert_close(y, x * gradient)


def test_nothing_is_dropped_in_evaluation_or_at_0() -> None:
    x = torch.rand(5)

    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_a_seed_repeats_the_draw() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Dropout(0.5)(torch.ones(100))

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_bf16_stays_bf16() -> None:
    assert Dropout(0.5)(torch.ones(8, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_every_dropout_of_a_model_is_replaced_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.2)), nn.Dropout(0.3))
    use_fast_dropout(model)
    use_fast_dropout(model)

    assert [type(module) for module in model.modules() if isinstance(module, nn.Dropout)] == [Dropout, Dropout]
    assert [module.p for module in model.modules() if isinstance(module, Dropout)] == [0.2, 0.3]


def test_an_encoder_uses_it() -> None:
    encoder = tiny_encoder(dropout=0.2)

    kinds = {type(module) for module in encoder.modules() if isinstance(module, nn.Dropout)}
    assert kinds == {Dropout}


def test_a_replaced_module_is_in_the_mode_of_the_one_before() -> None:
    model = nn.Sequential(nn.Dropout(0.5)).eval()
    use_fast_dropout(model)

    assert type(model[0]) is Dropout
    assert not model[0].training
