"""The graph gives what the encoder gives, for any batch and length, and the folder stays what it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from matryoshka.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.export import onnx
from matryoshka.export.onnx import OnnxFolder
from tests.tiny import tiny_encoder

BATCHES = [["x"], ["Die Schule und das Haus", "x", "ein Text, der länger ist als die anderen"] * 3]


@pytest.mark.slow
@pytest.mark.parametrize("largest_file", [onnx.LARGEST_FILE, 0])
def test_onnxruntime_gives_equal_embeddings(largest_file: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(onnx, "LARGEST_FILE", largest_file)
    encoder = tiny_encoder(modes=("cls",))
    folder = OnnxFolder().save(encoder, tmp_path / "model")

    session = runtime.InferenceSession(folder / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    assert [tensor.name for tensor in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [tensor.name for tensor in session.get_outputs()] == ["last_hidden_state"]
    for texts in BATCHES:
        batch = encoder.tokenizer(texts, padding=True, truncation=True, max_length=32, return_tensors="np")
        (hidden,) = session.run(None, {name: batch[name] for name in ("input_ids", "attention_mask")})
        np.testing.assert_allclose(hidden[:, 0], encoder.encode(texts, normalize=False), atol=1e-5)
    np.testing.assert_array_equal(Encoder.load(str(folder)).encode(BATCHES[1]), encoder.encode(BATCHES[1]))


def test_a_missing_package_is_said_before_the_training_and_instead_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "PACKAGES", ("onnx", "no_such_package"))

    ((key, message),) = OnnxFolder().problems()
    assert (key, message.split(",")[0]) == (
        "_target_",
        "no_such_package not installed; pip install 'matryoshka[onnx]'",
    )
    with pytest.raises(UserError, match="export to ONNX: no_such_package not installed"):
        OnnxFolder().save(tiny_encoder(), tmp_path / "model")
    assert not (tmp_path / "model").exists()
