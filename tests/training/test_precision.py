"""Precision follows from what the device is fast at, and the reason is said."""

from __future__ import annotations

import pytest
import torch

from matryoshka.training import precision
from matryoshka.training.precision import choose_precision, gigaflops

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("fp32", "bf16", "chosen"),
    [
        (189.0, 800.0, "bf16-mixed"),  # AMX
        (135.0, 16.0, "32-true"),  # AVX2: bf16 is emulated
        (100.0, 120.0, "32-true"),  # as good as the same: keep the digits
        (100.0, 121.0, "bf16-mixed"),
    ],
)
def test_a_cpu_takes_what_it_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float, chosen: str
) -> None:
    rates = {torch.float32: fp32, torch.bfloat16: bf16}
    monkeypatch.setattr(precision, "gigaflops", lambda device, dtype: rates[dtype])

    choice = choose_precision(CPU)
    assert choice.precision == chosen
    assert choice.reason == f"measured {fp32:.0f} GFLOP/s in fp32, {bf16:.0f} in bf16"


@pytest.mark.parametrize(
    ("units", "chosen", "reason"),
    [(True, "bf16-mixed", "the GPU has bf16 units"), (False, "32-true", "the GPU has no bf16 units")],
)
def test_a_gpu_takes_bf16_where_it_has_units_for_it(
    monkeypatch: pytest.MonkeyPatch, units: bool, chosen: str, reason: str
) -> None:
    asked = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return units

    monkeypatch.setattr("torch.cuda.is_bf16_supported", supported)
    choice = choose_precision(torch.device("cuda"))

    assert (choice.precision, choice.reason) == (chosen, reason)
    assert asked == [False]


@pytest.mark.parametrize(("first", "rows"), [(0.001, 512), (0.02, 64)])
def test_the_rate_is_that_of_the_best_run(monkeypatch: pytest.MonkeyPatch, first: float, rows: int) -> None:
    """The first product warms up; where a small one takes long, as emulated ones do, only small ones are made."""
    durations = iter([9.0, 1.0, first, 1.0, 0.5, 0.25, 0.5])
    clock = iter([0.0, 0.1, 0.2, 0.3, 9.0])
    monkeypatch.setattr(precision, "_timed", lambda a, b: next(durations))
    monkeypatch.setattr("matryoshka.training.precision.time.perf_counter", lambda: next(clock))

    rate = gigaflops(CPU, torch.float32, seconds=0.35)
    assert rate == pytest.approx(2 * rows * 384 * 1536 / 0.25 / 1e9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_measurement_is_of_a_product_in_that_type(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    seen = set()
    timed = precision._timed

    def watched(a: torch.Tensor, b: torch.Tensor) -> float:
        seen.add((a.dtype, b.dtype, a.device.type))
        return timed(a, b)

    monkeypatch.setattr(precision, "_timed", watched)

    assert 0.01 < gigaflops(CPU, dtype, seconds=0.2) < 1e6
    assert seen == {(dtype, dtype, "cpu")}
