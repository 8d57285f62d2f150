"""What to say where weights are missing: that they are a pickle, of another library, or not on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from matryoshka.encoder.weight_files import PICKLED, PICKLED_INDEX, READ_PICKLED, WEIGHTS
from matryoshka.errors import UserError

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
OTHER_WEIGHTS = (".h5", ".msgpack", ".onnx", ".gguf", ".ot", ".mlmodel")
CACHED = "models--"  # how the hub's cache begins the name of a model's folder


def missing_weights(folder: Path, module: str = "", *, pickled: bool) -> UserError:
    """The error of a model without weights that are read.

    module: the subfolder that lacks them, if it's a Dense module's. pickled: whether pytorch_model.bin would be read.
    """
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith(CACHED):
        return _none_on_the_hub(folder, module, pickled)
    place = folder / module
    names = sorted(path.name for path in place.iterdir())
    if pickles := [name for name in names if name.endswith(PICKLES)]:
        first = next((name for name in pickles if name == PICKLED), pickles[0])
        readable = not pickled and (first == PICKLED or PICKLED_INDEX in names)
        return UserError(
            f"{place / first} is a pickle, which can run code when it is read, and is not read; "
            f"{f'{READ_PICKLED}; or, ' if readable else ''}if you trust it, convert it: "
            f"{_conversion(folder, module, first)}"
        )
    if others := [name for name in names if name.endswith(OTHER_WEIGHTS)]:
        library = "sentence-transformers" if module else "transformers"
        return UserError(f"{place / others[0]} is of another library; save the model as {WEIGHTS} with {library}")
    return UserError(f"{place} has no weights: {WEIGHTS} does not exist; copy all files of the model")


def _none_on_the_hub(folder: Path, module: str, pickled: bool) -> UserError:
    """Of a snapshot in the hub's cache, `models--<owner>--<name>/snapshots/<commit>`."""
    model = folder.parent.parent.name.removeprefix(CACHED).replace("--", "/", 1)
    where = f"at commit {folder.name}, on the hub or, if that is out of reach, in its cache"
    if pickled:
        return UserError(f"{model} has no {Path(module, WEIGHTS)} or {PICKLED} {where}; use a revision that has one")
    return UserError(
        f"{model} has no {Path(module, WEIGHTS)} {where}; use a revision that has it; or {READ_PICKLED}, if there is "
        "one; or, if you trust the model's other weights, convert a copy: hf "
        f"download {model} --revision {folder.name} --local-dir copy, then {_conversion(Path('copy'), module)}, then "
        "encoder.model=copy"
    )


def _conversion(folder: Path, module: str, pickle: str = PICKLED) -> str:
    if module:  # only tensors are unpickled, so not even a hostile file runs code
        read = f"torch.load({str(folder / module / pickle)!r}, weights_only=True)"
        write = f"save_file({read}, {str(folder / module / WEIGHTS)!r})"
        return _python(f"import torch; from safetensors.torch import save_file; {write}")
    convert = f"AutoModel.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
    return _python(f"from transformers import AutoModel; {convert}")


def _python(code: str) -> str:
    """A command that a shell takes as it is, whatever is in a folder's name."""
    return 'python -c "{}"'.format(re.sub(r'([$`"\\])', r"\\\1", code))
