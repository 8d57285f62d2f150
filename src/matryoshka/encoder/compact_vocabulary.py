"""Training only the rows of the word-embedding table whose tokens occur: the same result, less memory and time.

A row that no text uses gets a gradient of exactly 0, and an optimizer without weight decay leaves it as it is. So a
table of the rows that occur is trained, tokens are renumbered on their way in, and the end writes the rows back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import PreTrainedModel


class CompactVocabulary(nn.Module):
    """A model's word-embedding table cut to the tokens that occur.

    used: token ids that texts may have. The model's table is replaced at once; `restore` puts the whole one back, with
    the rows as they are by then. Raises ValueError if the model's table is tied to an output layer.
    """

    number_of: Tensor

    def __init__(self, model: PreTrainedModel, used: Iterable[int]) -> None:
        super().__init__()
        whole = model.get_input_embeddings()
        assert isinstance(whole, nn.Embedding)
        if model.get_output_embeddings() is not None:
            raise ValueError("the model's word embeddings are tied to an output layer")
        kept = set(used) | ({whole.padding_idx} if whole.padding_idx is not None else set())
        self._rows = torch.tensor(sorted(kept))
        self._whole = whole.weight.detach().cpu()
        self._padding = whole.padding_idx
        numbers = torch.full((len(self._whole),), -1)
        numbers[self._rows] = torch.arange(len(self._rows))
        self._unknown = numbers < 0  # on the host, wherever the numbers go
        self.register_buffer("number_of", numbers.to(whole.weight.device), persistent=False)
        padding = None if self._padding is None else int(numbers[self._padding])
        weight = whole.weight.detach()[self._rows.to(whole.weight.device)]
        model.set_input_embeddings(_with_rows(whole, weight, padding))

    @property
    def rows(self) -> tuple[int, int]:
        """How many rows are trained, and how many the whole table has."""
        return len(self._rows), len(self._whole)

    @property
    def kept_rows(self) -> Tensor:
        """The rows of the whole table that are trained, in their order."""
        return self._rows

    @property
    def bytes_saved(self) -> int:
        """Memory that a gradient and AdamW's two averages of the other rows would take."""
        kept, whole = self.rows
        return 3 * (whole - kept) * self._whole.shape[1] * self._whole.element_size()

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids to rows of the compact table. Raises IndexError for an id without one, if the ids are on the host.

        Those of a GPU are not read, since the host would wait; there such an id ends the process (an assertion of the
        device). So `require` is for ids before they are sent; a training's are those that the table was cut to.
        """
        if ids.device.type == "cpu":
            self.require(ids)
        return self.number_of[ids]

    def require(self, ids: Tensor) -> None:
        """Raises IndexError if a token id, of ids on the host, was not named or is beyond the whole table."""
        beyond = (ids < 0) | (ids >= len(self._unknown))
        unknown = ids[beyond | self._unknown[ids.masked_fill(beyond, 0)]]
        if len(unknown):
            kept, whole = self.rows
            raise IndexError(
                f"token id {int(unknown[0])} has no row: the word-embedding table is cut to {kept:,} of {whole:,} "
                "rows; name it to compact_vocabulary, or call whole_vocabulary() first"
            )

    def restore(self, model: PreTrainedModel) -> None:
        """Give the model its whole table back, the trained rows in their places."""
        trained = model.get_input_embeddings()
        assert isinstance(trained, nn.Embedding)
        weight = self._whole.clone()
        weight[self._rows] = trained.weight.detach().cpu()
        model.set_input_embeddings(_with_rows(trained, weight.to(trained.weight.device), self._padding))


def _with_rows(table: nn.Embedding, weight: Tensor, padding: int | None) -> nn.Embedding:
    """A table of the same kind, which may scale its rows, with other rows."""
    other = copy.copy(table)
    other._parameters = {"weight": nn.Parameter(weight, table.weight.requires_grad)}
    other.num_embeddings, other.padding_idx = len(weight), padding
    return other


def is_exact_with(make: Callable[[Iterable[nn.Parameter]], Optimizer]) -> bool:
    """Whether an optimizer treats rows of a table alike with and without others that never get a gradient.

    Tried on a small table: with weight decay rows without gradient change, and where an update is scaled by the norm
    of the whole table the others do.
    """
    whole, part = nn.Parameter(torch.arange(1.0, 13).view(4, 3)), nn.Parameter(torch.arange(1.0, 7).view(2, 3))
    optimizers = make([whole]), make([part])
    for step in range(3):
        gradient = torch.tensor([[0.1, -2.0, 0.0], [3.0, 0.5, 1.0]]) * (step + 1)
        whole.grad, part.grad = torch.cat([gradient, torch.zeros(2, 3)]), gradient
        for optimizer in optimizers:
            optimizer.step()
    unused = torch.arange(7.0, 13).view(2, 3)
    return torch.equal(whole.detach(), torch.cat([part.detach(), unused]))
