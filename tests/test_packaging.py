"""The wheel carries everything a run from another folder needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("matryoshka-*.whl")
    return wheel


def test_the_wheel_has_configuration_data_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    configuration = {f"matryoshka/{path.relative_to(PROJECT)}" for path in (PROJECT / "conf").rglob("*.yaml")}
    assert len(configuration) > 30
    assert configuration <= names
    help_pairs = {f"matryoshka/embedded/german_help/{name}.jsonl" for name in ("train", "evaluation", "documents")}
    music = {f"matryoshka/embedded/german_music/{name}.jsonl" for name in ("evaluation", "documents")}
    assert help_pairs | music | {"matryoshka/py.typed", "matryoshka/report/card/card.md.j2"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for licence in ("LICENSE.MPL-2.0", "LICENSE.GFDL-1.3"):
        assert any(name.endswith(licence) for name in names)


def test_an_installed_package_finds_its_configuration_anywhere(wheel: Path, tmp_path: Path) -> None:
    """The package as a wheel unpacks it, with no checkout around, started from an empty folder."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import matryoshka.cli.console as c; "
        "sys.argv = ['matryoshka', 'train', '+experiment=bmf', '--cfg', 'job']; c.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "name: bmf" in done.stdout
    assert list(elsewhere.iterdir()) == []
