"""A run that is asked to pushes its whole model, card included, when it is done; a refusal leaves it done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stub_hub import TOKEN, Hub, hub
from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["hub", "workplace"]
pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries
PUSHED = ("export.push_to_hub=owner/tiny", "logger=none", "hydra.run.dir=run")


def seen(folder: Path) -> str:
    """All that a run has written of itself."""
    names = ("*.log", "*.yaml", "*.json", "*.jsonl", "*.html", "*.md")
    return "".join(path.read_text(encoding="utf-8") for name in names for path in folder.rglob(name))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_run_pushes_its_model_with_its_card(
    workplace: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *PUSHED) == 0

    model = workplace / "run" / "model"
    written = {path.relative_to(model).as_posix(): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    assert hub.files == {"owner/tiny": written}
    assert {"README.md", "model.safetensors"} <= set(written)
    assert hub.repositories == {"owner/tiny": True}
    said = capsys.readouterr()
    assert f"pushed as {hub.address}/owner/tiny" in said.out
    assert TOKEN not in said.out + said.err + seen(workplace / "run")


@pytest.mark.usefixtures("undrawn")
def test_a_refusal_leaves_the_run_done_and_exits_1(
    workplace: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refuses = 403
    assert run(monkeypatch, *PUSHED, "export.private=false") == 1

    said = capsys.readouterr().err
    assert "the run is done, but its model was not pushed: " in said
    assert f"push it later with: hf upload owner/tiny {workplace / 'run' / 'model'} . --no-private" in said
    assert "Traceback" not in said
    assert TOKEN not in said + seen(workplace / "run")
    assert (workplace / "run" / "run.json").is_file()
    assert not (workplace / "run" / "checkpoints").exists()
    assert run(monkeypatch, *PUSHED, "export.private=false", "resume=true") == 0  # nothing is left to be done


def test_a_malformed_name_is_found_before_the_start(
    workplace: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "export.push_to_hub=tiny", "logger=none", "hydra.run.dir=run") == 2
    assert "export.push_to_hub: 'tiny' is no name of a repository; give owner/name" in capsys.readouterr().err
    assert not (workplace / "run").exists()
    assert hub.asked == []


@pytest.mark.usefixtures("workplace")
def test_the_jobs_of_a_sweep_do_not_push_over_each_other(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("export.push_to_hub=owner/tiny", "logger=none", "-m", "seed=1,2", "hydra.sweep.dir=sweep")
    assert run(monkeypatch, *words) == 2
    assert "export.push_to_hub: several jobs would push to owner/tiny" in " ".join(capsys.readouterr().err.split())
    assert hub.asked == []
