"""Dense modules as sentence-transformers saves them: read, checked and described. Imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.encoder.missing_weights import missing_weights
from matryoshka.encoder.model_folder import inside, read_json
from matryoshka.encoder.tensor_file import require_no_pointer, require_tensors
from matryoshka.encoder.weight_files import PICKLED, WEIGHTS
from matryoshka.errors import UserError

if TYPE_CHECKING:
    from matryoshka.encoder.dense import Dense

OF_TORCH = "torch.nn."
UNNAMED = "torch.nn.modules.activation.Tanh"  # what sentence-transformers takes where a file names none
# Of torch.nn what takes each number on its own, has no weights and needs no arguments: nothing else is imported.
ACTIVATIONS = (
    *("Identity", "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU"),
    *("LogSigmoid", "Mish", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign"),
    *("Tanh", "Tanhshrink"),
)
EMBEDDING = "sentence_embedding"  # sentence-transformers' name of what the pooling gives


@dataclass(frozen=True)
class SavedDense:
    """One Dense module of a model's folder. path: its subfolder. activation: a class of torch.nn.

    unsupported: what it asks for that cannot be computed here. pickled: whether pytorch_model.bin may be read.
    """

    model: Path
    path: str
    in_features: int
    out_features: int
    bias: bool
    activation: str
    unsupported: tuple[str, ...] = ()
    pickled: bool = False

    @classmethod
    def read(cls, model: Path, path: str, *, pickled: bool = False) -> SavedDense:
        """What config.json says. Raises UserError if that is no description of a layer."""
        file = inside(model, path, model / "modules.json") / "config.json"
        config = read_json(file)
        for key in ("in_features", "out_features"):
            value = config.get(key)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"{file}: {key} is {value!r}, not a number from 1; copy the model's own config.json")
        if not isinstance(bias := config.get("bias", True), bool):
            raise UserError(f"{file}: bias is {bias!r}, not true or false; copy the model's own config.json")
        activation = str(config.get("activation_function", UNNAMED))
        return cls(
            model,
            path,
            config["in_features"],
            config["out_features"],
            bias,
            activation.rpartition(".")[2],
            tuple(_unsupported(config, activation)),
            pickled,
        )

    @property
    def config_file(self) -> Path:
        """The file that describes the layer."""
        return self.model / self.path / "config.json"

    def require_weights(self) -> Path:
        """The file of the weights. Raises UserError if it is missing or its header tells of others; none is read."""
        file, pickle = (self.model / self.path / name for name in (WEIGHTS, PICKLED))
        if file.is_file():
            self._require_shapes(file, require_tensors(file))
            return file
        if not (self.pickled and pickle.is_file()):
            raise missing_weights(self.model, self.path, pickled=self.pickled)
        require_no_pointer(pickle)
        return pickle  # whose shapes are known when it is read

    def _require_shapes(self, file: Path, found: Mapping[str, tuple[int, ...]]) -> None:
        expected = {"linear.weight": [self.out_features, self.in_features]}
        if self.bias:
            expected["linear.bias"] = [self.out_features]
        for name, shape in expected.items():
            if list(found.get(name, ())) != shape:
                is_ = " x ".join(map(str, found[name])) if name in found else "missing"
                said = f"{self.config_file} says {' x '.join(map(str, shape))}"
                raise UserError(f"{file}: {name} is {is_}, but {said}; copy both files of one model")

    def load(self) -> Dense:
        """The layer in fp32. Raises UserError if its weights cannot be read or are not finite."""
        import torch
        from torch import nn

        from matryoshka.encoder.dense import Dense
        from matryoshka.encoder.loading import read_tensors

        file = self.require_weights()
        activation = getattr(nn, self.activation)()
        dense = Dense(self.in_features, self.out_features, bias=self.bias, activation=activation)
        tensors = read_tensors(file)
        self._require_shapes(file, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
        with torch.no_grad():
            for name, parameter in dense.named_parameters():
                parameter.copy_(tensors[name])
                if not bool(torch.isfinite(parameter).all()):
                    raise UserError(f"{file}: {name} is not all finite; take the model from its source")
        return dense


def dense_config(dense: Dense) -> dict[str, Any]:
    """What config.json says of a layer, in the words of sentence-transformers 3.0.1."""
    kind = type(dense.activation)
    return {
        "in_features": dense.linear.in_features,
        "out_features": dense.linear.out_features,
        "bias": dense.linear.bias is not None,
        "activation_function": f"{kind.__module__}.{kind.__qualname__}",
    }


def _unsupported(config: Mapping[str, Any], activation: str) -> list[str]:
    name = activation.rpartition(".")[2]
    found = [] if activation.startswith(OF_TORCH) and name in ACTIVATIONS else [f"a Dense with {activation}"]
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, EMBEDDING):
            found.append(f"a Dense with {key} {config[key]}")
    return [*found, "a Dense with use_residual"] if config.get("use_residual") else found
