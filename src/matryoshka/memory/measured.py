"""What encoder, loss and optimizer need, measured on a few tokens.

Nothing is assumed of the architecture: a few tokens are encoded and their gradient taken, and the bytes of all tensors
alive at once are counted. What grows with the tokens, with their squared number in a sequence, and not at all is told
apart by three such batches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder.architectures import keeps_scores
from matryoshka.encoder.encoder import Encoder
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.memory.peak import PeakBytes

SMALL_BATCHES = ([8], [8, 8], [16])  # lengths of the sequences
MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]


@dataclass(frozen=True)
class Growth:
    """Bytes that a batch needs: constant + per_token * tokens + per_square * sum of squared lengths."""

    constant: float
    per_token: float
    per_square: float

    @classmethod
    def of(cls, peaks: Sequence[float]) -> Growth:
        """From the bytes that SMALL_BATCHES need."""
        one, two, long = peaks
        per_square = (long - two) / (16**2 - 2 * 8**2)
        per_token = (two - one - 8**2 * per_square) / 8
        return cls(2 * one - two, per_token, per_square)

    def at(self, tokens: float, squares: float) -> float:
        """Bytes of a batch of so many tokens, with this sum of squared lengths."""
        return self.constant + self.per_token * tokens + self.per_square * squares


@dataclass(frozen=True)
class EncoderMemory:
    """What encoding a batch takes beside the weights: while it is encoded for training, in its backward pass, and
    without a gradient. The gradients of the weights are not among it."""

    forward: Growth
    backward: Growth
    evaluation: Growth

    @classmethod
    def measured(cls, encoder: Encoder, bf16: bool, fused_attention: bool) -> EncoderMemory:
        """On the encoder as it is, on its device. Random numbers go on as if nothing had been drawn.

        fused_attention: training will be on a device whose attention keeps no weights, so what grows with the squared
        lengths here does not count.
        """
        training = encoder.training
        with torch.random.fork_rng(devices=[]):
            peaks = [measured_peaks(encoder, lengths, bf16) for lengths in SMALL_BATCHES]
            forward, backward = (Growth.of(each) for each in zip(*peaks, strict=True))
            evaluation = evaluation_growth(encoder)
        encoder.train(training)
        if fused_attention and not keeps_scores(encoder.backbone):
            forward, backward = (replace(growth, per_square=0.0) for growth in (forward, backward))
            evaluation = replace(evaluation, per_square=0.0) if encoder.packed else evaluation
        return cls(forward, backward, evaluation)

    def training(self, encoder: Encoder, lengths: Sequence[int]) -> float:
        """Bytes of a training batch of sequences of these lengths."""
        counts = _tokens_and_squares(encoder, lengths)
        return max(self.forward.at(*counts), self.backward.at(*counts))


def evaluation_growth(encoder: Encoder) -> Growth:
    """What encoding a batch without a gradient takes beside the weights, measured on the encoder's device."""
    training = encoder.training
    growth = Growth.of([_evaluation_peak(encoder, lengths) for lengths in SMALL_BATCHES])
    encoder.train(training)
    return growth


def optimizer_bytes(make: MakeOptimizer) -> tuple[float, float]:
    """What an optimizer keeps, and what an update takes beside it: shares of the weights, tried on a small one."""
    weight = nn.Parameter(torch.ones(64, 64))
    size = weight.numel() * weight.element_size()
    weight.grad = torch.ones_like(weight)
    optimizer = make([weight])
    with PeakBytes() as first:
        optimizer.step()
        kept = first.now
    with PeakBytes() as second:
        optimizer.step()
    return kept / size, second.peak / size


def loss_bytes(
    loss: MatryoshkaLoss, rows: int, others: int, width: int, masked: bool = False, one_dim_at_a_time: bool = False
) -> float:
    """The matrices of a loss and its gradient over `rows` anchors and `others` columns of candidates.

    Measured on two small batches; it grows with the rows and with their square.
    """
    loss = copy.deepcopy(loss)  # it may draw dims

    def measure(rows: int) -> float:
        inputs = [torch.ones(count, width, requires_grad=True) for count in (rows, rows * others)]
        mask_BN = torch.zeros(rows, rows * others, dtype=torch.bool) if masked else None
        numbers = {name: torch.zeros(rows, rows * others) for name in loss.takes - {"mask_BN"}}
        with PeakBytes() as peak:
            total = loss(*inputs, mask_BN, numbers, one_dim_at_a_time=one_dim_at_a_time).total
            torch.autograd.grad(total, inputs)
        most: float = peak.peak
        return most

    measure(2)  # what the first call makes and keeps is no part of a step
    small, large = measure(64), measure(128)
    per_square = (large - 2 * small) / (128**2 - 2 * 64**2)
    per_row = (small - 64**2 * per_square) / 64
    return max(0.0, rows * per_row) + max(0.0, rows**2 * per_square)


def measured_peaks(encoder: Encoder, lengths: Sequence[int], bf16: bool) -> tuple[float, float]:
    """The most bytes alive in a forward pass and in its backward pass, without the gradients of weights."""
    encoder.train()
    table = encoder.backbone.get_input_embeddings()
    assert table is not None
    embedded: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        embedded.append(output if output.requires_grad else output.requires_grad_())  # a frozen table's does not

    hook = table.register_forward_hook(keep)
    with hook, PeakBytes() as peak:
        with torch.autocast(encoder.device.type, torch.bfloat16, enabled=bf16):
            embeddings_SD = encoder(some_tokens(encoder, lengths))
        forward = peak.restart()
        torch.autograd.grad(embeddings_SD.sum(), embedded.pop(0))
    return forward, peak.peak


@torch.inference_mode()
def _evaluation_peak(encoder: Encoder, lengths: Sequence[int]) -> float:
    """The most bytes alive in fp32; under autocast it is less."""
    encoder.eval()
    with PeakBytes() as peak:
        encoder(some_tokens(encoder, lengths))
    most: float = peak.peak
    return most


def some_tokens(encoder: Encoder, lengths: Sequence[int]) -> PackedBatch:
    """A batch of sequences of these lengths, of one plain token, where the encoder is."""
    special = set(encoder.tokenizer.all_special_ids)
    token = next(token for token in range(len(special) + 1) if token not in special)
    return PackedBatch.from_ids([[[token] * length for length in lengths]], prompts=[0]).to(encoder.device)


def _tokens_and_squares(encoder: Encoder, lengths: Sequence[int]) -> tuple[float, float]:
    if not encoder.packed:  # computed with their padding
        lengths = [max(lengths)] * len(lengths)
    return sum(lengths), sum(length**2 for length in lengths)
