"""Weights mixed from files, against a sum written out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from matryoshka.training.blend import Blend, BlendOutcome, Candidate, set_mixed
from matryoshka.training.checkpoints.weights_file import write_weights
from tests.tiny import tiny_encoder


def written(folder: Path, count: int) -> dict[Path, dict[str, torch.Tensor]]:
    """Files of encoders with different weights."""
    found = {}
    for seed in range(count):
        torch.manual_seed(seed)
        encoder = tiny_encoder()
        for weight in encoder.parameters():
            torch.nn.init.normal_(weight)
        path = folder / f"{seed}.safetensors"
        with path.open("wb") as file:
            write_weights(file, encoder.state_dict())
        found[path] = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    return found


def test_mixed_weights_are_the_sum_of_shares(tmp_path: Path) -> None:
    states = written(tmp_path, 3)
    shares = dict(zip(states, (0.5, 0.2, 0.3), strict=True))
    encoder = tiny_encoder()

    set_mixed(encoder, shares)

    for name, tensor in encoder.state_dict().items():
        if tensor.is_floating_point():
            expected = sum(share * states[path][name].double() for path, share in shares.items())
            torch.testing.assert_close(tensor.double(), expected, atol=1e-6, rtol=1e-6)
        else:
            assert torch.equal(tensor, next(iter(states.values()))[name])


def test_one_file_alone_is_taken_to_the_bit(tmp_path: Path) -> None:
    ((path, state),) = written(tmp_path, 1).items()
    encoder = tiny_encoder()

    set_mixed(encoder, {path: 1.0})

    assert all(torch.equal(tensor, state[name]) for name, tensor in encoder.state_dict().items())


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"unknown": torch.ones(2)}, tmp_path / "other.safetensors")

    with pytest.raises(KeyError):
        set_mixed(tiny_encoder(), {tmp_path / "other.safetensors": 1.0})


def test_shares_are_tried_once_each_the_most_tuned_first() -> None:
    assert Blend([0.3, 0.7, 0.3]).shares == [0.7, 0.3]


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, "a = 1, the tuned weights: ndcg@10 0.5000"),
        (0.5, "a = 0.5 of the tuned weights: ndcg@10 0.5000"),
        (0.0, "a = 0, the weights before training: training made them no better: ndcg@10 0.5000"),
        (None, "a = 0 without the projection, the untrained encoder: nothing that was trained is better: ndcg@10"),
    ],
)
def test_the_outcome_in_words(share: float | None, said: str) -> None:
    kept, other = Candidate(share, 0.5), Candidate(0.25, 0.4)

    found = BlendOutcome("ndcg@10", (kept, other), kept).said

    assert found.startswith(said)
    assert found.endswith("(0.25 tuned 0.4000)")


@pytest.mark.parametrize("share", [None, 0.0])
def test_a_better_one_that_was_refused_is_told(share: float | None) -> None:
    kept, other = Candidate(share, 0.4), Candidate(1.0, 0.5)

    found = BlendOutcome("ndcg@10", (other, kept), kept, {"tuned": "not tuned: it loses"}).said

    assert "what is better is not allowed" in found
    assert found.endswith("(tuned 0.5000); not tuned: it loses")


def test_without_a_projection_the_weights_before_training_are_the_untrained_ones() -> None:
    assert Candidate(0.0, 0.5, projected=False).untrained
    assert Candidate(None, 0.5).untrained
    assert not Candidate(0.0, 0.5).untrained
