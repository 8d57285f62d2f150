"""What to say where weights are missing: that they are a pickle, of another library, or not on the hub."""

from __future__ import annotations

from pathlib import Path

from matryoshka.errors import UserError

WEIGHTS = "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
OTHER_WEIGHTS = (".h5", ".msgpack", ".onnx", ".gguf", ".ot", ".mlmodel")
CACHED = "models--"  # how the hub's cache begins the name of a model's folder


def missing_weights(folder: Path, module: str = "") -> UserError:
    """The error of a model without model.safetensors; module: the subfolder that lacks it, if it's a Dense module's."""
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith(CACHED):
        return _none_on_the_hub(folder, module)
    place = folder / module
    names = sorted(path.name for path in place.iterdir())
    if pickles := [name for name in names if name.endswith(PICKLES)]:
        return UserError(
            f"{place / pickles[0]} is a pickle, which can run code when it is read, and is not read; if you trust it, "
            f"convert it: {_conversion(folder, module, pickles[0])}"
        )
    if others := [name for name in names if name.endswith(OTHER_WEIGHTS)]:
        library = "sentence-transformers" if module else "transformers"
        return UserError(f"{place / others[0]} is of another library; save the model as {WEIGHTS} with {library}")
    return UserError(f"{place} has no weights: {WEIGHTS} does not exist; copy all files of the model")


def _none_on_the_hub(folder: Path, module: str) -> UserError:
    """Of a snapshot in the hub's cache, `models--<owner>--<name>/snapshots/<commit>`."""
    model = folder.parent.parent.name.removeprefix(CACHED).replace("--", "/", 1)
    return UserError(
        f"{model} has no {Path(module, WEIGHTS)} at commit {folder.name}, on the hub or, if that is out of reach, in "
        "its cache; use a revision that has it, or, if you trust the model's other weights, convert a copy: hf "
        f"download {model} --revision {folder.name} --local-dir copy, then {_conversion(Path('copy'), module)}, then "
        "encoder.model=copy"
    )


def _conversion(folder: Path, module: str, pickle: str = "pytorch_model.bin") -> str:
    if module:  # only tensors are unpickled, so not even a hostile file runs code
        read = f"torch.load('{folder / module / pickle}', weights_only=True)"
        write = f"save_file({read}, '{folder / module / WEIGHTS}')"
        return f'python -c "import torch; from safetensors.torch import save_file; {write}"'
    convert = f"AutoModel.from_pretrained('{folder}').save_pretrained('{folder}')"
    return f'python -c "from transformers import AutoModel; {convert}"'
