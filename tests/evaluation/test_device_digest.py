"""The hash of a tensor on its device, against a loop over its words, and in the fingerprint of an encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from matryoshka.encoder import varlen_attention
from matryoshka.evaluation import device_digest as module
from matryoshka.evaluation import fingerprint
from matryoshka.evaluation.device_digest import device_digest
from matryoshka.evaluation.fingerprint import encoder_fingerprint, weights_fingerprint
from tests.tiny import tiny_encoder

KINDS = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}


def written_out(values: Tensor) -> int:
    """The same number word by word: numpy's uint64 and a loop. As a signed number, like torch's."""
    size = values.element_size()
    words = values.contiguous().reshape(-1).view(torch.uint8).numpy().view(KINDS[size])
    total = np.uint64(0)
    with np.errstate(over="ignore"):
        for place, word in enumerate(words, 1):
            z = np.uint64(int(word) % 2**64) + np.uint64(place) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            total += z ^ (z >> np.uint64(31))
    return int(total.astype(np.int64))


def some(dtype: torch.dtype) -> Tensor:
    x = 1000 * torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x > 0 if dtype == torch.bool else x.to(dtype)


@pytest.mark.parametrize("piece", [1, 8, 1 << 22])
@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool],
)
def test_it_is_the_sum_that_is_written_out(dtype: torch.dtype, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    x = some(dtype)

    assert device_digest(x).item() == written_out(x)
    assert device_digest(x.T).item() == written_out(x.T)  # which is not contiguous
    assert device_digest(x[0, 0]).item() == written_out(x[0, :1])
    assert device_digest(x[:0]).item() == 0


def test_numbers_of_16_bytes_have_two_words() -> None:
    x = torch.complex(some(torch.float64), some(torch.float64).flip(0))

    assert device_digest(x).item() == written_out(torch.view_as_real(x))


@pytest.mark.parametrize("places", [[0, 34], [3, 4], [0, 1]])
def test_two_weights_that_are_swapped(places: list[int]) -> None:
    x = some(torch.float32)
    swapped = x.clone()
    swapped.view(-1)[places] = swapped.view(-1)[places[::-1]]

    assert not torch.equal(swapped, x)
    assert device_digest(swapped) != device_digest(x)


def test_every_single_bit_counts() -> None:
    x = some(torch.float32)[:2]
    digests = {int(device_digest(x))}
    for word in range(x.numel()):
        for bit in range(32):
            flipped = x.clone().view(-1)
            flipped.view(torch.int32)[word] ^= 1 << bit if bit < 31 else -(1 << 31)
            digests.add(int(device_digest(flipped)))

    assert len(digests) == 1 + 32 * x.numel()


def test_every_order_counts() -> None:
    x = some(torch.float32)
    orders = [x, x.flip(0), x.flip(1), x.T, x.roll(1, 0), x.roll(1, 1), x[:, torch.randperm(5)].roll(2, 0)]

    assert len({int(device_digest(order)) for order in orders}) == len(orders)
    zeros = torch.zeros(4)
    assert device_digest(zeros) != device_digest(zeros[:3])


def test_an_encoder_away_from_the_host_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is stood in for: every tensor counts as away."""
    monkeypatch.setattr(fingerprint, "_is_away", lambda values: True)
    read: list[tuple[int, ...]] = []
    bytes_of = fingerprint._bytes
    monkeypatch.setattr(fingerprint, "_bytes", lambda values: read.append(tuple(values.shape)) or bytes_of(values))
    encoder = tiny_encoder()
    before = encoder_fingerprint(encoder, "fp32")
    assert read == [(len(list(encoder.parameters())) + len(list(encoder.buffers())),)]

    assert encoder_fingerprint(tiny_encoder(), "fp32") == before
    weight = encoder.backbone.encoder.layer[1].output.dense.weight
    with torch.no_grad():
        weight[[0, 1]] = weight[[1, 0]]
    changed = encoder_fingerprint(encoder, "fp32")
    assert changed != before
    encoder.backbone.embeddings.position_ids[0, 3] += 1
    assert len({before, changed, encoder_fingerprint(encoder, "fp32")}) == 3


def test_what_holds_for_every_machine_is_of_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = weights_fingerprint(tiny_encoder()), encoder_fingerprint(tiny_encoder(), "fp32")
    monkeypatch.setattr(fingerprint, "_is_away", lambda values: True)

    assert weights_fingerprint(tiny_encoder()) == before[0]
    assert encoder_fingerprint(tiny_encoder(), "fp32") != before[1]


def test_another_kernel_is_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, torch.dtype, int]] = []

    names = ["one", "one", "other", "other", "one", "one"]

    def named(device: torch.device, dtype: torch.dtype, head_size: int) -> str:
        asked.append((device.type, dtype, head_size))
        return names[len(asked) - 1]

    monkeypatch.setattr(fingerprint, "kernel_name", named)
    made = set()
    for _ in range(3):
        made |= {encoder_fingerprint(tiny_encoder(), "fp32"), encoder_fingerprint(tiny_encoder(), "bf16")}
    assert len(made) == 4
    assert asked[:2] == [("cpu", torch.float32, 8), ("cpu", torch.bfloat16, 8)]


def test_a_kernel_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (torch.device("cuda"), torch.bfloat16, 64)
    names = {varlen_attention.kernel_name(torch.device("cpu"), torch.bfloat16, 64)}
    for kernel in (None, varlen_attention.flash_attention, varlen_attention.efficient_attention):
        monkeypatch.setattr(varlen_attention, "varlen_kernel", lambda *_, found=kernel: found)
        names.add(varlen_attention.kernel_name(*asked))

    assert len(names) == 4
    assert {"flash_attention", "efficient_attention", "buckets"} < names
