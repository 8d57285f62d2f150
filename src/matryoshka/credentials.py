"""Secrets, and texts without them: keys, tokens and passwords reach no log, no file of a run and no tracker."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from types import TracebackType
from typing import Any
from urllib.parse import quote

from matryoshka.control_characters import visible

MASK = "***"
SHORTEST = 8  # characters: what is shorter is no secret, and would be masked within ordinary words
VARIABLE = re.compile(
    r"(?:^|_)(?:KEY|APIKEY|TOKEN|SECRET|PASSWORD|PASSWD|PASS|PASSPHRASE|CREDENTIALS?)$", re.IGNORECASE
)
# Of a configuration's keys: neither pad_token, which is a text of a tokenizer, nor id_key, which is a column.
NAME = re.compile(
    r"(?:^|.*[._-])(?:(?:api|access|secret|private)_?key|(?:hf|hub|auth|access|api|wandb|github)_?token|token|secret|"
    r"password|passwd|passphrase|credentials?)",
    re.IGNORECASE,
)
OF_TOKENIZERS = re.compile(r".*(?:pad|unk|bos|eos|cls|sep|mask|special)_token", re.IGNORECASE)
IN_AN_ADDRESS = re.compile(r"(?:(?<=://)[^\s/:'\"]*:|(?<=https://))[^\s/'\"]+(?=@)")
SHAPES = re.compile(r"\bhf_[A-Za-z0-9]{20,}|\b(?:gh[pousr]_|github_pat_|glpat-)[\w-]{20,}|(?<=\bBearer )[\w.~+/=-]{6,}")


def is_secret_name(key: str) -> bool:
    """Whether a configuration's key, as in `logger.api_key`, is one that a secret is given under."""
    return bool(NAME.fullmatch(key)) and not OF_TOKENIZERS.fullmatch(key)


def secret_values() -> list[str]:
    """The values of the environment's variables that look like secrets, the longest first."""
    found = {value for name, value in os.environ.items() if VARIABLE.search(name) and len(value) >= SHORTEST}
    return sorted(found | {quote(value, safe="") for value in found}, key=len, reverse=True)


def masked(text: str) -> str:
    """The text with *** for each secret in it.

    Secrets are the values of variables named like WANDB_API_KEY, HF_TOKEN, DB_PASSWORD; user and password of an
    address; and what looks like a token of the Hugging Face hub, GitHub or GitLab, or follows `Bearer`.
    """
    for value in secret_values():
        text = text.replace(value, MASK)
    return SHAPES.sub(MASK, IN_AN_ADDRESS.sub(MASK, text))


def shown(text: str) -> str:
    """The text as a terminal may have it: masked, and nothing in it that the terminal would obey."""
    return visible(masked(text))


def masked_values(value: Any) -> Any:
    """Plain values with every text in them masked."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {key: masked_values(inner) for key, inner in value.items()}
    return [masked_values(inner) for inner in value] if isinstance(value, list | tuple) else value


class MaskedRecord(logging.LogRecord):
    """A log record without secrets and control characters in message and traceback, whoever's handler writes it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0]:  # formatters take this text where it is there
            self.exc_text = shown("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:  # noqa: N802 - logging's own name
        """The message as it may be shown."""
        return shown(super().getMessage())


def keep_out_of_logs() -> None:
    """From now on mask every log record of this process, and the traceback that ends it."""
    logging.setLogRecordFactory(MaskedRecord)
    sys.excepthook = _show_masked


def _show_masked(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(shown("".join(traceback.format_exception(kind, error, trace))))
