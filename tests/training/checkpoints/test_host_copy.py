"""A copy of a state on the host: equal, apart from the original, in memory that is used again."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from matryoshka.training.checkpoints import host_copy
from matryoshka.training.checkpoints.host_copy import HostCopy
from matryoshka.training.checkpoints.kept import KeptCheckpoints
from tests.training.checkpoints.test_background import step, trained


def test_a_copy_keeps_what_shares_memory_and_is_taken_into_the_memory_of_the_one_before() -> None:
    model, optimizer, rest = trained()
    copies = HostCopy()
    first = copies.take((model.state_dict(), rest))
    places = [tensor.data_ptr() for tensor in first[0].values()]
    assert first[0]["0.weight"].data_ptr() == first[0]["1.weight"].data_ptr()
    of_run = first[1]["of_run"]
    assert of_run["row"].data_ptr() == of_run["table"][2].data_ptr() and of_run["turned"].stride() == (1, 8)
    step(model, optimizer)
    assert not torch.equal(first[0]["2.bias"], model.state_dict()["2.bias"])
    second = copies.take((model.state_dict(), rest))
    assert [tensor.data_ptr() for tensor in second[0].values()] == places
    assert all(map(torch.equal, second[0].values(), model.state_dict().values()))
    larger = copies.take({"x": torch.arange(10_000_000)})
    assert torch.equal(larger["x"], torch.arange(10_000_000))


def test_blocks_are_powers_of_two_and_nothing_overlaps() -> None:
    sizes = [250_000 * 1536, *[1536 * 1536 * 4, 1536 * 4] * 12, 0, 1, 65]
    blocks, places = host_copy._placed(sizes)
    assert all(block & (block - 1) == 0 for block in blocks)
    assert sum(blocks) < 1.4 * sum(sizes)
    taken = sorted((block, start, start + size) for (block, start), size in zip(places, sizes, strict=True))
    for (block, _, end), (other, start, _) in pairwise(taken):
        assert block != other or end <= start
    assert all(end <= blocks[block] for block, _, end in taken)


def test_only_plain_tensors_are_copied_by_the_block() -> None:
    """Others are cloned each for itself."""

    dashed = torch.sparse_coo_tensor([[0, 2]], [1.0, 2.0], (3,), check_invariants=True)
    found = HostCopy().take({"sparse": dashed, "weight": nn.Parameter(torch.ones(2))})
    assert torch.equal(found["sparse"].to_dense(), dashed.to_dense())
    assert isinstance(found["weight"], nn.Parameter)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_what_is_saved_is_that_of_the_moment_on_each_device(tmp_path: Path, device: str) -> None:
    model = nn.Linear(3000, 1000).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    step(model, optimizer)
    expected = [tensor.cpu().clone() for tensor in (*model.parameters(), optimizer.state[model.weight]["exp_avg"])]
    kept = KeptCheckpoints(tmp_path, background=None if device == "cuda" else True)
    for update in (1, 2):
        kept.save(update, model, {"best": {"step": 1, "value": 0.5}, "optimizer": optimizer.state_dict()})
        assert kept._copies["trained"]._blocks[0].is_pinned() == (device == "cuda")
        step(model, optimizer)
    kept.finish()
    found = nn.Linear(3000, 1000)
    kept.best(1).load_weights(found)
    average = torch.load(kept.folder / "last-1" / "training.pt", map_location="cpu")["optimizer"]["state"][0]["exp_avg"]
    assert all(map(torch.equal, [*found.parameters(), average], expected))
