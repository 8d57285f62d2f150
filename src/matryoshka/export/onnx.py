"""The trained model for onnxruntime, where sentence-transformers' `backend="onnx"` looks for it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from matryoshka.encoder.encoder_half import ENCODERS, model_class
from matryoshka.encoder.model_folder import read_json
from matryoshka.errors import UserError
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.export.trial import HiddenStates, require_same_embeddings

if TYPE_CHECKING:
    from torch import Tensor

    from matryoshka.encoder.encoder import Encoder

LARGEST_FILE = 2**30  # bytes of weights; protobuf itself ends at twice that
EAGER = (*ENCODERS, "deberta-v2")  # kinds whose attention, with a bias of relative positions, has no other graph
PACKAGES = ("onnx", "onnxscript")
REMEDY_OF_KIND = "choose export=sentence_transformers, and run the same command again"
REMEDY = "pip install 'matryoshka[onnx]', or choose export=sentence_transformers"


class OnnxFolder(SentenceTransformersFolder):
    """The sentence-transformers folder, and the transformer as onnx/model.onnx; pooling stays outside.

    The graph takes input_ids and attention_mask (B, L), int64, of any batch size and length, and gives
    last_hidden_state (B, L, hidden size), fp32.
    """

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is missing to write the graph or to push the model, found before the training."""
        yield from super().problems()
        yield from missing_packages()

    def write(self, encoder: Encoder, folder: Path) -> None:
        """Write all files into an empty folder. Raises UserError if a package is missing or the model has no graph."""
        for _, message in missing_packages():
            raise UserError(f"export to ONNX: {message}")
        super().write(encoder, folder)
        (folder / "onnx").mkdir()
        try:
            write_graph(folder, folder / "onnx" / "model.onnx")
        except (MemoryError, OSError):
            raise
        except Exception as error:  # the exporter's errors are of every kind, of operations that it does not know
            first = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"export to ONNX: the graph cannot be written: {first}; {REMEDY_OF_KIND}") from error

    def try_out(self, encoder: Encoder, folder: Path) -> None:
        """The same with the graph besides, where onnxruntime is installed."""
        super().try_out(encoder, folder)
        if find_spec("onnxruntime"):
            graph = graph_of(folder / "onnx" / "model.onnx")
            require_same_embeddings(encoder, folder, self.dim, graph, "onnx/model.onnx")


def missing_packages() -> Iterator[tuple[str, str]]:
    """Those that the graph cannot be written without, as one problem."""
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        yield "_target_", f"{' and '.join(missing)} not installed; {REMEDY}"


def graph_of(path: Path) -> HiddenStates:
    """(input_ids_SL, mask_SL) -> hidden states (S, L, H) by the graph, which is read when it is called."""

    def hidden(ids_SL: Tensor, mask_SL: Tensor) -> Tensor:
        import onnxruntime
        import torch

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        inputs = {"input_ids": ids_SL.numpy(), "attention_mask": mask_SL.numpy()}
        return torch.from_numpy(session.run(["last_hidden_state"], inputs)[0])

    return hidden


def write_graph(model: Path, path: Path) -> None:
    """The graph of a saved transformers model; above 1 GB the weights go to a file beside it."""
    import torch
    from torch import nn

    class LastHiddenState(nn.Module):
        def __init__(self, backbone: nn.Module) -> None:
            super().__init__()
            self.backbone = backbone

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            hidden_BLH: Tensor = self.backbone(input_ids=input_ids, attention_mask=attention_mask)[0]
            return hidden_BLH

    # Read again rather than taken from the encoder: that one's attention is made for packed sequences.
    kind = str(read_json(model / "config.json").get("model_type"))
    attention = "eager" if kind in EAGER else "sdpa"
    backbone = model_class(kind).from_pretrained(model, attn_implementation=attention, local_files_only=True).eval()
    size = sum(weight.numel() * weight.element_size() for weight in backbone.parameters())
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    ids_BL, mask_BL = torch.tensor([[0, 3, 3, 2], [0, 3, 2, 1]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, of what is deprecated within torch
        torch.onnx.export(
            LastHiddenState(backbone).eval(),
            kwargs={"input_ids": ids_BL, "attention_mask": mask_BL},
            f=path,
            input_names=["input_ids", "attention_mask"],
            output_names=["last_hidden_state"],
            dynamic_shapes={"input_ids": axes, "attention_mask": axes},
            dynamo=True,
            external_data=size > LARGEST_FILE,
            verbose=False,
        )
