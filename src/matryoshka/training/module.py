"""The one place where encoder, loss and optimizer meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder.encoder import Encoder
from matryoshka.losses.matryoshka import MatryoshkaLoss, NestedLoss, gradient_shares
from matryoshka.memory.peak import peak_memory
from matryoshka.processes.together import add_up_gradients, largest_share
from matryoshka.training.gradient_cache import cached_backward
from matryoshka.training.log_rows import MicroBatch, SinceLastRow
from matryoshka.training.nonfinite import FiniteUpdates
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.shared_encoding import encode_together

PIECE = 1 << 22  # numbers whose squares are summed at once: on a CPU torch copies them to fp64 first


class EmbeddingModule(pl.LightningModule):
    """Trains an encoder on packed batches of (anchors, positives, negatives ...).

    optimizer: parameters -> optimizer. scheduler: (optimizer, number of updates) -> schedule, stepped each update.
    plan says what each micro-loss is divided by and after which an update follows. Every `log_every` updates the mean
    loss since the last row, each dim's own loss, its share in the gradient at the embeddings of the last micro-batch,
    the rate used, the gradient's norm before clipping, the speed and the peak of memory go to the loggers. Between
    those rows nothing is read back from the device but whether an update is finite. pairs_at_once: of a larger
    micro-batch keep the activations of so many pairs at a time (see gradient_cache). finite: what becomes of an update
    that is not.
    """

    def __init__(
        self,
        encoder: Encoder,
        loss: MatryoshkaLoss,
        plan: TrainingPlan,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer, int], LRScheduler],
        max_grad_norm: float = 1.0,
        log_every: int = 10,
        pairs_at_once: int | None = None,
        finite: FiniteUpdates | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.encoder = encoder.train()  # transformers loads models without dropout, and Lightning leaves it so
        self.loss = loss
        self.plan = plan
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.max_grad_norm = max_grad_norm
        self.log_every = log_every
        self.pairs_at_once = pairs_at_once
        self.finite = finite or FiniteUpdates()
        self.updates = 0
        self.first_batch = 0  # of the present epoch: the one where a run goes on
        self.selecting: list[float] = []  # the selecting metric after each epoch
        self.last_row: dict[str, float] = {}
        self._rows = SinceLastRow()

    def configure_optimizers(self) -> Any:
        """The optimizer over what can be trained, and its schedule."""
        optimizer = self.make_optimizer([p for p in self.encoder.parameters() if p.requires_grad])
        return [optimizer], [self.make_scheduler(optimizer, self.plan.updates)]

    def on_train_epoch_start(self) -> None:
        """Use all micro-batches of the epoch. Time spent between epochs, in evaluations, is no training time."""
        # Lightning counts the first epoch's batches and cuts off what later epochs have more.
        loop, count = self.trainer.fit_loop, self.plan.micro_batches[self.current_epoch]
        assert loop._combined_loader is not None
        if self.current_epoch == 0 and loop.max_batches != count:
            raise ValueError(f"the plan has {count} micro-batches in the first epoch, the Trainer {loop.max_batches}")
        count -= self.first_batch
        loop.max_batches = count
        loop._combined_loader.limits = [count]
        self._rows.start_clock()

    def training_step(self, batch: PackedBatch, batch_index: int) -> None:
        """Forward and backward of one micro-batch; the update where its window is full."""
        divisor, update = self.plan.window(self.current_epoch, self.first_batch + batch_index)
        at_once = batch.columns[0] if self.pairs_at_once is None else self.pairs_at_once
        cached = at_once < largest_share(batch.columns[0])
        logged = update and (self.updates + 1) % self.log_every == 0

        def loss_of(embeddings_SD: Tensor) -> NestedLoss:
            anchors_BD, candidates_ND = embeddings_SD.tensor_split([batch.columns[0]])
            nested: NestedLoss = self.loss(anchors_BD, candidates_ND, batch.mask_BN, one_dim_at_a_time=cached)
            if logged:
                self._rows.gradient_shares = gradient_shares(nested, embeddings_SD)
            return nested

        if cached:
            nested = cached_backward(self.encoder, batch, at_once, loss_of, divisor)
        else:
            nested = loss_of(encode_together(self.encoder, batch))
            self.manual_backward(nested.total / divisor)
        self._rows.window.append(MicroBatch.of(batch, nested, divisor))
        if update:
            self.update()

    def update(self) -> None:
        """Clip, step the optimizer and the schedule, and log where it is due. Raises NotFiniteError."""
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(scheduler, LRScheduler)
        rate = float(scheduler.get_last_lr()[0])
        add_up_gradients(self.encoder.parameters())
        norm = gradient_norm([p.grad for p in self.encoder.parameters() if p.grad is not None])
        epoch = self.current_epoch + 1
        if self.finite.allows(self.updates + 1, epoch, self._rows.window, norm, self.encoder):
            clip_gradients(self.encoder.parameters(), self.max_grad_norm, norm)
            self._rows.count()
        else:
            optimizer.zero_grad(set_to_none=True)  # type: ignore[union-attr]
            self._rows.leave_out()
        optimizer.step()  # type: ignore[union-attr]  # without gradients it changes nothing but Lightning's count
        optimizer.zero_grad(set_to_none=True)  # type: ignore[union-attr]
        scheduler.step()
        self.updates += 1
        if self.updates % self.log_every == 0:
            row, self._rows = self._rows.close(), SinceLastRow()
            row |= {"train/learning_rate": rate, **self.finite.row(norm)}
            if (memory := peak_memory(self.device)) is not None:
                row["train/memory_gigabytes"] = memory / 1e9
            self.record(row)

    def evaluated(self, value: float) -> None:
        """The selecting metric's value, for a schedule that goes by it and to know which weights are the best."""
        self.selecting.append(value)
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(value)

    @property
    def since_last_row(self) -> SinceLastRow:
        """What the next row of the log will sum up."""
        return self._rows

    def pause_clock(self) -> None:
        """What follows until the next epoch is not training."""
        self._rows.pause()

    def record(self, row: dict[str, float]) -> None:
        """Give one row to every logger, with the epoch as transformers counts it."""
        self.last_row = {**row, "epoch": round(self.plan.epoch_at(self.updates), 4)}
        for logger in self.loggers:
            logger.log_metrics(self.last_row, step=self.updates)


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of all gradients together.

    As clip_grad_norm_ returns it, but squares are summed in fp64: then rows of zeros, set aside or not, change nothing.
    """
    wide = torch.float32 if gradients[0].device.type == "mps" else torch.float64  # MPS has no fp64
    pieces = [piece for gradient in gradients for piece in gradient.flatten().split(PIECE)]
    norms = [torch.linalg.vector_norm(piece, dtype=wide) for piece in pieces]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, norm: Tensor | None = None) -> None:
    """Scale all gradients so that their norm together is at most max_norm. norm: what it is, if that is known."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = gradient_norm(gradients) if norm is None else norm
    torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0).float())
