"""What the project says of its own layout is so: packages, layers, groups of conf/, files on the way of a batch."""

from __future__ import annotations

import configparser
import re
from itertools import chain

import pytest

from matryoshka.config.groups import groups_of
from matryoshka.config.recipe import EvaluationRecipe, TrainingRecipe
from scripts.architecture_figure import PICTURE, picture, steps
from scripts.house_figures import BATCH, MAIN_JOB, PAGE, TEXT, packages, size
from tests.test_main_job import ON_THE_WAY, PROJECT, SOURCE

NO_PARTS = {"experiment", "sweep", "hydra"}


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one."""
    text = (PROJECT / page).read_text(encoding="utf-8")
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def layers() -> list[set[str]]:
    """The layers of .importlinter, from top to bottom."""
    contracts = configparser.ConfigParser()
    contracts.read(PROJECT / ".importlinter")
    lines = contracts["importlinter:contract:layers"]["layers"].split("\n")
    return [set(re.split(r"\s*\|\s*", line)) for line in lines if line]


def test_the_house_lists_every_package_in_the_order_of_imports() -> None:
    listed = re.findall(r"^- `(\w+)(?:/|\.py)`: \S", section("CONTRIBUTING.md", "The house"), re.MULTILINE)
    there = {path.stem for path in SOURCE.iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"}
    there.remove("__init__")

    assert len(listed) == len(set(listed))
    assert set(listed) == there
    rest = iter(listed)
    assert [{next(rest) for _ in layer} for layer in layers()] == layers()


def test_every_group_of_conf_is_a_field_of_a_recipe_and_every_field_a_group() -> None:
    folders = {path.name for path in (PROJECT / "conf").iterdir() if path.is_dir()}

    assert folders - NO_PARTS == groups_of(TrainingRecipe).keys() | groups_of(EvaluationRecipe).keys()
    assert folders >= NO_PARTS


def test_the_page_on_configuration_names_every_group() -> None:
    table = section("docs/configuration.md", "The groups")
    named = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE))))

    assert named == {path.name for path in (PROJECT / "conf").iterdir() if path.is_dir()} - {"hydra"}


def test_the_architecture_lists_the_files_of_the_main_job() -> None:
    listed = re.findall(r"^\| `([\w./]+)` \|", section("docs/architecture.md", "The main job"), re.MULTILINE)

    assert [PROJECT / file for file in listed] == ON_THE_WAY


@pytest.mark.parametrize("file", sorted(set(chain.from_iterable(files.split(", ") for _, files, _ in steps()))))
def test_every_file_of_the_picture_is_there(file: str) -> None:
    assert (SOURCE / file).exists()


def test_every_file_that_the_architecture_names_is_there() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+/\w+\.py)`", text))

    assert named
    assert [file for file in named if not (SOURCE / file).exists() and not (PROJECT / file).exists()] == []


def test_the_picture_is_the_one_that_the_script_draws() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture()


def test_the_figures_of_the_decision_name_files_that_are_there() -> None:
    named = " ".join(after for _, after in [MAIN_JOB, *BATCH.values(), *TEXT.values()]).split()

    assert [name for name in named if not (SOURCE / name).exists() and not (PROJECT / name).exists()] == []
    assert [PROJECT / "train.py", *(SOURCE / name for name in MAIN_JOB[1].split()[1:])] == ON_THE_WAY


def test_the_decision_has_a_row_for_every_package() -> None:
    table = PAGE.read_text(encoding="utf-8")

    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) >= packages(PROJECT).keys() - {""}


def test_files_and_lines_are_counted() -> None:
    assert size([1200, 3]) == ["2", "1,203"]
    assert size([]) == ["", ""]
    counted = packages(PROJECT)["losses"]
    assert len(counted) == len(list((SOURCE / "losses").glob("*.py")))
    assert sum(counted) == sum(len(path.read_text().splitlines()) for path in (SOURCE / "losses").glob("*.py"))
