"""The one place where encoder, loss and optimizer meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder.encoder import Encoder
from matryoshka.losses.matryoshka import MatryoshkaLoss
from matryoshka.losses.nested_loss import NestedLoss, gradient_shares
from matryoshka.processes.together import add_up_gradients, largest_share
from matryoshka.training.clipping import clip_gradients, gradient_norm
from matryoshka.training.epoch_batches import use_micro_batches
from matryoshka.training.gradient_cache import cached_backward
from matryoshka.training.log_rows import LogRows, MicroBatch, memory_row
from matryoshka.training.measured_module import MeasuredModule
from matryoshka.training.nonfinite import NonFiniteGuard
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.shared_encoding import encode_together


class EmbeddingModule(MeasuredModule):
    """Trains an encoder on packed batches of (anchors, positives, negatives ...).

    optimizer: parameters -> optimizer. scheduler: (optimizer, number of updates) -> schedule, stepped each update.
    plan says what each micro-loss is divided by and after which an update follows. Every `log_every` updates a row goes
    to the loggers (see log_rows); between rows nothing is read back from the device but whether an update is finite.
    pairs_at_once: keep the activations of so many pairs of a micro-batch at a time (see gradient_cache).
    nonfinite: stops or skips an update that is not finite.
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
        nonfinite: NonFiniteGuard | None = None,
    ) -> None:
        super().__init__(plan)
        self.automatic_optimization = False
        self.encoder = encoder.train()  # transformers loads models without dropout, and Lightning leaves it so
        self.loss = loss
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.max_grad_norm, self.log_every, self.pairs_at_once = max_grad_norm, log_every, pairs_at_once
        self.nonfinite = nonfinite or NonFiniteGuard()
        self.log_rows = LogRows()
        self.first_batch = 0  # of the present epoch: the one where a run goes on

    def configure_optimizers(self) -> Any:
        """The optimizer over what can be trained, and its schedule."""
        optimizer = self.make_optimizer([p for p in self.encoder.parameters() if p.requires_grad])
        return [optimizer], [self.make_scheduler(optimizer, self.plan.updates)]

    def on_train_epoch_start(self) -> None:
        """Use all micro-batches of the epoch. Time spent between epochs, in evaluations, is no training time."""
        use_micro_batches(self.trainer, self.plan.micro_batches[self.current_epoch], self.first_batch)
        self.log_rows.start_clock()

    def training_step(self, batch: PackedBatch, batch_index: int) -> None:
        """Forward and backward of one micro-batch; the update where its window is full."""
        divisor, update = self.plan.window(self.current_epoch, self.first_batch + batch_index)
        at_once = batch.columns[0] if self.pairs_at_once is None else self.pairs_at_once
        cached = at_once < largest_share(batch.columns[0])
        logged = update and (self.updates + 1) % self.log_every == 0

        def loss_of(embeddings_SD: Tensor) -> NestedLoss:
            both = embeddings_SD.tensor_split([batch.columns[0]])
            nested: NestedLoss = self.loss(*both, batch.mask_BN, batch.numbers, one_dim_at_a_time=cached)
            if logged:
                self.log_rows.gradient_shares = gradient_shares(nested, embeddings_SD)
            return nested

        if cached:
            nested = cached_backward(self.encoder, batch, at_once, loss_of, divisor)
        else:
            nested = loss_of(encode_together(self.encoder, batch))
            self.manual_backward(nested.total / divisor)
        self.log_rows.window.append(MicroBatch.of(batch, nested, divisor))
        if update:
            self.update()

    def update(self) -> None:
        """Clip, step the optimizer and the schedule, and log where it is due. Raises NotFiniteError."""
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(scheduler, LRScheduler)
        rate = float(scheduler.get_last_lr()[0])
        add_up_gradients(self.encoder.parameters())
        norm = gradient_norm([p.grad for p in self.encoder.parameters() if p.grad is not None])
        window, epoch = self.log_rows.window, self.current_epoch + 1
        if made := self.nonfinite.allows(self.updates + 1, epoch, window, norm, self.encoder):
            clip_gradients(self.encoder.parameters(), self.max_grad_norm, norm)
        else:
            optimizer.zero_grad(set_to_none=True)  # type: ignore[union-attr]
        self.log_rows.count(made=made)
        optimizer.step()  # type: ignore[union-attr]  # without gradients it changes nothing but Lightning's count
        optimizer.zero_grad(set_to_none=True)  # type: ignore[union-attr]
        scheduler.step()
        self.progress.updates += 1
        if self.updates % self.log_every == 0:
            row = {**self.log_rows.close(), "train/learning_rate": rate, **self.nonfinite.row(norm)}
            self.record(row | memory_row(self.device))
