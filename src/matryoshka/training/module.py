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
from matryoshka.processes.together import add_up_gradients
from matryoshka.training.accumulation import add_gradients
from matryoshka.training.log_rows import memory_row
from matryoshka.training.measured_module import MeasuredModule
from matryoshka.training.nonfinite import NonFiniteGuard, known_at_once
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.window import Window


class EmbeddingModule(MeasuredModule):
    """Trains an encoder on packed batches of (anchors, positives, negatives ...).

    optimizer: parameters -> optimizer. scheduler: (optimizer, number of updates) -> schedule, stepped each update.
    plan says what each micro-loss is divided by and after which an update follows. Every `log_every` updates a row goes
    to the loggers (see log_rows); between rows nothing is read back from the device but whether an update was finite.
    pairs_at_once, tokens_at_once: what is encoded at a time (see window). nonfinite: stops or skips an update.
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
        tokens_at_once: int = 0,
    ) -> None:
        super().__init__(plan, max_grad_norm, log_every, nonfinite)
        self.automatic_optimization = False
        self.encoder = encoder.train()  # transformers loads models without dropout, and Lightning leaves it so
        self.loss = loss
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.window = Window(plan.accumulation, tokens_at_once, pairs_at_once)

    def configure_optimizers(self) -> Any:
        """The optimizer over what can be trained, and its schedule."""
        optimizer = self.make_optimizer([p for p in self.encoder.parameters() if p.requires_grad])
        return [optimizer], [self.make_scheduler(optimizer, self.plan.updates)]

    def training_step(self, batch: PackedBatch, batch_index: int) -> None:
        """Take in a micro-batch; encode those that go together; the update where its window is full."""
        divisor, update = self.plan.window(self.current_epoch, self.first_batch + batch_index)
        if self.window.is_full_for(batch):
            self.add_gradients(divisor)
        self.window.add(batch, self.loss.drawn_dims(), divisor)
        if update:
            self.add_gradients(divisor)
            self.update()

    def add_gradients(self, divisor: int) -> None:
        """Forward and backward of the micro-batches that wait."""
        window, waiting = self.window, self.window.waiting

        def loss_of(number: int, embeddings_SD: Tensor) -> NestedLoss:
            batch, options = waiting[number].batch, {"cuts": waiting[number].cuts, "one_dim_at_a_time": window.splits}
            both = embeddings_SD.tensor_split([batch.columns[0]])
            nested: NestedLoss = self.loss(*both, batch.mask_BN, batch.numbers, **options)
            if waiting[number].place == 0 and self.logs_next:
                window.shares = gradient_shares(nested, embeddings_SD)
            return nested

        if waiting:
            batches, at_once = [each.batch for each in waiting], window.pairs_at_once if window.splits else None
            window.encoded(add_gradients(self.encoder, batches, loss_of, divisor, at_once, shared=window.shared))

    def update(self) -> None:
        """Clip, step the optimizer and the schedule, and log where it is due. Raises NotFiniteError."""
        self.settle()
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(scheduler, LRScheduler)
        rate, logged = float(scheduler.get_last_lr()[0]), self.logs_next
        add_up_gradients(self.encoder.parameters())
        step = self.clip(optimizer, *self.window.close())
        optimizer.step()  # type: ignore[union-attr]  # without gradients it changes nothing but Lightning's count
        optimizer.zero_grad(set_to_none=True)  # type: ignore[union-attr]
        if logged or known_at_once(step):
            self.settle()
        scheduler.step()
        self.progress.updates += 1
        if logged:
            row = {**self.log_rows.close(), "train/learning_rate": rate, **self.nonfinite.row(step.norm)}
            self.record(row | memory_row(self.device))
