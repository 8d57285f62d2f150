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

MASK = "***"
SHORTEST = 8  # characters: what is shorter is no secret, and would be masked within ordinary words
CERTAIN = 16  # characters: no ordinary word is so long, and no longer word has so long a value by chance
NOTHING = ("", "null", "None", "???")
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
SHAPES = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\b(?:gh[pousr]_|github_pat_|glpat-|wandb_v1_)[\w-]{20,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|"
    r"\bsk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{20,}|(?<=\bBearer )[\w.~+/=-]{6,}|"
    r"(?i:(?<=\bbearer ))(?=\S*\d)[\w.~+/=-]{6,}"
)
# A line of YAML, JSON, TOML or of a list of overrides, in a diff too: what stands before the value, its key, the value.
LINE = re.compile(
    r"^([+-]?[ \t]*(?:- )?(?:export )?['\"]?[+~]*([\w.]+)['\"]?(?::[ \t]+|:(?=['\"])|[ \t]*=(?!=)[ \t]*))(\S.*)$",
    re.MULTILINE,
)
# Of the ASCII ones Unicode has pictures; lines and tabs are what they are.
PICTURES = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
OTHERS = [*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]  # C1; what turns the reading direction
VISIBLE = PICTURES | dict.fromkeys(OTHERS, 0xFFFD)


def is_secret_name(key: str) -> bool:
    """Whether a configuration's key, as in `logger.api_key`, is one that a secret is given under."""
    return bool(NAME.fullmatch(key)) and not OF_TOKENIZERS.fullmatch(key)


def secret_variables() -> dict[str, str]:
    """The values of the environment's variables that look like secrets, with the variables' names, the longest first.

    Neither short values nor ordinary words in lower case: they stand in paths and messages and mean something else.
    """
    found: dict[str, str] = {}
    for name, value in os.environ.items():
        if VARIABLE.search(name) and len(value) >= SHORTEST and not _is_word(value):
            found |= {value: name, quote(value, safe=""): name}
    return dict(sorted(found.items(), key=lambda item: len(item[0]), reverse=True))


def variable_within(text: str) -> str | None:
    """The name of a variable whose secret is in the text; None if there is none."""
    return next((name for value, name in secret_variables().items() if _whole(value).search(text)), None)


def masked(text: str) -> str:
    """The text with *** for each secret in it.

    Secrets are the values of variables named like WANDB_API_KEY, HF_TOKEN, DB_PASSWORD; user and password of an
    address; and what looks like a token of the Hugging Face hub, GitHub, GitLab, W&B, AWS or OpenAI, or follows
    `Bearer`.
    """
    for value in secret_variables():
        text = _whole(value).sub(MASK, text)
    return SHAPES.sub(MASK, IN_AN_ADDRESS.sub(MASK, text))


def without_secrets(text: str) -> str:
    """The text of a file, or of a diff of files, masked, with *** for each value under a secret's key as well."""
    return masked(LINE.sub(_without_value, text))


def _without_value(line: re.Match[str]) -> str:
    harmless = line[3].strip() in NOTHING or line[3].lstrip("'\"").startswith("${")
    return line[0] if harmless or not is_secret_name(line[2]) else f"{line[1]}'{MASK}'"


def _is_word(value: str) -> bool:
    return len(value) < CERTAIN and re.fullmatch("[a-z]+", value) is not None


def _whole(value: str) -> re.Pattern[str]:
    """Finds the value; one that may be part of a longer word by chance only where it is not."""
    escaped = re.escape(value)
    return re.compile(escaped if len(value) >= CERTAIN else f"(?<![A-Za-z0-9]){escaped}(?![A-Za-z0-9])")


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


def visible(text: str) -> str:
    """The text with a sign in place of each character that a terminal would obey, such as the ESC of a colour."""
    return text.translate(VISIBLE)
