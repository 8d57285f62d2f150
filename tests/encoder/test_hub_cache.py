"""A hub model in the cache is checked before the start: what is broken is named, what is missing may be fetched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from matryoshka.encoder import Pretrained
from matryoshka.errors import UserError
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.composing import Primary
from tests.malformed.command import run
from tests.tiny import tiny_encoder

COMMIT = "0123456789" * 4
FETCH = f"hf download owner/tiny --revision {COMMIT} --force-download"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture
def snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model as the hub's cache keeps it: links to blobs."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "models--owner--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    (cached / "blobs").mkdir()
    folder = SentenceTransformersFolder().save(tiny_encoder(), cached / "snapshots" / COMMIT)
    for number, path in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        path.rename(blob := cached / "blobs" / str(number))
        path.symlink_to(blob)
    return folder


def blob(path: Path) -> Path:
    return path.resolve(strict=True)


def cut(path: Path) -> None:
    blob(path).write_bytes(blob(path).read_bytes()[: blob(path).stat().st_size // 2])


def change_header(path: Path) -> None:
    content = blob(path).read_bytes()
    blob(path).write_bytes(content.replace(b'"F32"', b'"F64"', 1))


def index_to(names: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        weights = path.parent / WEIGHTS
        weights.rename(path.parent / "part.safetensors")
        path.write_text(json.dumps(names) if names is not None else '{"weight_map": {"a')

    return write


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", cut),
        ("tokenizer.json", cut),
        ("tokenizer_config.json", cut),
        (WEIGHTS, cut),
        (WEIGHTS, change_header),
        (INDEX, index_to(None)),
        (INDEX, index_to({})),
        ("modules.json", cut),
        ("1_Pooling/config.json", cut),
        ("sentence_bert_config.json", cut),
        ("config_sentence_transformers.json", cut),
    ],
)
@pytest.mark.parametrize("offline", [True, False])
def test_a_broken_file_is_named_with_its_remedy(
    snapshot: Path, name: str, change: Callable[[Path], None], offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    assert list(Pretrained("owner/tiny").problems()) == []
    change(snapshot / name)

    ((key, message),) = Pretrained("owner/tiny").problems()
    assert key == "model"
    assert message.startswith(str(snapshot / name))
    assert message.endswith(FETCH)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=FETCH):
        Pretrained("owner/tiny").load()


@pytest.mark.parametrize("program", ["train", "evaluate"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", WEIGHTS])
def test_a_command_ends_with_one_message(snapshot: Path, name: str, program: Primary, tmp_path: Path) -> None:
    cut(snapshot / name)
    words = ("model=owner/tiny",) if program == "evaluate" else ("encoder=pretrained", "encoder.model=owner/tiny")

    outcome = run((*words, "data=german_help"), tmp_path, program, load_model=True)
    assert outcome.code == 2, outcome.err
    assert str(snapshot / name) in outcome.err
    assert outcome.err.rstrip().endswith(FETCH)
    assert "Traceback" not in outcome.err + outcome.out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tokenizer.json", "has no tokenizer"),
        ("1_Pooling/config.json", "is missing or empty"),
        (WEIGHTS, f"no {WEIGHTS}"),
    ],
)
def test_what_is_missing_is_a_problem_only_without_the_hub(
    snapshot: Path, name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (snapshot / name).unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert list(Pretrained("owner/tiny").problems()) == []

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    problems = list(Pretrained("owner/tiny").problems())
    assert [said in message for _, message in problems] == [True]


def test_a_shard_that_is_not_there_is_fetched_or_told(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_to({"weight_map": {"a": "gone.safetensors"}})(snapshot / INDEX)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert list(Pretrained("owner/tiny").problems()) == []

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    ((_, message),) = Pretrained("owner/tiny").problems()
    assert message.startswith(str(snapshot / "gone.safetensors"))
    assert message.endswith(FETCH)


def test_what_is_nothing_to_be_fetched_has_its_own_remedy(snapshot: Path) -> None:
    config = json.loads((snapshot / "config.json").read_text())
    blob(snapshot / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "code.Model"}}))

    ((_, message),) = Pretrained("owner/tiny").problems()
    assert "encoder.trust_remote_code=true" in message
    assert "hf download" not in message
