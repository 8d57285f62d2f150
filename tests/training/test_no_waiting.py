"""Between two logged rows no step waits: one flag an update is read, an update later, and no copy is waited for.

The device here is torch's `meta`, which has no numbers: whatever reads one fails there, on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder.readback import on_host
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.losses.nested_loss import gradient_shares
from matryoshka.processes import together
from matryoshka.training import measured_module, nonfinite, schedulers
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.plan import TrainingPlan
from tests.encoder.test_packed_attention import sequences
from tests.tiny import tiny_encoder

META = torch.device("meta")


class NoWaiting(TorchDispatchMode):
    """Fails where the host would wait: a mask as an index, whose true entries are counted, or a copy that blocks."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_):
            masks = [i for i in args[1] if i is not None and i.dtype == torch.bool and i.is_meta]
            assert not masks, "a mask of the device is an index"
        if func.overloadpacket is torch.ops.aten._to_copy and kwargs.get("device") == META and not args[0].is_meta:
            assert kwargs.get("non_blocking"), "a copy to the device blocks"
        return func(*args, **kwargs)


@pytest.fixture(autouse=True)
def autocast_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    autocast = torch.autocast
    monkeypatch.setattr(
        torch, "autocast", lambda device, *a, **k: autocast("cpu" if device == "meta" else device, *a, **k)
    )
    for name in ("is_autocast_enabled", "get_autocast_dtype"):
        ask = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda device, ask=ask: ask("cpu" if device == "meta" else device))


class LikeFused(torch.optim.SGD):
    """Scales and skips by itself, as torch's fused Adam does, which is not for this device."""

    grad_scale: Tensor
    found_inf: Tensor

    def step(self, closure: Any = None) -> None:
        assert self.grad_scale.is_meta and self.found_inf.is_meta
        del self.grad_scale, self.found_inf  # which this class itself does not know
        super().step(closure)


def module_on_meta(
    monkeypatch: pytest.MonkeyPatch,
    pairs_at_once: int | None,
    log_every: int,
    optimizer_class: type[torch.optim.SGD] = LikeFused,
    tokens_at_once: int = 0,
) -> EmbeddingModule:
    encoder = tiny_encoder(modes=("cls", "mean", "max", "last"), dropout=0.1)
    encoder.compact_vocabulary(range(60))
    module = EmbeddingModule(
        encoder.to(META),
        MatryoshkaLoss(RankingLoss(direction="both"), [128, 32]),
        TrainingPlan([4], 2),
        partial(optimizer_class, lr=0.1, momentum=0.9),
        schedulers.constant,
        log_every=log_every,
        pairs_at_once=pairs_at_once,
        tokens_at_once=tokens_at_once,
    )
    monkeypatch.setattr(measured_module, "clips_itself", lambda optimizer: isinstance(optimizer, LikeFused))
    (optimizer,), (scheduler,) = module.configure_optimizers()
    monkeypatch.setattr(module, "optimizers", lambda: optimizer)  # else a Trainer has them
    monkeypatch.setattr(module, "lr_schedulers", lambda: scheduler)
    return module


def batch_on_meta() -> PackedBatch:
    ids = sequences()
    return PackedBatch.from_ids([ids[:6], ids[6:]], torch.zeros(6, 6, dtype=torch.bool)).sent(META)


