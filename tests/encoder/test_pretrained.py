"""Where a model is found, what is read of its settings, and what is refused before its weights are."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch

from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.sentence_transformers import SavedSettings
from matryoshka.errors import UserError
from tests.tiny import save_plain, tiny_encoder

TEXTS = ["Wer zahlt?", "der Notar und die Steuer", ""]


@pytest.fixture(autouse=True)
def without_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain transformers folder."""
    return save_plain(tmp_path_factory.mktemp("plain"))


def saved(folder: Path, files: Mapping[str, Any], plain: Path) -> Path:
    """The plain model with sentence-transformers' files beside it; values are their JSON."""
    for file in plain.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def modules(*kinds: str, package: str = "sentence_transformers.models") -> list[dict[str, Any]]:
    return [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"{package}.{kind}"}
        for i, kind in enumerate(kinds)
    ]


def flags(**given: bool) -> dict[str, Any]:
    """1_Pooling/config.json of sentence-transformers up to 5."""
    names = (
        "cls_token",
        "mean_tokens",
        "max_tokens",
        "mean_sqrt_len_tokens",
        "weightedmean_tokens",
        "lasttoken",
    )
    return {"word_embedding_dimension": 32} | {f"pooling_mode_{name}": given.get(name, False) for name in names}


CLASSIC = {
    "modules.json": modules("Transformer", "Pooling", "Normalize"),
    "1_Pooling/config.json": flags(mean_tokens=True, cls_token=True),
    "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": False},
    "config_sentence_transformers.json": {
        "__version__": {"sentence_transformers": "3.0.1"},
        "prompts": {"query": "query: ", "document": "passage: ", "other": "x"},
    },
}


def test_a_plain_folder_is_cls_without_prompts_as_long_as_its_positions(plain: Path) -> None:
    encoder = Pretrained(str(plain)).load()

    assert isinstance(encoder, Encoder)
    assert encoder.pooling.modes == ["cls"]
    assert encoder.prompts == {"query": "", "document": ""}
    assert encoder.max_seq_length == 64
    assert encoder.name == str(plain)
    np.testing.assert_allclose(encoder.encode(TEXTS), tiny_encoder().encode(TEXTS), rtol=0, atol=1e-6)


def test_a_runs_folder_leads_to_its_model(plain: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(plain)

    assert Pretrained(str(tmp_path)).folder == tmp_path / "model"
    assert list(Pretrained(str(tmp_path)).problems()) == []
    np.testing.assert_array_equal(Encoder.load(str(tmp_path)).encode(TEXTS), Encoder.load(str(plain)).encode(TEXTS))


def test_sentence_transformers_settings_are_taken(plain: Path, tmp_path: Path) -> None:
    encoder = Pretrained(str(saved(tmp_path, CLASSIC, plain))).load()

    assert encoder.pooling.modes == ["cls", "mean"]
    assert encoder.max_seq_length == 24
    assert encoder.prompts == {"query": "query: ", "document": "passage: "}
    expected = tiny_encoder(modes=("cls", "mean")).encode(["query: " + text for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS, prompt="query"), expected, rtol=0, atol=1e-6)


def test_what_is_given_comes_before_what_is_saved(plain: Path, tmp_path: Path) -> None:
    pretrained = Pretrained(
        str(saved(tmp_path, CLASSIC, plain)), max_seq_length=9, prompts={"query": "q "}, revision="abc"
    )
    encoder = pretrained.load(Pooling(["last"]))

    assert list(pretrained.problems()) == []
    assert encoder.pooling.modes == ["last"]
    assert encoder.max_seq_length == 9
    assert encoder.prompts == {"query": "q ", "document": ""}
    assert encoder.revision == "abc"


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        (flags(cls_token=True), ("cls",)),
        (flags(lasttoken=True), ("last",)),
        (flags(max_tokens=True, mean_tokens=True), ("max", "mean")),
        ({"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True}, ("mean",)),
        ({"embedding_dimension": 32, "pooling_mode": ["mean", "cls"]}, ("mean", "cls")),
        ({"embedding_dimension": 32, "pooling_mode": "lasttoken"}, ("last",)),
        ({"embedding_dimension": 32, "pooling_mode": "weightedmean"}, ("weightedmean",)),
        ({"pooling_mode": ["mean_sqrt_len_tokens", "max"]}, ("mean_sqrt_len_tokens", "max")),
        ({"pooling_mode": "cls"} | flags(mean_tokens=True), ("cls",)),
        (flags(weightedmean_tokens=True, mean_sqrt_len_tokens=True), ("mean_sqrt_len_tokens", "weightedmean")),
        (flags(), ("mean",)),
        ({"word_embedding_dimension": 32}, ("mean",)),
    ],
)
def test_pooling_of_old_and_new_files(tmp_path: Path, config: dict[str, Any], modes: tuple[str, ...] | None) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    package = "sentence_transformers.sentence_transformer.modules.pooling"
    (tmp_path / "modules.json").write_text(json.dumps(modules("Transformer", "Pooling", package=package)))

    settings = SavedSettings.read(tmp_path)
    assert settings.pooling == modes
    settings.require_supported()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pooling_mode": "sum"}, r"config.json: pooling_mode is 'sum'; known are cls, max, mean, .*, lasttoken"),
        ({"pooling_mode": ["mean", "sum"]}, r"pooling_mode is \['mean', 'sum'\]"),
        ({"pooling_mode": ["mean", "mean"]}, "a mode twice"),
        ({"pooling_mode": []}, r"pooling_mode is \[\]"),
        ({"pooling_mode": 3}, "pooling_mode is 3"),
        (
            flags(mean_tokens=True) | {"pooling_mode_sum": True},
            "pooling_mode_sum is not known; known are pooling_mode",
        ),
        ({"pooling_mode": "mean", "include_prompt": "no"}, "include_prompt is 'no', not true or false"),
        ({}, "is missing or empty"),
    ],
)
def test_a_saved_pooling_that_is_not_known_is_refused(
    plain: Path, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    pretrained = Pretrained(str(saved(tmp_path, CLASSIC | {"1_Pooling/config.json": config}, plain)))

    ((key, problem),) = pretrained.problems()
    assert key == "model"
    assert re.search(message, problem)
    with pytest.raises(UserError, match=message):
        pretrained.load()


def test_a_folder_of_sentence_transformers_6_is_read(plain: Path, tmp_path: Path) -> None:
    """Version 6 keeps the length with the tokenizer."""
    newer = {
        "modules.json": modules("Transformer", "Pooling", "Normalize", package="sentence_transformers.base.modules"),
        "1_Pooling/config.json": {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": True},
        "sentence_bert_config.json": {"transformer_task": "feature-extraction"},
        "config_sentence_transformers.json": {"prompts": {"query": "q: ", "document": ""}},
    }
    folder = saved(tmp_path, newer, plain)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "model_max_length": 20}))

    encoder = Pretrained(str(folder)).load()
    assert (encoder.pooling.modes, encoder.max_seq_length) == (["mean"], 20)
    assert encoder.prompts == {"query": "q: ", "document": ""}


