"""The documentation is run: code blocks, commands, links and make targets.

A block "```python runnable" is executed with path/to/model replaced by a small model's folder. A block with
file=PATH is that file's content; data among them are read for the commands that name them. Commands are the lines of
"```bash" blocks.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from matryoshka.cli.command_line import as_text, configuration_folder
from matryoshka.cli.literal_words import read_literally
from matryoshka.cli.trials import search_space
from matryoshka.config import resolvers
from matryoshka.config.measuring import measured_alone
from matryoshka.config.recipe import created
from matryoshka.config.validation import check_comparison
from matryoshka.encoder import pretrained
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.sweep.space import texts_to_check
from tests.composing import CHECKS, Primary, composed
from tests.tiny import tiny_encoder

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "multirun" / "README.md"])
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


DATA = ("json", "csv")


def blocks(page: Path, language: str, option: str = "") -> Iterator[tuple[str, str, str]]:
    """(where, options, content) of every block of a language, those with a certain option only."""
    text = page.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if match[1] == language and option in match[2]:
            line = text.count("\n", 0, match.start()) + 1
            yield f"{page.relative_to(ROOT)}:{line}", match[2].strip(), match[3]


def named_files(page: Path) -> dict[str, str]:
    """Path -> content of every block that is a file."""
    found = itertools.chain.from_iterable(blocks(page, kind, "file=") for kind in ("python", "yaml", *DATA))
    return {options.partition("file=")[2]: content for _, options, content in found}


def every_command() -> list[tuple[str, str]]:
    """(where, line) of every call of train.py and evaluate.py."""
    return [
        (where, line)
        for page in PAGES
        for where, _, content in blocks(page, "bash")
        for line in content.splitlines()
        if re.match(r"python (train|evaluate)\.py", line)
    ]


DATA_FILES = [
    options.partition("file=")[2].partition("/")[0]
    for page in PAGES
    for kind in DATA
    for _, options, _ in blocks(page, kind, "file=")
]
RUNNABLE = [block for page in PAGES for block in blocks(page, "python", "runnable")]
COMMANDS = every_command()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model as wide as the documented ones."""
    prompts = {"query": "query: ", "document": "passage: "}
    encoder = tiny_encoder(width=384, modes=("cls", "mean"), prompts=prompts)
    return SentenceTransformersFolder().save(encoder, tmp_path_factory.mktemp("docs") / "model")


