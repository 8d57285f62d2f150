"""What the processes of a run do together. A process that runs alone does the same without any of it.

The loss of a batch is a function of the embeddings of all its rows, L(E_1 ... E_R), and process p encodes only the rows
R_p. All rows are gathered, and every process computes the whole L. Since dL/dw is the sum over all rows of
dL/dE_r * dE_r/dw, process p takes dL/dE_r of its own rows alone back through its encoder, and the sum of what all
processes have is the gradient: nothing is averaged, nothing counted twice. It is summed once an update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from matryoshka.errors import UserError
from matryoshka.processes import waiting
from matryoshka.processes.ending import goes_on, may_take_long
from matryoshka.processes.waiting import waiting_group

Result = TypeVar("Result")
AT_ONCE = 1 << 24  # numbers of gradients that are sent in one message: copied for it, so not all of them


class ElsewhereError(RuntimeError):
    """Another process of the run has failed, which says itself why."""


def processes() -> int:
    """How many processes work on the run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def is_first() -> bool:
    """Whether this process writes, shows and logs; the others only compute."""
    return rank() == 0


def from_first(make: Callable[[], Result], sent: Callable[[Result], Result] | None = None) -> Result:
    """What `make` returns in the first process, the only one that calls it; the others wait for it.

    sent: what the others get of it. An error of the first process is raised in all: a UserError as it is.
    """
    if processes() == 1:
        return make()
    with may_take_long():
        return _from_first(make, sent)


def _from_first(make: Callable[[], Result], sent: Callable[[Result], Result] | None) -> Result:
    group, message = waiting_group(), list[Any]([None, None])
    failed: Exception | None = None
    if is_first():
        try:
            message[0] = result = make()
            message[0] = sent(result) if sent else result
        except Exception as error:
            failed, message = error, [None, (isinstance(error, UserError), str(error))]
    dist.broadcast_object_list(message, group=group)
    if failed:
        raise failed
    if is_first():
        return result
    if message[1] is not None:
        users, text = message[1]
        raise UserError(text) if users else ElsewhereError("the first process failed")
    received: Result = message[0]
    return received


def first_then_others(make: Callable[[], Result]) -> Result:
    """`make` in the first process, then in all others: they find in the cache what the first has downloaded or made.

    Raises RuntimeError for a UserError of another process alone: the first has none to tell, the others are silent.
    """
    made: list[Result] = []
    from_first(lambda: made.append(make()))
    if made:
        return made[0]
    try:
        return make()
    except UserError as error:
        raise RuntimeError(f"process {rank()}, not the first: {error}") from error


def from_all(mine: Result) -> list[Result]:
    """What every process has, in the order of their numbers."""
    if processes() == 1:
        return [mine]
    everyones: list[Any] = [None] * processes()
    with may_take_long():
        dist.all_gather_object(everyones, mine, group=waiting_group())
    return everyones


def own_rows(rows: int) -> range:
    """The rows of a batch that this process encodes: shares differ by one row at most."""
    return range(rows * rank() // processes(), rows * (rank() + 1) // processes())


def largest_share(rows: int) -> int:
    """How many rows the process with the most encodes."""
    return -(-rows // processes())


def takes_turns(micro_batches: int, among: int) -> bool:
    """Whether, of so many processes, each takes whole micro-batches of an update: it has one for each at the least."""
    return 1 < among <= micro_batches


def add_up(x: Tensor) -> Tensor:
    """The sum of all processes' tensors of this shape, in place. Where all others have zeros, it is exact."""
    if processes() > 1:
        dist.all_reduce(x, group=waiting_group() if x.device.type == "cpu" else None)
        goes_on()
    return x


def add_up_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the sum of all processes' gradients. A parameter without one in every process keeps none."""
    if processes() == 1:
        return
    trained = [p for p in parameters if p.requires_grad]
    has_one = torch.tensor([float(p.grad is not None) for p in trained])  # on the host: a GPU would be waited for
    kept = [p for p, some in zip(trained, add_up(has_one).tolist(), strict=True) if some]
    for p in kept:
        if p.grad is None:  # a share of no rows
            p.grad = torch.zeros_like(p)
    for gradients in _in_messages([p.grad for p in kept if p.grad is not None]):
        flat = add_up(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def broadcast_state(module: nn.Module) -> None:
    """Give every process the first one's parameters and buffers."""
    if processes() > 1:
        for tensor in [*module.parameters(), *module.buffers()]:
            dist.broadcast(tensor.detach(), 0)


def leave() -> bool:
    """End the work together; whether this process is the one that goes on, from here on alone."""
    first = is_first()
    if processes() > 1:
        waiting.end()
    return first


def _in_messages(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    message: list[Tensor] = []
    for gradient in gradients:
        if message and sum(map(torch.numel, message)) + gradient.numel() > AT_ONCE:
            yield message
            message = []
        message.append(gradient)
    if message:
        yield message
