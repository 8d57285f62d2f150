"""A training with an adapter: what changes, what the optimizer holds, what is kept on disk, what a mean is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from matryoshka.encoder import Encoder
from matryoshka.encoder.adapter import Lora
from matryoshka.encoder.dense import Dense
from matryoshka.encoder.low_rank import merge_adapter
from matryoshka.training.blend import set_mixed
from matryoshka.training.callbacks.averages import LastAverage, MovingAverage
from matryoshka.training.checkpoints.folder import WEIGHTS, BrokenCheckpointError, write_checkpoint
from matryoshka.training.checkpoints.kept import KeptCheckpoints
from matryoshka.training.checkpoints.trained_part import start_of_mixes, trained_part
from tests.encoder.adapted import with_adapter
from tests.tiny import tiny_encoder
from tests.training.callbacks.small import LIGHTNINGS_ADVICE, fit, small_module

pytestmark = [pytest.mark.filterwarnings(each) for each in LIGHTNINGS_ADVICE]
LORA = Lora(rank=3, alpha=6)


def weights(encoder: Encoder) -> dict[str, Tensor]:
    return {name: values.clone() for name, values in encoder.state_dict().items()}


def projected(encoder: Encoder) -> Encoder:
    encoder.dense.append(Dense.of(torch.eye(encoder.width)))
    return encoder


def test_only_the_adapter_and_what_is_behind_the_pooling_are_trained_and_kept(tmp_path: Path) -> None:
    module, data = small_module()
    LORA.put_into(projected(module.encoder), 0)
    before = weights(module.encoder)
    average, last = MovingAverage(0.5), LastAverage()
    trainer = fit(module, data, tmp_path, [average, last])

    after, expected = weights(module.encoder), {name for name in before if "lora_" in name or name.startswith("dense")}
    assert {name for name in before if not torch.equal(before[name], after[name])} == expected
    held = [p for group in trainer.optimizers[0].param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for n, p in module.encoder.named_parameters() if n in expected}
    assert average.average.keys() == last.average.keys() == expected
    with average.weights_to_measure(module):
        assert any(not torch.equal(after[name], values) for name, values in trained_part(module.encoder).items())
    assert all(torch.equal(after[name], values) for name, values in weights(module.encoder).items())


def test_a_checkpoint_holds_what_is_trained_and_gives_it_back_to_the_same_base(tmp_path: Path) -> None:
    model, kept = with_adapter(projected(tiny_encoder()), LORA), KeptCheckpoints(tmp_path)
    kept.save(4, model, {"best": {"step": 4, "value": 0.5}, "update": 4})
    files = [path / WEIGHTS for path in (tmp_path / "checkpoints").iterdir()]

    assert [path.parent.name for path in sorted(files)] == ["best-4", "last-4"]
    for path in files:
        names = set(load_file(path))
        assert names == {name for name in model.state_dict() if "lora_" in name or name.startswith("dense.")}
        assert path.stat().st_size < LORA.size(tiny_encoder().backbone) + 4 * 32 * 33 + 8_000
    other = projected(tiny_encoder())
    LORA.put_into(other, 9)
    kept.best(4).load_weights(other)
    assert all(torch.equal(values, other.state_dict()[name]) for name, values in model.state_dict().items())


def test_a_checkpoint_of_another_adapter_or_of_none_is_refused(tmp_path: Path) -> None:
    fewer, none = tiny_encoder(), tiny_encoder()
    Lora(3, 6, target_modules=["query"]).put_into(fewer, 0)
    adapted = write_checkpoint(tmp_path / "adapted", 1, "", trained_part(with_adapter(tiny_encoder(), LORA)))
    for model in (fewer, none, with_adapter(tiny_encoder(), Lora(rank=4))):
        with pytest.raises(BrokenCheckpointError, match="not the weights of this model"):
            adapted.load_weights(model)
    for wrong in (fewer, none):
        lacks = write_checkpoint(tmp_path / "wrong", 1, "", trained_part(wrong))
        with pytest.raises(BrokenCheckpointError, match="not the weights of this model"):
            lacks.load_weights(with_adapter(tiny_encoder(), LORA))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_mean_of_start_and_end_is_that_of_the_merged_weights(share: float, tmp_path: Path) -> None:
    model, ends = projected(tiny_encoder()), projected(tiny_encoder())
    LORA.put_into(model, 0)
    start = write_checkpoint(tmp_path / "start", 0, "", start_of_mixes(model)).folder / WEIGHTS
    with torch.no_grad():
        for end in (model, ends):
            end.dense[-1].linear.weight.mul_(-2)
    with_adapter(ends, LORA)
    tuned = write_checkpoint(tmp_path / "tuned", 8, "", trained_part(ends)).folder / WEIGHTS
    model.load_state_dict(ends.state_dict())
    merge_adapter(ends.backbone)
    base, merged = projected(tiny_encoder()).state_dict(), ends.state_dict()

    set_mixed(model, {file: part for file, part in {start: 1 - share, tuned: share}.items() if part})
    merge_adapter(model.backbone)
    for name, values in model.state_dict().items():
        expected = (1 - share) * base[name] + share * merged[name]
        torch.testing.assert_close(values, expected, atol=1e-6, rtol=0, msg=name)
        if share == 0:
            assert torch.equal(values, base[name])
