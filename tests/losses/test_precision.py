"""Inside, products of fp32 are IEEE's; outside, what was allowed is allowed again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from matryoshka.losses.precision import ieee_products


@pytest.fixture(autouse=True, params=["highest", "high", "medium"])
def allowed(request: pytest.FixtureRequest) -> Iterator[str]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)


def test_inside_and_outside(allowed: str) -> None:
    with ieee_products():
        assert torch.get_float32_matmul_precision() == "highest"
        with ieee_products():
            pass
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == allowed


def test_behind_an_error_too(allowed: str) -> None:
    with pytest.raises(ValueError, match="inside"), ieee_products():
        raise ValueError("inside")
    assert torch.get_float32_matmul_precision() == allowed