@pytest.mark.parametrize(
    ("pairs_at_once", "processes", "tokens_at_once"),
    [
        (None, 1, 0),
        (None, 1, 9_999),
        (2, 2, 0),
        *(pytest.param(*o, 0, marks=pytest.mark.slow) for o in ((None, 2), (2, 1))),
    ],
)
@pytest.mark.parametrize(("optimizer", "read_by_then"), [(LikeFused, [0, 1]), (torch.optim.SGD, [1, 2])])
def test_one_flag_an_update_is_read_between_rows(
    monkeypatch: pytest.MonkeyPatch,
    pairs_at_once: int | None,
    processes: int,
    tokens_at_once: int,
    optimizer: type[torch.optim.SGD],
    read_by_then: list[int],
) -> None:
    """A fused optimizer skips by itself, so the flag is read when the next update is due; others are asked for it."""
    module = module_on_meta(monkeypatch, pairs_at_once, 10, optimizer, tokens_at_once)
    if processes > 1:
        answers = {"is_initialized": True, "get_world_size": processes, "get_rank": 1, "all_reduce": None}
        for name, answer in answers.items():
            monkeypatch.setattr(dist, name, lambda *_, answer=answer, **__: answer)
        monkeypatch.setattr(together, "waiting_group", lambda: None)

    reads: list[Tensor] = []
    monkeypatch.setattr(nonfinite, "read", lambda flag: reads.append(flag))  # None: nothing is wrong

    with NoWaiting():
        for update in range(2):
            for i in range(2):
                module.training_step(batch_on_meta(), 2 * update + i)
            assert module.updates == update + 1
            assert len(reads) == read_by_then[update]
    assert module.settle()
    assert [flag.is_meta and flag.numel() for flag in reads] == [1, 1]  # whether an update is finite


def test_each_dims_share_in_the_gradient_is_not_read() -> None:
    embeddings_SD = torch.zeros(6, 32, device=META, requires_grad=True)
    nested = MatryoshkaLoss(RankingLoss(), [32, 8])(*embeddings_SD.tensor_split([3]))

    with NoWaiting():
        assert all(share.is_meta for share in gradient_shares(nested, embeddings_SD).values())


def test_a_logged_row_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the device above does refuse what must not happen there."""
    module = module_on_meta(monkeypatch, None, log_every=2)
    monkeypatch.setattr(nonfinite, "read", lambda flag: False)

    with NoWaiting(), pytest.raises(RuntimeError, match="meta"):
        for i in range(4):
            module.training_step(batch_on_meta(), i)
    assert module.updates == 2


def test_the_guard_knows_masks_and_copies() -> None:
    x, mask = torch.zeros(3, device=META), torch.ones(3, dtype=torch.bool, device=META)
    with NoWaiting():
        with pytest.raises(AssertionError, match="a mask"):
            x[mask]
        with pytest.raises(AssertionError, match="a mask"):
            x[mask] = 1.0
        with pytest.raises(AssertionError, match="blocks"):
            torch.zeros(3).to(META)


def test_a_padded_batch_is_made_without_reading() -> None:
    """What transformers makes of its mask is its own: it reads once a pass whether anything is masked."""
    with NoWaiting():
        batch = batch_on_meta()
        ids_SL, _ = batch.padded(1)
        ids_SL.flatten()[batch.padded_places_T()]


class OnDevice:
    """A result that stands on a made-up GPU, and writes down what happens to it."""

    is_cuda, device = True, "cuda:0"

    def __init__(self, name: str, events: list[str]) -> None:
        self.name, self.events = name, events

    def to(self, device: str, non_blocking: bool) -> OnDevice:
        assert (device, non_blocking) == ("cpu", True)
        self.events.append(f"copy {self.name}")
        return self


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_gpu_has_the_next_batch_before_a_result_is_waited_for(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    events: list[str] = []

    class Event:
        def record(self, stream: Any) -> None:
            pass

        def synchronize(self) -> None:
            events.append("wait")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)

    def results() -> Iterator[tuple[int, Any]]:
        for i in range(count):
            events.append(f"start {i}")
            yield i, OnDevice(str(i), events)

    assert [(key, result.name) for key, result in on_host(results())] == [(i, str(i)) for i in range(count)]
    expected = [f"{what} {i}" for i in range(count) for what in ("start", "copy")]
    assert [event for event in events if event != "wait"] == expected
    assert events.count("wait") == count
    for i in range(count - 1):  # the wait for result i comes after the start of i + 1
        waits = [place for place, event in enumerate(events) if event == "wait"]
        assert waits[i] > events.index(f"copy {i + 1}")


def test_on_a_cpu_each_result_comes_at_once() -> None:
    made: list[int] = []

    def results() -> Iterator[tuple[int, Tensor]]:
        for i in range(3):
            made.append(i)
            yield i, torch.tensor(i)

    for key, result in on_host(results()):
        assert (int(result), made) == (key, list(range(key + 1)))
