"""The W&B workspace, in the form in which the service keeps it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from matryoshka.cli.dashboard import dashboard
from matryoshka.report.wandb import names
from matryoshka.report.wandb.contents import flat_config, summary_of, tables_of
from tests.report.records import CONFIG, DIMS, METRICS, record

# wandb-workspaces itself is written so.
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:pydantic.warnings.PydanticDeprecatedSince20")

Panel = dict[str, Any]


def written(folder: Path, *words: str) -> dict[str, Any]:
    """The section of the specification that the command writes."""
    path = folder / "new" / "workspace.json"
    dashboard(["--write", str(path), *words])
    section: dict[str, Any] = json.loads(path.read_text())["section"]
    return section


def panels(section: dict[str, Any]) -> dict[str, list[Panel]]:
    """Every section's panels."""
    return {part["name"]: part["panels"] for part in section["panelBankConfig"]["sections"]}


def of_type(shown: list[Panel], kind: str) -> list[dict[str, Any]]:
    return [panel["config"] for panel in shown if panel["viewType"] == kind]


def test_every_dim_has_its_quality_and_its_loss(tmp_path: Path) -> None:
    shown = panels(written(tmp_path, "--dims", "64,256", "--metric", "map@100"))
    assert list(shown) == ["Quality", "Training", "The sweep", "Speed and memory", "Tables"]
    bars = [config["metrics"] for config in of_type(shown["Quality"], "Bar Chart")]
    assert bars == [["dim_256/map@100"], ["dim_64/map@100"]]
    lines = of_type(shown["Quality"] + shown["Training"] + shown["Speed and memory"], "Run History Line Plot")
    assert [config["metrics"] for config in lines] == [
        ["dev/dim_256/map@100"],
        ["dev/dim_64/map@100"],
        [names.LOSS],
        ["loss/dim_256"],
        ["loss/dim_64"],
        ["gradient_share/dim_256", "gradient_share/dim_64"],
        ["train/gradient_norm"],
        ["train/learning_rate"],
        ["train/pairs_per_second"],
        ["train/tokens_per_second"],
        ["train/memory_gigabytes"],
    ]
    assert {config["xAxis"] for config in lines} == {"update"}


def test_the_metric_against_dim_is_drawn_from_each_runs_table(tmp_path: Path) -> None:
    quality = panels(written(tmp_path))["Quality"]
    (chart,) = of_type(quality, "Vega2")
    assert chart["panelDefId"] == "wandb/line/v0"
    assert chart["fieldSettings"] == {"x": "dim", "y": "ndcg@10", "stroke": "model"}
    (runs,) = chart["userQuery"]["queryFields"]
    (table,) = (part for part in runs["fields"] if part["name"] == "summaryTable")
    assert table["args"] == [{"name": "tableKey", "value": "results"}]
    (figure,) = of_type(quality, "Media Browser")
    assert figure["mediaKeys"] == [names.FIGURE]


def test_the_sweep_shows_which_setting_leads_where(tmp_path: Path) -> None:
    shown = panels(written(tmp_path, "--dims", "768,256,64"))["The sweep"]
    (parallel,) = of_type(shown, "Parallel Coordinates Plot")
    assert [column["accessor"] for column in parallel["columns"]] == [
        "config:dims.value",
        "config:optimizer.lr.value",
        "config:scheduler._target_.value",
        "config:batch_size.value",
        "config:accumulation.value",
        "summary:selected_value",
    ]
    assert [column["displayName"] for column in parallel["columns"] if column.get("log")] == ["optimizer.lr"]
    (importance,) = of_type(shown, "Parameter Importance")
    assert importance["targetKey"] == "selected_value"
    (scatter,) = of_type(shown, "Scatter Plot")
    assert (scatter["xAxis"], scatter["yAxis"]) == ("summary:dim_768/ndcg@10", "summary:dim_64/ndcg@10")


def test_tables_are_those_of_the_run(tmp_path: Path) -> None:
    shown = panels(written(tmp_path))["Tables"]
    assert {panel["viewType"] for panel in shown} == {"Weave"}
    keys = [panel["config"]["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"] for panel in shown]
    assert keys == ["results", "hardest_queries", "lost_queries", "deployment"]


def test_it_shows_what_a_run_logs(tmp_path: Path) -> None:
    run = record(selected_value=0.5, failures=None)
    section = written(tmp_path, "--dims", ",".join(map(str, DIMS)), "--metric", METRICS[-1])
    shown = panels(section)
    summary = summary_of(run)
    assert {name for config in of_type(shown["Quality"], "Bar Chart") for name in config["metrics"]} < set(summary)
    columns = section["runSets"][0]["runFeed"]["columnOrder"]
    assert {column.removeprefix("summary:") for column in columns} - {"run:displayName"} < set(summary)
    logged = {names.name_of(f"dev/{METRICS[-1]}/dim_{dim}") for dim in DIMS}
    assert {
        name for config in of_type(shown["Quality"], "Run History Line Plot") for name in config["metrics"]
    } == logged
    (parallel,) = of_type(shown["The sweep"], "Parallel Coordinates Plot")
    settings = [column["accessor"] for column in parallel["columns"][:-1]]
    assert {key.removeprefix("config:").removesuffix(".value") for key in settings} < set(flat_config(CONFIG))
    ((table, of_results, _),) = tables_of(run)
    (chart,) = of_type(shown["Quality"], "Vega2")
    assert table == names.TABLES[0] and set(chart["fieldSettings"].values()) < set(of_results)


@pytest.mark.parametrize("group", ["bmf/dims_lr_scheduler", 'lr=2e-5, it\'s <= "best"'])
def test_a_sweep_is_its_group_to_the_letter(tmp_path: Path, group: str) -> None:
    section = written(tmp_path, "--sweep", group)
    (runs,) = section["runSets"]
    wanted = {"key": {"section": "run", "name": "group"}, "op": "=", "value": group, "disabled": False}
    assert runs["filters"] == {"filterFormat": "filterV2", "filters": [wanted]}
    assert runs["sort"]["keys"] == [{"key": {"section": "summary", "name": "selected_value"}, "ascending": False}]


def test_without_a_sweep_all_runs_are_shown(tmp_path: Path) -> None:
    section = written(tmp_path)
    assert section["runSets"][0]["filters"]["filters"] == []
    assert (section["settings"]["xAxis"], section["settings"]["maxRuns"]) == ("update", 100)
