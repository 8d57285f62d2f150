"""Which layers an adapter is put beside, how large it is, and what is told of one that cannot be."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from matryoshka.encoder import adapter
from matryoshka.encoder.adapter import Lora, targets
from matryoshka.errors import UserError
from tests.composing import problems
from tests.encoder.test_packed_attention import backbone
from tests.tiny import tiny_encoder


@pytest.mark.parametrize("lora", [Lora(), Lora(2, target_modules=["query", "intermediate.dense"])])
def test_its_size_is_that_of_what_is_trained(lora: Lora) -> None:
    encoder = tiny_encoder()
    size = lora.size(encoder.backbone)
    lora.put_into(encoder, 0)
    assert size == sum(4 * p.numel() for p in encoder.parameters() if p.requires_grad)


def test_all_linear_layers_of_the_layers_are_taken_and_no_other() -> None:
    model = backbone("bert")  # which has a pooler
    names = targets(model, None)
    assert len(names) == 6 * len(model.encoder.layer)  # type: ignore[arg-type, union-attr]
    assert all(name.startswith("encoder.layer.") for name in names)
    assert targets(model, ["pooler.dense"]) == ["pooler.dense"]
    assert targets(model, ["layer.1.attention.self.key"]) == ["encoder.layer.1.attention.self.key"]


def test_an_unknown_name_is_told_with_those_that_there_are() -> None:
    with pytest.raises(
        UserError, match=r"called quer; did you mean query\? There are attention\.self\.query, att"
    ) as e:
        Lora(target_modules=["key", "quer"]).size(tiny_encoder().backbone)
    assert "target_modules" in str(e.value) and "null takes all of them" in str(e.value)
    with pytest.raises(UserError, match="called uery"):  # no end of a name's part
        Lora(target_modules=["uery"]).size(tiny_encoder().backbone)


def test_what_is_wrong_is_told_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not problems("adapter=lora")
    found = dict(problems("adapter=lora", "adapter.rank=0", "adapter.dropout=1.0", "adapter.alpha=-1"))
    assert found.keys() == {"adapter.rank", "adapter.dropout", "adapter.alpha"}
    assert "names no layer" in dict(problems("adapter=lora", "adapter.target_modules=[]"))["adapter.target_modules"]
    assert dict(problems("adapter=lora", "+adapter.ranks=3")).keys() == {"adapter.ranks"}

    monkeypatch.setattr(adapter, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    ((key, message),) = problems("adapter=lora")
    assert key == "adapter._target_" and "pip install 'matryoshka[adapters]'" in message


def test_the_check_imports_nothing_slow() -> None:
    code = "import sys, matryoshka.encoder.adapter; print({'torch', 'peft', 'transformers'} & {*sys.modules})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