@pytest.mark.parametrize(("where", "options", "code"), RUNNABLE, ids=[where for where, *_ in RUNNABLE])
def test_code_runs(where: str, options: str, code: str, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", example)  # where a dataclass looks itself up
    exec(compile(code.replace("path/to/model", str(model)), where, "exec"), vars(example))


def test_there_is_code_on_every_page_that_promises_it() -> None:
    pages = {where.partition(":")[0] for where, *_ in RUNNABLE}
    assert pages >= {"README.md", "CONTRIBUTING.md", "docs/python.md", "docs/using_the_model.md"}


@pytest.fixture
def surroundings(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files that the commands name, and a hub that has every model."""
    row = dict.fromkeys(("anchor", "positive", "question", "passage", "negative", "id"), "ein Text")
    for name in ("my.jsonl", "held_out.jsonl"):
        (tmp_path / name).write_text(json.dumps(row) + "\n", encoding="utf-8")
    for name in ("my.csv", "held_out.csv"):
        (tmp_path / name).write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n", encoding="utf-8")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/test.tsv"):
        path = tmp_path / "my_beir_folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, content in (item for page in PAGES for item in named_files(page).items()):
        if name.startswith("my_"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
    for date in ("2026-01-31", "2026-02-01"):
        run = tmp_path / "outputs" / "bmf" / f"{date}_12-00-00"
        run.mkdir(parents=True)
        (run / "model").symlink_to(model)
    (tmp_path / "my_model").symlink_to(model)
    bge_m3 = {"hidden_size": 1024, "max_position_embeddings": 8194, "model_type": "xlm-roberta"}
    monkeypatch.setattr(pretrained, "hub_config", lambda *_: bge_m3)
    monkeypatch.chdir(tmp_path)
    resolvers.register_resolvers()
    resolvers.why_not_card.cache_clear()
    yield tmp_path
    resolvers.why_not_card.cache_clear()


@pytest.mark.parametrize(("where", "line"), COMMANDS, ids=[f"{where} {line[7:40]}" for where, line in COMMANDS])
def test_commands_compose_and_validate(where: str, line: str, surroundings: Path) -> None:
    words = shlex.split(line, comments=True)[1:]
    name: Primary = "train" if words.pop(0) == "train.py" else "evaluate"
    if "--config-dir" in words:
        place = words.index("--config-dir")
        words[place : place + 2] = [f"hydra.searchpath=[file://{surroundings / words[place + 1]}]"]
    sweep = "-m" in words
    words = [word for word in words if word not in ("-m", "--help", "--cfg", "job", "--resolve")]
    jobs = list(swept(name, words)) if sweep else [words]
    assert (len(jobs) > 1) == sweep
    for job in jobs:
        if comparison := any(word.startswith("compare=") for word in job):
            job.append("model=")  # no model is looked at
        check = check_comparison if comparison else CHECKS[name]
        read = [read_literally(as_text(word), sweep=False) for word in job]
        config: Any = measured_alone(OmegaConf.to_container(composed(*read, primary=name), resolve=True))
        check(config)
        if any(file in line for file in DATA_FILES):
            assert_read(created(config["data"]), trained=name == "train")


def assert_read(source: Any, *, trained: bool) -> None:
    """The documented data are read as the page says: each of their questions with an answer."""
    found = source.retrieval_set()
    assert found.queries
    assert all(found.grades[query] for query in found.queries)
    if trained:
        assert len(source.training_pairs())


def swept(name: str, words: list[str]) -> Iterator[list[str]]:
    """Overrides of a sweep's jobs, its file's parameters included: each value once, beside the first of all others."""
    first = [next(iter(job)) for job in map(choices, parsed(words))]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        params = compose(name, overrides=first, return_hydra_config=True).hydra.sweeper.params or {}
    words = [*words, *(f"{key}={value}" for key, value in params.items())]
    values = list(map(choices, parsed(words)))
    first = [texts[0] for texts in values]
    yield first
    for place, texts in enumerate(values):
        yield from ([*first[:place], text, *first[place + 1 :]] for text in texts[1:])


def choices(override: Override) -> list[str]:
    """An override, or one for each value of a sweep; of numbers between two, the ends."""
    fixed, space = search_space([override])
    return fixed or [f"{key}={text}" for key, values in space.items() for text in texts_to_check(values)]


def parsed(words: list[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(words)


def slug(heading: str) -> str:
    """The anchor that a heading has on a page."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{link}: no such heading"


def test_the_index_names_every_page() -> None:
    named = set(LINK.findall((ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    pages = {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")} - {"index.md"}
    assert named == pages


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        page.name: set(re.findall(r"^ *make ([\w-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
        for page in PAGES
        if page.parent != ROOT / "multirun"
    }
    assert named["README.md"] == {"bmf", "test"}
    assert set().union(*named.values()) <= targets


def test_the_cards_table_says_what_the_recipe_says() -> None:
    recipe = yaml.safe_load((ROOT / "conf" / "experiment" / "bmf.yaml").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "the_card.md").read_text(encoding="utf-8")
    table = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| ")]
    rows = {cells[1]: cells[2:4] for cells in table}

    def both(text: str) -> list[str]:
        match = re.fullmatch(r"\$\{card_or_cpu:(.+),(.+)\}", text)
        assert match, text
        return [match[1], match[2]]

    assert rows["epochs"] == both(recipe["trainer"]["max_epochs"])
    assert rows["learning rate"] == both(recipe["optimizer"]["lr"])
    batch = zip(both(recipe["batch_size"]), both(recipe["accumulation"]), strict=True)
    assert rows["batch x accumulation"] == [" x ".join(pair) for pair in batch]
    selects = zip(rows["checkpoint kept"], both(recipe["evaluator"]["select"]), strict=True)
    assert all(cell.split()[1:] == [*select.replace("/dim_", " at dim ").split()] for cell, select in selects)
    pairs = (ROOT / "src/matryoshka/embedded/german_help/train.jsonl").read_text(encoding="utf-8").count("\n")
    assert f"{pairs:,}" in rows["pairs"][1]


@pytest.mark.slow
def test_the_examples_of_contributing_train_together(model: Path, tmp_path: Path) -> None:
    """In a copy of the project: one file and one YAML each, nothing else changed."""
    for part in ("src", "conf"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", tmp_path)
    for path, content in named_files(ROOT / "CONTRIBUTING.md").items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / path).open("a", encoding="utf-8") as file:
            file.write(f"\n{content}")
    lines = [f"{kind} Nummer {i}" for i in range(12) for kind in ("Frage", "Antwort")]
    (tmp_path / "lines.txt").write_text("\n".join(lines), encoding="utf-8")
    words = ["data=alternating", "data.train=lines.txt", "data.evaluation=lines.txt", "loss=margin"]
    words += ["scheduler=triangular", "encoder=pretrained", f"encoder.model={model}", "pooling=saved"]
    words += ["dims=[768,64]", "batch_size=4", "trainer.max_epochs=1", "trainer.log_every_n_steps=1"]
    words += ["logger=none", "hydra.run.dir=run", "callbacks=[default,average]"]
    words += ["--config-dir", "my_ideas/conf"]
    mine = {
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "src"), str(tmp_path / "my_ideas")]),
        "MATRYOSHKA_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "train.py", *words],
        cwd=tmp_path,
        env={**os.environ, **mine},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert '"loss": "MarginLoss"' in (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
