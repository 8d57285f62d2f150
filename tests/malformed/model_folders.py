"""Folders of models."""

from __future__ import annotations

import json
import pickle
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from tests.malformed.case import Case
from tests.malformed.meeting import save_tiny_model

Change = Callable[[Path], Any]
WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
SPARE = "copy the complete file again"
ALL = "copy all files of one"


@cache
def tiny_model_files() -> dict[str, bytes]:
    """The files of a random model that is right."""
    with tempfile.TemporaryDirectory() as folder:
        save_tiny_model(Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _changed(change: Change) -> Callable[[Path], None]:
    """Writes the tiny model, with a change made to its folder."""

    def write(folder: Path) -> None:
        folder.mkdir()
        for name, content in tiny_model_files().items():
            (folder / name).write_bytes(content)
        change(folder)

    return write


def _text(name: str, text: str | bytes) -> Change:
    def change(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    return change


def _json(name: str, **values: Any) -> Change:
    """A key of a JSON file set."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, **values}))

    return change


def _without(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names]


def _bytes(change: Callable[[bytes], bytes], name: str = WEIGHTS) -> Change:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def _header(change: Callable[[dict[str, Any]], Any]) -> Change:
    """The header of the weights, changed, before the same data."""

    def changed(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        new = json.dumps(change(header) or header).encode()
        return len(new).to_bytes(8, "little") + new + content[8 + length :]

    return _bytes(changed)


def _entry(**values: Any) -> Change:
    return _header(lambda header: header[next(name for name in header if name != "__metadata__")].update(values))


def _tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Change:
    def changed(content: bytes) -> bytes:
        tensors = load(content)
        change(tensors)
        return save(tensors, {"format": "pt"})

    return _bytes(changed)


def _renamed(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[f"other.{name}"] = tensors.pop(name)


def _first(value: float) -> Change:
    return _tensors(lambda tensors: tensors["embeddings.word_embeddings.weight"][0].fill_(value))


def _pickled(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(pickle.dumps({"weight": [1.0]}))
        (folder / WEIGHTS).unlink()

    return change


def _index(weight_map: Any, *, keep: bool = False) -> Change:
    def change(folder: Path) -> None:
        if not keep:
            (folder / WEIGHTS).rename(folder / "part.safetensors")
        (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return change


def _link(name: str, target: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def _modules(*kinds: str, path: str = "") -> Change:
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, kind in enumerate(kinds)]
    return _text("modules.json", json.dumps(modules))


def _linked_tokenizer(folder: Path) -> None:
    shutil.copy(folder / TOKENIZER, folder.parent / "elsewhere.json")
    _link(TOKENIZER, "../elsewhere.json")(folder)


ST = "sentence_transformers.models"
CHANGES: dict[str, tuple[Change, ...] | tuple[Any, ...]] = {
    # Files that are missing.
    "no weights": (_without(WEIGHTS), WEIGHTS, "does not exist; copy all files"),
    "no tokenizer": (_without(TOKENIZER), TOKENIZER, "has no tokenizer", "copy it from"),
    "a folder for weights": (lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).mkdir()), WEIGHTS, "copy all files"),
    "a link to nothing": (_link(WEIGHTS, "nothing"), WEIGHTS, "is a link to nothing; put the file"),
    "a link out of the folder": (_link(CONFIG, "/etc/passwd"), CONFIG, "is a link out of the model's folder"),
    "a relative link out of the folder": (_linked_tokenizer, TOKENIZER, "is a link out of the model's folder"),
    "a linked folder": (_link("1_Pooling", "/etc"), "1_Pooling", "is a link out of the model's folder"),
    "a link to itself": (_link(CONFIG, CONFIG), "config.json"),
    # Weights in another format.
    "a pickle": (_pickled("pytorch_model.bin"), "pytorch_model.bin", "is a pickle", "convert it: python -c"),
    "a pickle .pt": (_pickled("model.pt"), "model.pt", "is a pickle", "convert it: python -c"),
    "a pickle .pkl": (_pickled("weights.pkl"), "weights.pkl", "is a pickle", "convert it: python -c"),
    "a pickle .ckpt": (_pickled("last.ckpt"), "last.ckpt", "is a pickle", "convert it: python -c"),
    "a pickle named as safetensors": (_text(WEIGHTS, pickle.dumps([1] * 99)), WEIGHTS, "is damaged", SPARE),
    "weights of TensorFlow": (
        lambda f: (f / WEIGHTS).rename(f / "tf_model.h5"),
        "tf_model.h5",
        "of another library; save the model",
    ),
    "weights of ONNX": (lambda f: (f / WEIGHTS).rename(f / "model.onnx"), "model.onnx", "of another library; save"),
    "weights of GGUF": (lambda f: (f / WEIGHTS).rename(f / "m.gguf"), "m.gguf", "of another library; save"),
    # safetensors that are none.
    "empty weights": (_text(WEIGHTS, b""), WEIGHTS, "is damaged", SPARE),
    "weights of 7 bytes": (_text(WEIGHTS, b"1234567"), WEIGHTS, "is damaged", SPARE),
    "weights of zeros": (_text(WEIGHTS, bytes(1000)), WEIGHTS, "is damaged", SPARE),
    "weights of ones": (_text(WEIGHTS, b"\xff" * 1000), WEIGHTS, "is damaged", SPARE),
    "weights of text": (_text(WEIGHTS, "no weights, but a line of text\n"), WEIGHTS, "is damaged", SPARE),
    "weights cut in half": (_bytes(lambda c: c[: len(c) // 2]), WEIGHTS, "is damaged", SPARE),
    "weights cut by a byte": (_bytes(lambda c: c[:-1]), WEIGHTS, "is damaged", SPARE),
    "weights cut in the header": (_bytes(lambda c: c[:100]), WEIGHTS, "is damaged", SPARE),
    "weights with more behind": (_bytes(lambda c: c + b"x" * 9), WEIGHTS, "is damaged", SPARE),
    "a header of a length too long": (_bytes(lambda c: (1 << 62).to_bytes(8, "little") + c[8:]), WEIGHTS, SPARE),
    "a header of a length too short": (_bytes(lambda c: (10).to_bytes(8, "little") + c[8:]), WEIGHTS, SPARE),
    "a header of length 0": (_bytes(lambda c: bytes(8) + c[8:]), WEIGHTS, SPARE),
    "a header that is a list": (_header(lambda h: [1]), WEIGHTS, "not a JSON object", SPARE),
    "a header without tensors": (_text(WEIGHTS, (2).to_bytes(8, "little") + b"{}"), WEIGHTS, "has no tensors", SPARE),
    "a header of deep brackets": (
        _text(WEIGHTS, (100_000).to_bytes(8, "little") + b"[" * 100_000),
        WEIGHTS,
        "nested too deeply",
    ),
    "a tensor with a longer shape": (_entry(shape=[10_000, 10_000]), WEIGHTS, "is said to have", SPARE),
    "a tensor of a negative shape": (_entry(shape=[-1, 32]), WEIGHTS, "has shape", SPARE),
    "a tensor of a shape of texts": (_entry(shape=["a"]), WEIGHTS, "has shape", SPARE),
    "a tensor of an unknown kind": (_entry(dtype="F31"), WEIGHTS, "is of kind 'F31'", SPARE),
    "a tensor of a wider kind": (_entry(dtype="F64"), WEIGHTS, "is said to have", SPARE),
    "a tensor without a kind": (_entry(dtype=None), WEIGHTS, "is of kind None", SPARE),
    "a tensor outside the file": (_entry(data_offsets=[10**12, 10**12 + 128]), WEIGHTS, SPARE),
    "a tensor of negative bytes": (_entry(data_offsets=[100, 0]), WEIGHTS, SPARE),
    "a tensor of one offset": (_entry(data_offsets=[0]), WEIGHTS, "has shape", SPARE),
    "two tensors at one place": (
        _header(lambda h: {name: h[min(h)] if name != "__metadata__" else h[name] for name in h}),
        WEIGHTS,
        SPARE,
    ),
    # Weights of another model.
    "a wider config": (_json(CONFIG, hidden_size=64), CONFIG, "of width 64", ALL),
    "a narrower config": (_json(CONFIG, hidden_size=16), CONFIG, "of width 16", ALL),
    "a larger vocabulary": (_json(CONFIG, vocab_size=999), CONFIG, "999 tokens", ALL),
    "more layers than weights": (_json(CONFIG, num_hidden_layers=3), "has no weights for", ALL),
    "another width inside": (_json(CONFIG, intermediate_size=100), "cannot be loaded", ALL),
    "heads that do not fit": (_json(CONFIG, num_attention_heads=5), "cannot be loaded", ALL),
    "fewer positions than weights": (_json(CONFIG, max_position_embeddings=40), "cannot be loaded", ALL),
    "tensors of other names": (_tensors(_renamed), "has no weights for", ALL),
    "a tensor missing": (_tensors(lambda t: t.pop("encoder.layer.0.output.dense.weight")), "has no weights for", ALL),
    "a tensor of another shape": (
        _tensors(lambda t: t.update({"encoder.layer.0.output.dense.bias": torch.zeros(7)})),
        "cannot be loaded",
        ALL,
    ),
    "NaN in the weights": (_first(float("nan")), "word_embeddings.weight", "not all finite; take"),
    "infinity in the weights": (_first(float("inf")), "word_embeddings.weight", "not all finite; take"),
    # config.json.
    "an empty config": (_text(CONFIG, ""), CONFIG, "cannot be read", SPARE),
    "a cut config": (_bytes(lambda c: c[:50], CONFIG), CONFIG, "cannot be read", SPARE),
    "a config that is a list": (_text(CONFIG, "[]"), CONFIG, "is not a JSON object", SPARE),
    "a config in Latin-1": (_text(CONFIG, b'{"a": "\xe4"}'), CONFIG, "cannot be read", SPARE),
    "a config of deep brackets": (_text(CONFIG, "[" * 100_000), CONFIG, "nested too deeply", SPARE),
    "a config without a kind": (_text(CONFIG, "{}"), CONFIG, "model_type is None", "copy the model's own"),
    "a config of a number's kind": (_json(CONFIG, model_type=3), CONFIG, "model_type is 3", "copy the model's own"),
    "a config of an unknown kind": (_json(CONFIG, model_type="frobnicator"), "cannot be loaded", ALL),
    "a config of another kind": (_json(CONFIG, model_type="t5"), ";"),
    "a width of text": (_json(CONFIG, hidden_size="32"), CONFIG, "hidden_size is '32'", "copy the model's own"),
    "a width of 0": (_json(CONFIG, hidden_size=0), CONFIG, "hidden_size is 0", "copy the model's own"),
    "a negative width": (_json(CONFIG, hidden_size=-32), CONFIG, "hidden_size is -32", "copy the model's own"),
    "a width of null": (_json(CONFIG, hidden_size=None), CONFIG, "hidden_size is None", "copy the model's own"),
    "a width of a fraction": (_json(CONFIG, hidden_size=32.5), CONFIG, "hidden_size is 32.5", "copy the model's own"),
    "no layers": (_json(CONFIG, num_hidden_layers=0), CONFIG, "num_hidden_layers is 0", "copy the model's own"),
    "positions of text": (_json(CONFIG, max_position_embeddings="x"), CONFIG, "max_position_embeddings is 'x'"),
    "padding of text": (_json(CONFIG, pad_token_id="x"), CONFIG, "pad_token_id is 'x'", "copy the model's own"),
    # Code.
    "code in the config": (
        _json(CONFIG, auto_map={"AutoModel": "modeling.Model"}),
        CONFIG,
        "(auto_map), which is not run",
        "encoder.trust_remote_code=true",
    ),
    "code in the tokenizer": (
        _json("tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization.T", None]}),
        "tokenizer_config.json",
        "(auto_map), which is not run",
        "encoder.trust_remote_code=true",
    ),
    # The tokenizer.
    "an empty tokenizer": (_text(TOKENIZER, ""), TOKENIZER, "cannot be read", SPARE),
    "a cut tokenizer": (_bytes(lambda c: c[:500], TOKENIZER), TOKENIZER, "cannot be read", SPARE),
    "a tokenizer that is a list": (_text(TOKENIZER, "[]"), TOKENIZER, "is not a JSON object", SPARE),
    "a tokenizer without a model": (_text(TOKENIZER, "{}"), "cannot be loaded", ALL),
    "a tokenizer of an unknown model": (_json(TOKENIZER, model={"type": "Nothing"}), "cannot be loaded", ALL),
    "a tokenizer of a newer version": (_json(TOKENIZER, version="9.9"), ";"),
    "a cut tokenizer_config": (_text("tokenizer_config.json", "{"), "tokenizer_config.json", "cannot be read", SPARE),
    "a tokenizer of too many tokens": (
        _json(CONFIG, vocab_size=20),
        CONFIG,
        "20 tokens",
        ALL,
    ),
    # Shards.
    "an index without a map": (_index(None), "index.json", "has no weight_map", SPARE),
    "an index of nothing": (_index({}), "index.json", "has no weight_map", SPARE),
    "an index to a file that is missing": (_index({"a": "gone.safetensors"}), "gone.safetensors", "copy all files"),
    "an index to a tensor that is missing": (_index({"a": "part.safetensors"}), "names 'a', which no file has; copy"),
    "an index out of the folder": (_index({"a": "../part.safetensors"}), "is not inside the model's folder; give"),
    "an index to a file of the root": (_index({"a": "/etc/passwd"}), "is not inside the model's folder; give"),
    "an index to a number": (_index({"a": 3}), "index.json", "is 3, no name", SPARE),
    "an index to a text": (
        _index({"a": "config.json"}),
        "config.json",
        "is damaged or no safetensors file",
        SPARE,
    ),
    # sentence-transformers' own files.
    "an unknown module": (
        _modules(f"{ST}.Transformer", f"{ST}.Dense"),
        "the order Transformer, Dense; only",
    ),
    "a module of other code": (_modules("my_code.Sneaky"), "uses Sneaky; only Transformer"),
    "an image model": (_modules(f"{ST}.CLIPModel"), "uses CLIPModel; only Transformer"),
    "a pooling out of the folder": (_modules(f"{ST}.Pooling", path="../../etc"), "is not inside the model's folder"),
    "a pooling of the root": (_modules(f"{ST}.Pooling", path="/etc"), "is not inside the model's folder; give"),
    "modules that are no list": (_text("modules.json", "{}"), "modules.json", "is not a list of modules", SPARE),
    "modules that are texts": (_text("modules.json", '["a"]'), "modules.json", "is not a list of modules", SPARE),
    "cut modules": (_text("modules.json", "[{"), "modules.json", "is not JSON", SPARE),
    "settings that are a list": (_text("sentence_bert_config.json", "[]"), "sentence_bert_config.json", SPARE),
    "a length of text": (_text("sentence_bert_config.json", '{"max_seq_length": "x"}'), "max_seq_length is 'x'"),
    "a negative length": (_text("sentence_bert_config.json", '{"max_seq_length": -1}'), "max_seq_length is -1"),
    "prompts that are a list": (_text("config_sentence_transformers.json", '{"prompts": ["q"]}'), "prompts is ['q']"),
    "a prompt of a number": (
        _text("config_sentence_transformers.json", '{"prompts": {"query": 3}}'),
        "prompts.query is 3, not a text; mend it",
    ),
}
HARMLESS: dict[str, Change] = {
    "as it should be": lambda folder: None,
    "a link inside the folder": lambda f: ((f / CONFIG).rename(f / "c.json"), (f / CONFIG).symlink_to("c.json")),
    "a pickle beside safetensors": _text("pytorch_model.bin", pickle.dumps([1])),
    "a README and pictures": _text("figure.png", b"\x89PNG"),
    "weights with unknown tensors": _tensors(lambda t: t.update({"lm_head.bias": torch.zeros(3)})),
    "weights without a pooler": _tensors(lambda t: [t.pop(name) for name in list(t) if name.startswith("pooler")]),
    "a byte order mark in no file": _text("README.md", b"\xef\xbb\xbf"),
}
WORDS = (
    "encoder=pretrained",
    "encoder.model=broken",
    "data=pairs",
    "data.train=good.jsonl",
    "data.evaluation=good.jsonl",
)

CASES: list[Case] = [
    *(
        Case(f"model: {name}", WORDS, ("broken", *says), {"broken": _changed(change)}, model=True)
        for name, (change, *says) in CHANGES.items()
    ),
    *(
        Case(f"model: {name}", WORDS, (), {"broken": _changed(change)}, model=True, harmless=True)
        for name, change in HARMLESS.items()
    ),
    Case(
        "model: an evaluated pickle",
        ("model=broken",),
        ("is a pickle",),
        {"broken": _changed(_pickled("a.bin"))},
        "evaluate",
        model=True,
    ),
    Case(
        "model: a baseline of a pickle",
        (*WORDS[2:], "baselines=[broken]"),
        ("baselines[0]", "is a pickle"),
        {"broken": _changed(_pickled("a.bin"))},
        model=True,
    ),
    Case("model: no folder", WORDS, ("broken", ";"), model=True),
    Case(
        "model: an empty folder", WORDS, ("is neither a model (no config.json)",), {"broken/x/y.txt": "y"}, model=True
    ),
    Case("model: a file", WORDS, ("broken is a file; give a model folder",), {"broken": "x"}, model=True),
]
