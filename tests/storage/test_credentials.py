"""A secret reaches no log: neither by a message nor by a traceback, whoever's handler writes it."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from matryoshka.storage.credentials import (
    MaskedRecord,
    is_secret_name,
    keep_out_of_logs,
    masked,
    masked_values,
    without_secrets,
)

VALUE = "s3cr3t/+=value-of-this-test"


@pytest.fixture
def masking() -> Iterator[None]:
    before = logging.getLogRecordFactory()
    keep_out_of_logs()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.parametrize(
    "name", ["WANDB_API_KEY", "HF_TOKEN", "MY_SECRET", "DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "hub_token", "TOKEN"]
)
def test_values_of_variables_are_masked_by_their_names(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, VALUE)

    assert masked(f"before {VALUE} after, {VALUE}") == "before *** after, ***"
    assert masked("https://x/?key=s3cr3t%2F%2B%3Dvalue-of-this-test") == "https://x/?key=***"


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "KEYBOARD", "SECRETARY", "OMP_NUM_THREADS"])
def test_other_variables_are_not(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, VALUE)

    assert masked(VALUE) == VALUE


def test_a_value_too_short_to_be_one_masks_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "the")

    assert masked("the other") == "the other"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("postgres", "/srv/postgres/a.jsonl"),
        ("password", "data.password_column"),
        ("s3cr3t-x", "s3cr3t-xy and as3cr3t-x"),
    ],
)
def test_a_word_of_another_meaning_is_left(monkeypatch: pytest.MonkeyPatch, value: str, text: str) -> None:
    monkeypatch.setenv("DB_PASSWORD", value)

    assert masked(text) == text


@pytest.mark.parametrize("value", ["s3cr3t-x", "abcdefghijklmnop", "correct horse battery"])
def test_a_value_that_is_no_word_is_masked_beside_other_signs(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DB_PASSWORD", value)

    assert masked(f"run_{value}-1, '{value}'") == "run_***-1, '***'"


def test_a_long_value_is_masked_within_a_word_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", VALUE)

    assert masked(f"key%3D{VALUE}x") == "key%3D***x"


def test_of_two_values_the_longer_is_masked_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abcd3fgh")
    monkeypatch.setenv("B_TOKEN", "abcd3fgh-jkl")

    assert masked("abcd3fgh-jkl") == "***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("git clone https://me:pass@word@host/x.git", "git clone https://***@host/x.git"),
        ("'https://ghs0123456789@host/x'", "'https://***@host/x'"),
        ("redis://:pw@host:6379/0", "redis://***@host:6379/0"),
        ("ssh://git@host/x and me@example.org: a:b", "ssh://git@host/x and me@example.org: a:b"),
        ("http://host:8080/path@2", "http://host:8080/path@2"),
        ("hf_" + 34 * "a", "***"),
        ("Authorization: Bearer abc.def-123", "Authorization: Bearer ***"),
        ("authorization: bearer abc.def-123", "authorization: bearer ***"),
        ("the bearer cheques", "the bearer cheques"),
        ("wandb_v1_" + 30 * "aB", "***"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("sk-proj-" + 10 * "aB3", "***"),
        (
            "risk-Analysis-of-2024-and-more, sk-learn-like-names-of-a-run",
            "risk-Analysis-of-2024-and-more, sk-learn-like-names-of-a-run",
        ),
        ("hf_transfer", "hf_transfer"),
    ],
)
def test_what_looks_like_one_is_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("line", "without"),
    [
        ("-  api_key: 0123456789abcdef", "-  api_key: '***'"),
        ("+    password: word", "+    password: '***'"),
        ("   hub_token: abc", "   hub_token: '***'"),
        ("+- +logger.token=abc", "+- +logger.token='***'"),
        ('-  "api_key": "abc",', "-  \"api_key\": '***'"),
        ("+API_KEY = 'abc'", "+API_KEY = '***'"),
        ("+export TOKEN=abc", "+export TOKEN='***'"),
        ("+  pad_token: <pad>", "+  pad_token: <pad>"),
        ("+  token: ${oc.env:HF_TOKEN}", "+  token: ${oc.env:HF_TOKEN}"),
        ("+  token: null", "+  token: null"),
        ("+  if token == other:", "+  if token == other:"),
    ],
)
def test_a_value_under_a_secret_key_is_masked_in_a_file_and_in_a_diff(line: str, without: str) -> None:
    assert without_secrets(f"first\n{line}\nlast: 1") == f"first\n{without}\nlast: 1"


def test_values_of_any_depth_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", VALUE)

    assert masked_values({"a": [VALUE, 1, {"b": (VALUE, None)}]}) == {"a": ["***", 1, {"b": ["***", None]}]}


@pytest.mark.parametrize("key", ["logger.api_key", "token", "data.password", "hf_token", "x.client_secret", "APIKEY"])
def test_keys_that_secrets_are_given_under(key: str) -> None:
    assert is_secret_name(key)


@pytest.mark.parametrize(
    "key", ["evaluator.token_budget", "pad_token", "x.mask_token", "id_key", "tokens", "secretary"]
)
def test_keys_that_mean_something_else(key: str) -> None:
    assert not is_secret_name(key)


@pytest.mark.usefixtures("masking")
def test_no_handler_writes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", VALUE)
    written = io.StringIO()
    log = logging.getLogger("tests.credentials")
    handler = logging.StreamHandler(written)
    log.addHandler(handler)
    log.propagate = False
    try:
        log.error("with %s", VALUE)
        try:
            raise ValueError(f"about {VALUE}")
        except ValueError:
            log.exception("failed at %(key)s", {"key": VALUE})
    finally:
        log.removeHandler(handler)

    lines = written.getvalue().splitlines()
    assert lines[0] == "with ***"
    assert lines[1:3] == ["failed at ***", "Traceback (most recent call last):"]
    assert lines[-1] == "ValueError: about ***"
    assert VALUE not in written.getvalue()
    assert logging.getLogRecordFactory() is MaskedRecord
