"""A model goes to the hub only when asked, private unless said; what fails says how to do it later, and no token."""

from __future__ import annotations

import logging
from pathlib import Path

import huggingface_hub
import pytest

from matryoshka.errors import NotPushedError
from matryoshka.export.onnx import OnnxFolder
from matryoshka.export.push import push, push_problems
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.stub_hub import TOKEN, Hub, hub
from tests.tiny import tiny_encoder

__all__ = ["hub"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "a run" / "model")
    (folder / "README.md").write_text("---\nlanguage: de\n---\nA card.\n")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_file_is_pushed_to_a_private_repository(hub: Hub, model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        address = push(model, "owner/tiny", private=True)

    assert hub.repositories == {"owner/tiny": True}
    assert hub.files == {"owner/tiny": files(model)}
    assert address.startswith(f"{hub.address}/owner/tiny")
    assert hub.tokens == {f"Bearer {TOKEN}"}
    assert TOKEN not in caplog.text


def test_a_public_one_must_be_asked_for(hub: Hub, model: Path) -> None:
    push(model, "owner/open", private=False)
    assert hub.repositories == {"owner/open": False}

    hub.files.clear()
    with pytest.raises(NotPushedError, match=r"owner/open is there and public; with export\.private=false it is"):
        push(model, "owner/open", private=True)
    assert hub.files == {}
    push(model, "owner/open", private=False)
    assert hub.files == {"owner/open": files(model)}


@pytest.mark.parametrize("status", [401, 403, 400])
def test_a_refusal_says_how_to_push_later(hub: Hub, model: Path, status: int) -> None:
    hub.refuses = status

    with pytest.raises(NotPushedError) as error:
        push(model, "owner/tiny", private=True)
    message = str(error.value)
    assert message.startswith("the run is done, but its model was not pushed: ")
    assert message.endswith(f"; push it later with: hf upload owner/tiny '{model}' . --private")
    assert "\n" not in message
    assert TOKEN not in message


def test_nobody_at_the_other_end(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", "http://127.0.0.1:9")

    with pytest.raises(NotPushedError, match=r"push it later with: hf upload owner/tiny .* --no-private"):
        push(model, "owner/tiny", private=False)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        "",
        "/tiny",
        "owner/",
        "owner/tiny/more",
        "owner/a b",
        "owner/-tiny",
        "owner/a..b",
        "owner/a--b",
        "a/b.git",
    ],
)
def test_malformed_names_are_found_before_the_start(name: str) -> None:
    for exporter in (SentenceTransformersFolder(push_to_hub=name), OnnxFolder(push_to_hub=name)):
        assert list(exporter.problems()) == [
            (
                "push_to_hub",
                f"{name!r} is no name of a repository; give owner/name, of letters, digits, '-', '_' and '.'",
            )
        ]


def test_so_are_a_hub_switched_off_and_a_missing_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(push_problems("owner/tiny")) == list(push_problems(None)) == []

    monkeypatch.delenv("HF_TOKEN")
    ((key, message),) = push_problems("owner/tiny")
    assert (key, message.split(";")[0]) == ("push_to_hub", "there is no token of the hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    ((_, message),) = push_problems("owner/tiny")
    assert message.startswith("the hub is switched off by HF_HUB_OFFLINE")
    assert list(push_problems(None)) == []
    assert hub.asked == []  # all without the network
