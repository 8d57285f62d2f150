"""The trained model as a folder that sentence-transformers loads, of any version from 3.0.1 on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from annotated_types import Ge

from matryoshka.encoder.saved_dense import dense_config
from matryoshka.encoder.saved_pooling import pooling_config
from matryoshka.encoder.weight_files import WEIGHTS
from matryoshka.errors import UserError
from matryoshka.export.push import push_problems
from matryoshka.export.tokenizer_config import mend_tokenizer_config
from matryoshka.export.trial import require_same_embeddings, transformer_of
from matryoshka.storage.atomic import whole_folder

if TYPE_CHECKING:
    from matryoshka.encoder.dense import Dense
    from matryoshka.encoder.encoder import Encoder

LAYOUT = "3.0.1"  # newer versions read it too, while 3.0.1 can't read theirs


class SentenceTransformersFolder:
    """Saves an encoder as sentence-transformers 3.0.1 would: transformers' files and a folder a module.

    dim: the saved model gives the first so many numbers of the encoder's, by a Dense module; None for all.
    push_to_hub: the repository that a run pushes its model to when it is done, None for none. private: whether only
    its owner may see it.
    """

    def __init__(
        self,
        dim: Annotated[int, Ge(1), "{} is not at least 1; use null to keep all numbers"] | None = None,
        push_to_hub: str | None = None,
        private: bool = True,
    ) -> None:
        self.dim = dim
        self.push_to_hub = push_to_hub
        self.private = private

    def problems(self) -> Iterator[tuple[str, str]]:
        """Why the model could not be pushed, found before the training."""
        return push_problems(self.push_to_hub)

    def save(self, encoder: Encoder, folder: Path, *, trial: bool = True) -> Path:
        """Write the folder whole or not at all, in the place of an older model; returns its path.

        trial: encode two texts with what is written first. Raises UserError if that gives other embeddings, if the
        folder holds anything but a model, or if the encoder has fewer numbers than dim.
        """
        kept_layers(encoder, self.dim)
        if folder.exists() and not (folder.is_dir() and _holds_a_model_or_nothing(folder)):
            raise UserError(f"{folder} holds no model that could be replaced: move it away or save elsewhere")
        needed = sum(p.numel() * p.element_size() for p in encoder.parameters())
        with whole_folder(folder, needed) as beside:
            self.write(encoder, beside)
            if trial:
                self.try_out(encoder, beside)
        return folder

    def try_out(self, encoder: Encoder, folder: Path) -> None:
        """Encode two texts with the written files alone. Raises UserError if they differ from the encoder's."""
        require_same_embeddings(encoder, folder, self.dim, transformer_of(folder, encoder), "model")

    def write(self, encoder: Encoder, folder: Path) -> None:
        """Write all files into an empty folder."""
        from matryoshka.encoder.pooling import includes_prompt

        encoder.backbone.save_pretrained(folder)
        for weights in folder.glob("*.safetensors"):
            weights.chmod(0o644)  # safetensors would keep colleagues out
        encoder.tokenizer.save_pretrained(folder)
        mend_tokenizer_config(folder / "tokenizer_config.json", encoder.tokenizer, encoder.max_seq_length)
        layers = kept_layers(encoder, self.dim)
        modules = [
            {
                "idx": i,
                "name": str(i),
                "path": f"{i}_{kind}" if i else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for i, kind in enumerate(("Transformer", "Pooling", *["Dense"] * len(layers), "Normalize"))
        ]
        for module in modules:
            (folder / str(module["path"])).mkdir(exist_ok=True)
        _write_json(folder / "modules.json", modules)
        told = transformer_config(encoder.max_seq_length, encoder.do_lower_case)
        _write_json(folder / "sentence_bert_config.json", told)
        pooling = encoder.pooling
        told = pooling_config(pooling.modes, encoder.pooled_width // pooling.factor, includes_prompt(pooling))
        _write_json(folder / "1_Pooling" / "config.json", told)
        for i, layer in enumerate(layers, 2):
            write_dense(layer, folder / f"{i}_Dense")
        settings: dict[str, Any] = {
            "__version__": {
                "sentence_transformers": LAYOUT,
                "transformers": version("transformers"),
                "pytorch": version("torch"),
            },
            "prompts": encoder.prompts,
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        }
        _write_json(folder / "config_sentence_transformers.json", settings)


def kept_layers(encoder: Encoder, dim: int | None) -> list[Dense]:
    """The Dense modules that give the encoder's first `dim` numbers. Raises UserError if it has fewer.

    The last matrix is cut to these rows, else the first rows of the identity follow.
    """
    import torch
    from torch import nn

    from matryoshka.encoder.dense import Dense

    layers = [cast(Dense, layer) for layer in encoder.dense]
    if dim is None or dim == encoder.width:
        return layers
    if dim > encoder.width:
        raise UserError(
            f"export.dim: {dim} is wider than the encoder's {encoder.width}; use at most export.dim={encoder.width}"
        )
    if not layers or not isinstance(layers[-1].activation, nn.Identity):
        return [*layers, Dense.of(torch.eye(encoder.width, dim))]
    last = layers[-1].linear
    cut = Dense(last.in_features, dim, bias=last.bias is not None)
    cut.load_state_dict({f"linear.{name}": values[:dim] for name, values in last.state_dict().items()})
    return [*layers[:-1], cut]


def transformer_config(max_seq_length: int, do_lower_case: bool = False) -> dict[str, Any]:
    """What sentence_bert_config.json says; special tokens count in max_seq_length."""
    return {"max_seq_length": max_seq_length, "do_lower_case": do_lower_case}


def write_dense(layer: Dense, folder: Path) -> None:
    """Write a Dense module into a folder."""
    from safetensors.torch import save_file

    _write_json(folder / "config.json", dense_config(layer))
    weights = {name: values.detach().cpu().contiguous() for name, values in layer.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # as above


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _holds_a_model_or_nothing(folder: Path) -> bool:
    return (folder / "modules.json").is_file() or not any(folder.iterdir())
