"""Every architecture that is packed equals the padded model: values and gradients; what can't be packed says so."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import Encoder, Pooling, packed_attention
from matryoshka.encoder.architectures import FIRST_POSITION
from tests.architectures import PACKED, tiny_backbone
from tests.encoder.test_packed_attention import LENGTHS, gradients, sequences
from tests.tiny import tiny_tokenizer, with_checkpointing

DECODERS = ("gemma3_text", "llama", "mistral", "qwen2", "qwen3")
CHECKPOINTED = [name for name in PACKED if name not in ("albert", "mpnet")]  # which transformers can't


def encoder(model: PreTrainedModel) -> Encoder:
    pooling = Pooling(["cls", "mean", "last"])
    return Encoder(model, tiny_tokenizer(), pooling, max_seq_length=40, name="tiny").eval()


def batch() -> PackedBatch:
    """Sequences of very different lengths, most longer than a window."""
    return PackedBatch.from_ids([sequences()])


def padded_embeddings(model: PreTrainedModel) -> Tensor:
    """The model as transformers runs it, eagerly: padded, with a mask."""
    ids_SL, mask_SL = batch().padded(pad_id=1)
    hidden_SLH = model(input_ids=ids_SL, attention_mask=mask_SL.long())[0]
    lengths_S = mask_SL.sum(1)
    mean_SH = (hidden_SLH * mask_SL[..., None]).sum(1) / lengths_S[:, None]
    return torch.cat([hidden_SLH[:, 0], mean_SH, hidden_SLH[torch.arange(len(lengths_S)), lengths_S - 1]], dim=1)


def test_every_architecture_of_the_table_is_tried() -> None:
    assert {kind for kind, _ in PACKED.values()} == FIRST_POSITION.keys()


@pytest.mark.parametrize("name", PACKED)
def test_values_and_gradients_are_those_of_the_padded_model(name: str) -> None:
    padded, packed = tiny_backbone(name), encoder(tiny_backbone(name))
    assert packed.packed

    expected_SD, packed_SD = padded_embeddings(padded), packed(batch())
    torch.testing.assert_close(packed_SD, expected_SD, rtol=0, atol=1e-5)
    expected, found = gradients(expected_SD, padded), gradients(packed_SD, packed.backbone)
    assert found.keys() == expected.keys()
    for weight, gradient in expected.items():
        torch.testing.assert_close(found[weight], gradient, rtol=0, atol=1e-5, msg=lambda m, w=weight: f"{w}: {m}")


class Largest(TorchDispatchMode):
    """The most elements that any tensor has."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for x in made if isinstance(made, (tuple, list)) else [made]:
            self.elements = max(self.elements, x.numel() if isinstance(x, Tensor) else 0)
        return made


@pytest.mark.parametrize("name", PACKED)
def test_a_long_row_of_short_sequences_has_no_mask_of_the_whole_row(name: str) -> None:
    rows = PackedBatch.from_ids([[[5, 6, 7, 8] * 2] * 128])
    model = encoder(tiny_backbone(name))
    with Largest() as largest, torch.inference_mode():
        model(rows)
    assert 1024 * 32 <= largest.elements < 1024**2 / 4


@pytest.mark.parametrize("name", PACKED)
def test_attention_has_its_dropout_in_training_only(name: str) -> None:
    model, rows = encoder(tiny_backbone(name, attention_dropout=0.2)), batch()

    assert torch.equal(model(rows), model(rows))
    torch.testing.assert_close(model(rows), encoder(tiny_backbone(name))(rows), rtol=0, atol=1e-6)
    model.train()
    assert not torch.equal(model(rows), model(rows))