def test_a_prompt_of_passages_is_not_that_of_documents_and_told(
    plain: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As encode_document of sentence-transformers 6.2, in which a prompt called document is there, of nothing."""
    folder = saved(
        tmp_path, {"config_sentence_transformers.json": {"prompts": {"passage": "p: ", "query": "q: "}}}, plain
    )
    assert Pretrained(str(folder)).load().prompts == {"query": "q: ", "document": ""}
    assert "documents get no prompt, since 'passage' is not called document" in caplog.text


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"modules.json": modules("Transformer", "Pooling", "Dense", "Normalize")}, "Dense"),
        ({"modules.json": modules("WordEmbeddings", "Pooling")}, "WordEmbeddings"),
        ({"sentence_bert_config.json": {"query_length": 8}}, "query_length"),
    ],
)
def test_models_whose_embeddings_would_be_wrong_are_refused(
    plain: Path, tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    pretrained = Pretrained(str(saved(tmp_path, CLASSIC | changed, plain)))

    ((key, message),) = pretrained.problems()
    assert key == "model"
    assert named in message
    with pytest.raises(UserError, match=named):
        pretrained.load()


@pytest.mark.parametrize(
    ("length", "problem"),
    [(2, True), (0, True), (-1, True), (3, False), (64, False), (65, True), (None, False)],
)
def test_the_length_must_fit_the_positions(plain: Path, length: int | None, problem: bool) -> None:
    """XLM-R's 66 positions hold 64 tokens, since they count from pad_token_id + 1."""
    problems = list(Pretrained(str(plain), max_seq_length=length).problems())

    expected = [("max_seq_length", f"{length} is not between 3 and the model's 64 tokens")]
    assert problems == (expected if problem else [])


def test_the_longest_length_runs(plain: Path) -> None:
    encoder = Pretrained(str(plain), max_seq_length=64).load()

    (ids,) = encoder.tokenize(["x" * 300])
    assert len(ids) == 64
    assert np.isfinite(encoder.encode(["x" * 300])).all()


def test_unknown_prompts_are_problems(plain: Path) -> None:
    ((key, message),) = Pretrained(str(plain), prompts={"query": "q", "passage": "p"}).problems()

    assert (key, message) == ("prompts.passage", "unknown prompt; there are query and document")


def test_places_without_a_model_say_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "modules.json").write_text("[]")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "config.json").write_text("[]")
    expected = {
        "file.txt": "is a file; give a model folder",
        "missing": "does not exist; give a model folder, a run's folder or a hub name",
        "empty": "is neither a model (no config.json) nor a run's folder (no model/config.json)",
        "nested": "modules.json names no folder of a transformer",
        "broken": "broken/config.json cannot be read",
        "list": "list/config.json is not a JSON object",
    }

    for name, message in expected.items():
        ((key, problem),) = Pretrained(str(tmp_path / name)).problems()
        assert key == "model"
        assert message in problem


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_loading_such_a_place_is_an_error_for_the_user(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(UserError, match=name):
        Pretrained(str(tmp_path / name)).load()


class FakeSession:
    """The hub's HTTP client, with one answer or one error for everything."""

    def __init__(self, status: int | None, config: Mapping[str, Any] | None = None) -> None:
        self.status_code = status
        self.config = config
        self.asked: list[tuple[str, float]] = []

    def get(self, url: str, timeout: float, **_: Any) -> FakeSession:
        self.asked.append((url, timeout))
        if self.status_code is None:
            raise ConnectionError("no route")
        return self

    def json(self) -> Any:
        return self.config


@pytest.mark.parametrize("model", ["nobody/no-model", "no-model"])
def test_a_hub_name_without_the_hub_is_a_quick_error(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session, start = FakeSession(200, {}), time.monotonic()
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    ((key, message),) = Pretrained(model).problems()

    assert key == "model"
    assert f"'{model}' is no folder here, is not in the hub's cache, and the hub cannot be reached" in message
    with pytest.raises(UserError, match="the hub cannot be reached"):
        Pretrained(model).load()
    assert session.asked == []
    assert time.monotonic() - start < 10


def online(monkeypatch: pytest.MonkeyPatch, session: FakeSession) -> FakeSession:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: session)
    return session


def test_a_hub_that_does_not_answer_is_tried_once_for_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    session = online(monkeypatch, FakeSession(None))

    ((_, message),) = Pretrained("BAAI/bge-m3").problems()
    assert "the hub cannot be reached" in message
    ((_, timeout),) = session.asked
    assert timeout <= 5


def test_a_hub_without_the_model_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    session = online(monkeypatch, FakeSession(404))

    ((_, message),) = Pretrained("BAAI/bge-m4", revision="abc").problems()
    assert message == "the hub answers 404 for 'BAAI/bge-m4' at revision 'abc'"
    assert session.asked[0][0].endswith("/BAAI/bge-m4/resolve/abc/config.json")


def test_the_hubs_config_bounds_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "model_type": "xlm-roberta",
        "max_position_embeddings": 8194,
        "pad_token_id": 1,
        "hidden_size": 1024,
    }
    online(monkeypatch, FakeSession(200, config))

    assert list(Pretrained("BAAI/bge-m3", max_seq_length=8192).problems()) == []
    assert [key for key, _ in Pretrained("BAAI/bge-m3", max_seq_length=8193).problems()] == ["max_seq_length"]


