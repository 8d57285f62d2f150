"""`matryoshka dashboard`: what the service is sent, and what a user reads where nothing can be saved."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import matryoshka.report.wandb
from matryoshka.cli.dashboard import dashboard
from tests.report.wandb.test_workspace import written
from tests.report.wandb.wandb_service import Service, serving

# wandb-workspaces itself is written so.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:pydantic.warnings.PydanticDeprecatedSince20")

KEY = "0123456789" * 4


def against(service: Service, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with an account at the service."""
    account = {"WANDB_BASE_URL": service.address, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}
    wait = (
        "1" if service.silent or service.status == 500 else "30"
    )  # seconds; wandb repeats what failed within a server
    environment = {
        **os.environ,
        **account,
        "WANDB_HTTP_TIMEOUT": wait,
        "HOME": str(folder),
        "NETRC": str(folder / "no"),
    }
    command = [sys.executable, "-m", "matryoshka.cli.dashboard", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=30)


def test_the_service_is_sent_what_write_writes(tmp_path: Path) -> None:
    words = ("--sweep", "bmf/dims_lr_scheduler", "--project", "letters")
    with serving(Service()) as service:
        done = against(service, tmp_path, *words)
    assert (done.returncode, done.stderr) == (0, "")
    (view,) = service.views
    assert (view["entityName"], view["projectName"], view["type"]) == ("letters-team", "letters", "project-view")
    assert view["displayName"] == "matryoshka, bmf/dims_lr_scheduler"
    assert without_ids(json.loads(view["spec"])["section"]) == without_ids(written(tmp_path, *words))
    name = view["name"].removeprefix("nw-").removesuffix("-v")
    assert done.stdout == f"{service.address}/letters-team/letters?nw={name}\n"
    assert service.keys == {"Basic " + base64.b64encode(f"api:{KEY}".encode()).decode()}


def without_ids(section: dict[str, Any]) -> dict[str, Any]:
    """Panels get random ids."""
    for part in section["panelBankConfig"]["sections"]:
        for panel in part["panels"]:
            panel.pop("__id__")
    return section


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (Service(status=401), "wandb login"),
        pytest.param(Service(status=500), "check network", marks=pytest.mark.slow),
        pytest.param(Service(silent=True), "check network", marks=pytest.mark.slow),
        (Service(refusal="project not found"), "workspace of letters-team/matryoshka: input: project not found\n"),
    ],
    ids=["wrong key", "broken", "silent", "refused"],
)
def test_what_the_service_cannot_do_is_said_in_time(tmp_path: Path, service: Service, said: str) -> None:
    with serving(service):
        done = against(service, tmp_path)
    assert done.returncode == 2
    assert said in done.stderr and "--write" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == "" and service.views == []


def test_without_an_account_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert code_of([]) == 2
    said = capsys.readouterr().err
    assert "wandb login" in said and "--write" in said


def test_without_the_package_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(matryoshka.report.wandb, "workspace", raising=False)
    monkeypatch.delitem(sys.modules, "matryoshka.report.wandb.workspace", raising=False)
    for module in ("wandb_workspaces", "wandb_workspaces.expr"):
        monkeypatch.setitem(sys.modules, module, None)
    assert code_of(["--write", str(tmp_path / "workspace.json")]) == 2
    assert "pip install 'matryoshka[workspaces]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dims", "256,wide"], "768,256,64"),
        (["--dims", "0"], "768,256,64"),
        (["--metric", "ndcg@10/dim_64"], "--dims"),
        (["--write", "."], "--write ."),
    ],
)
def test_mistakes_name_the_word_and_the_remedy(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(words) == 2
    assert said in capsys.readouterr().err


def code_of(words: list[str]) -> Any:
    with pytest.raises(SystemExit) as ended:
        dashboard(words)
    return ended.value.code
