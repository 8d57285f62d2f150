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
from matryoshka.processes.together import add_up_gradients, largest_share, processes
from matryoshka.training.accumulation import add_gradients
from matryoshka.training.clipping import clip_gradients, clip_in_step, clips_itself
from matryoshka.training.epoch_batches import use_micro_batches
from matryoshka.training.log_rows import LogRows, memory_row
from matryoshka.training.measured_module import MeasuredModule
from matryoshka.training.nonfinite import NonFiniteGuard, Step, known_at_once
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.window import Window


class EmbeddingModule(MeasuredModule):
    """Trains an encoder on packed batches of (anchors, positives, negatives ...).

    optimizer: parameters -> optimizer. scheduler: (optimizer, number of updates) -> schedule, stepped each update.
    plan says what each micro-loss is divided by and after which an update follows. Every `log_every` updates a row goes
    to the loggers (see log_rows); between rows nothing is read back from the device but whether an update was finite.
    pairs_at_once: keep the activations of so many pairs of a micro-batch at a time (see accumulation). tokens_at_once:
    micro-batches of an update are encoded together up to so many tokens. nonfinite: stops or skips an update.
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
        super().__init__(plan)
        self.automatic_optimization = False
        self.encoder = encoder.train()  # transformers loads models without dropout, and Lightning leaves it so
        self.loss = loss
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.max_grad_norm, self.log_every, self.pairs_at_once = max_grad_norm, log_every, pairs_at_once
        self.nonfinite = nonfinite or NonFiniteGuard()
        self.log_rows = LogRows()
        self.window = Window(tokens_at_once, plan.accumulation)
        self.shares: dict[int, Tensor] = {}  # of each dim in the gradient of the update that is not made yet
        self.step: Step | None = None  # the last update, while it is not known whether it was finite
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
        if not (waiting := self.window.waiting):
            return
        shared = processes() > 1 and not self.window.deals
        share = max(largest_share(each.batch.columns[0]) if shared else each.batch.columns[0] for each in waiting)
        cached = self.pairs_at_once is not None and self.pairs_at_once < share
        logged = (self.updates + 1) % self.log_every == 0

        def loss_of(number: int, embeddings_SD: Tensor) -> NestedLoss:
            batch, dims = waiting[number].batch, waiting[number].dims
            both = embeddings_SD.tensor_split([batch.columns[0]])
            nested: NestedLoss = self.loss(*both, batch.mask_BN, batch.numbers, dims=dims, one_dim_at_a_time=cached)
            if logged and waiting[number].place == 0:  # the first process has it, whoever has the others
                self.shares = gradient_shares(nested, embeddings_SD)
            return nested

        batches, at_once = [each.batch for each in waiting], self.pairs_at_once if cached else None
        self.window.encoded(add_gradients(self.encoder, batches, loss_of, divisor, at_once, shared=shared))

    def update(self) -> None:
        """Clip, step the optimizer and the schedule, and log where it is due. Raises NotFiniteError."""
        self.settle()
        wrapped, scheduler = self.optimizers(), self.lr_schedulers()
        optimizer = getattr(wrapped, "optimizer", wrapped)  # Lightning's wrapper counts steps
        assert isinstance(optimizer, Optimizer)
        assert isinstance(scheduler, LRScheduler)
        rate = float(scheduler.get_last_lr()[0])
        add_up_gradients(self.encoder.parameters())
        gradients = {name: p.grad for name, p in self.encoder.named_parameters() if p.grad is not None}
        number, epoch = self.updates + 1, self.current_epoch + 1
        step = self.step = Step.of(number, epoch, self.window.close(), gradients, self.shares)
        self.shares = {}
        if clips_itself(optimizer):
            clip_in_step(optimizer, self.max_grad_norm, step.norm, step.broken)
        elif self.settle():
            clip_gradients(self.encoder.parameters(), self.max_grad_norm, step.norm)
        else:
            wrapped.zero_grad(set_to_none=True)  # type: ignore[union-attr]
        wrapped.step()  # type: ignore[union-attr]  # without gradients it changes nothing but Lightning's count
        wrapped.zero_grad(set_to_none=True)  # type: ignore[union-attr]
        if known_at_once(step):
            self.settle()
        scheduler.step()
        self.progress.updates += 1
        if self.updates % self.log_every == 0:
            self.settle()
            row = {**self.log_rows.close(), "train/learning_rate": rate, **self.nonfinite.row(step.norm)}
            self.record(row | memory_row(self.device))

    def settle(self) -> bool:
        """Whether the last update was made, which is read now if it is not known yet. Raises NotFiniteError.

        A GPU is asked one update later, when it has the answer. Where the update was broken, the optimizer has left
        weights and averages as they were, and the next one, whose gradient is of the same weights, is not made either.
        """
        step, self.step = self.step, None
        if step is None:
            return True
        if made := self.nonfinite.allows(step, self.encoder):
            self.log_rows.count(step.window, step.shares)
        return made