@pytest.mark.parametrize("model", ["my model", "-x", "a..b", "owner/name!"])
def test_a_name_that_no_hub_model_can_have_is_an_error_for_the_user(model: str) -> None:
    ((key, message),) = Pretrained(model).problems()

    assert (key, message) == ("model", f"{model!r} is neither a folder here nor a hub name like BAAI/bge-m3")


@pytest.mark.parametrize("model", ["./model", "~/model", "a/b/c"])
def test_what_looks_like_a_path_is_no_hub_name(model: str) -> None:
    ((_, message),) = Pretrained(model).problems()

    assert f"{model} does not exist" in message


def test_pickled_weights_are_refused(plain: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path, {}, plain)
    (folder / "model.safetensors").unlink()
    torch.save(tiny_encoder().backbone.state_dict(), folder / "pytorch_model.bin")

    with pytest.raises(UserError, match=r"pytorch_model\.bin is a pickle.*if you trust it, convert it"):
        Pretrained(str(folder)).load()


def test_half_precision_weights_are_trained_in_fp32(plain: Path, tmp_path: Path) -> None:
    folder = saved(tmp_path, {}, plain)
    tiny_encoder().backbone.to(torch.bfloat16).save_pretrained(folder)

    encoder = Pretrained(str(folder)).load()
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_gradient_checkpointing_is_switched_on_where_asked(plain: Path) -> None:
    for asked in (True, False):
        encoder = Pretrained(str(plain), gradient_checkpointing=asked).load()
        layers = encoder.backbone.encoder.layer
        assert [layer.gradient_checkpointing for layer in layers] == [asked] * len(layers)


@pytest.mark.parametrize("name", ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"])
def test_broken_settings_are_named(plain: Path, tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path, CLASSIC, plain)
    (folder / name).write_text("{", encoding="utf-8")

    ((key, message),) = Pretrained(str(folder)).problems()
    assert key == "model"
    assert f"{name} is not JSON" in message