@pytest.mark.parametrize("name", CHECKPOINTED)
def test_gradient_checkpointing_changes_no_gradient(name: str) -> None:
    plain, checkpointed = encoder(tiny_backbone(name)), with_checkpointing(encoder(tiny_backbone(name)))
    expected, found = (gradients(model.train()(batch()), model.backbone) for model in (plain, checkpointed))

    assert found.keys() == expected.keys()
    for weight, gradient in expected.items():
        torch.testing.assert_close(found[weight], gradient, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", PACKED)
def test_a_compact_vocabulary_changes_nothing(name: str) -> None:
    whole, compact = encoder(tiny_backbone(name)), encoder(tiny_backbone(name))
    compact.compact_vocabulary({token for ids in sequences() for token in ids})
    whole_SD, compact_SD = whole(batch()), compact(batch())

    assert torch.equal(compact_SD, whole_SD)
    table = compact.backbone.get_input_embeddings()
    assert table is not None and table.num_embeddings < 60
    expected, found = gradients(whole_SD, whole.backbone), gradients(compact_SD, compact.backbone)
    (name_of_table,) = [n for n, p in compact.backbone.named_parameters() if p is table.weight]
    assert compact.vocabulary is not None
    expected[name_of_table] = expected[name_of_table][compact.vocabulary.kept_rows]
    assert all(torch.equal(found[weight], gradient) for weight, gradient in expected.items())
    compact.whole_vocabulary()
    assert torch.equal(compact(batch()), whole_SD)


@pytest.mark.parametrize("name", DECODERS)
def test_autocast_reaches_the_attention_and_stays_near(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qwen3 and Gemma3 have a norm behind the products of queries and keys, which gives fp32."""
    seen: set[torch.dtype] = set()
    attend = packed_attention.attend

    def watched(qkv_T3HD: Tensor, *others: Any) -> Tensor:
        seen.add(qkv_T3HD.dtype)
        return attend(qkv_T3HD, *others)

    monkeypatch.setattr(packed_attention, "attend", watched)
    model = encoder(tiny_backbone(name))
    with torch.autocast("cpu", torch.bfloat16):
        narrow_SD = model(batch())
    assert seen == {torch.bfloat16}
    torch.testing.assert_close(narrow_SD, model(batch()), rtol=0.05, atol=0.2)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_keeps_no_keys(name: str) -> None:
    model, outputs = encoder(tiny_backbone(name)), list[Any]()
    model.backbone.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    model(batch())
    assert outputs[0].past_key_values is None


def test_sequences_that_stay_within_the_window_see_all() -> None:
    short = PackedBatch.from_ids([[[5, 6, 7, 8, 9, 10, 11], [8, 9, 7]]])
    one, other = (encoder(tiny_backbone("mistral", sliding_window=window)) for window in (7, 400))
    assert torch.equal(one(short), other(short))
    longer = PackedBatch.from_ids([[[5, 6, 7, 8, 9, 10, 11, 12], [8, 9, 7]]])
    assert not torch.allclose(one(longer), other(longer), atol=1e-3)


@pytest.mark.parametrize("name", ["mpnet", "modernbert"])
def test_a_model_that_is_packed_stays_so_in_another_encoder_and_in_a_copy(name: str) -> None:
    first = encoder(tiny_backbone(name))
    second = encoder(copy.deepcopy(first.backbone))

    assert second.packed
    assert torch.equal(first(batch()), second(batch()))
    assert type(first.backbone).__name__ == type(tiny_backbone(name)).__name__  # which is saved
    ids_SL, mask_SL = batch().padded(pad_id=1)  # and without sequences it is transformers' own
    if name == "mpnet":
        padded_SLH = first.backbone(input_ids=ids_SL, attention_mask=mask_SL.long())[0]
        expected_SLH = tiny_backbone(name)(input_ids=ids_SL, attention_mask=mask_SL.long())[0]
        torch.testing.assert_close(padded_SLH, expected_SLH, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["deberta-v2", "gpt_neox"])
def test_what_cannot_be_packed_is_padded_and_says_so(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="matryoshka"):
        model = encoder(tiny_backbone(kind))

    assert not model.packed
    assert caplog.messages == [f"tiny: sequences are padded, since {kind} can't be packed"]
    torch.testing.assert_close(model(batch()), padded_embeddings(tiny_backbone(kind)), rtol=0, atol=1e-5)


def test_code_that_comes_with_a_model_is_not_taken_for_transformers_own(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_backbone("bert")
    model.__class__ = type("BertModel", (type(model),), {"__module__": "transformers_modules.someone.modeling"})
    with caplog.at_level(logging.INFO, logger="matryoshka"):
        assert not encoder(model).packed

    assert caplog.messages == ["tiny: sequences are padded, since code that comes with a bert model can't be packed"]


def test_a_release_whose_attention_cannot_be_set_is_padded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_backbone("albert")
    monkeypatch.setattr(type(model), "_can_set_attn_implementation", classmethod(lambda cls: False))
    with caplog.at_level(logging.INFO, logger="matryoshka"):
        assert not encoder(model).packed

    assert "since the albert of this release of transformers can't be packed" in caplog.messages[0]


def test_positions_reach_beyond_the_models_only_in_a_row() -> None:
    assert sum(LENGTHS) > 64 > max(LENGTHS)
