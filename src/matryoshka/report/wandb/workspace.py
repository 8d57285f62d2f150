"""A W&B workspace over all runs of a project or of one sweep: built here, saved by the service.

Importing this needs wandb-workspaces.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import wandb
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb_workspaces.expr import Filters, Metric, Ordering, Summary, filters_tree_to_v2
from wandb_workspaces.reports.v2 import interface as panels
from wandb_workspaces.reports.v2.interface import PanelTypes
from wandb_workspaces.workspaces.interface import (
    RunsetSettings,
    Section,
    SectionLayoutSettings,
    SectionPanelSettings,
    Workspace,
    WorkspaceSettings,
)

from matryoshka.errors import UserError
from matryoshka.report.wandb import names

SWEPT = {  # what sweeps vary, as (key of the configuration, whether its axis is logarithmic)
    "dims": False,
    "optimizer.lr": True,
    "scheduler._target_": False,
    "batch_size": False,
    "accumulation": False,
}
RUNS_SHOWN = 100  # W&B draws 10 unless told; a sweep has more


class _Setting(panels.ParallelCoordinatesPlotColumn):
    """A column of the configuration, whose keys have dots; the library takes dots for nesting (optimizer.value.lr)."""

    def _to_model(self) -> Any:
        model = super()._to_model()  # type: ignore[no-untyped-call]
        model.accessor = f"config:{self.display_name}.value"
        return model


def workspace(project: str, dims: Sequence[int], metric: str, sweep: str | None = None, entity: str = "") -> Workspace:
    """The workspace of all runs whose group is `sweep`, or of the whole project.

    dims are the widths to show; metric is one of the evaluator's, without a dim (`ndcg@10`); entity is the user or team
    that owns the project. Nothing is asked of the network.
    """
    widths = sorted(set(dims), reverse=True)
    shown = [names.metric_name(metric, dim) for dim in widths]
    view = Workspace(
        entity=entity,
        project=project,
        name=_title(sweep or project),
        sections=[
            _quality(widths, metric),
            _training(widths),
            _sweep(widths, metric),
            _speed_and_memory(),
            _tables(),
        ],
        settings=WorkspaceSettings(x_axis=names.UPDATE, max_runs=RUNS_SHOWN),
        runset_settings=RunsetSettings(
            order=[Ordering(Summary(names.SELECTED), ascending=False)],
            pinned_columns=[f"summary:{name}" for name in (names.SELECTED, *shown)],
        ),
    )
    if sweep is not None:
        # As if read from the service, which is replayed as it is. A filter given in the open becomes text and is parsed
        # again: lr=2e-5 in a group's name would turn into lr==2e-5, and a quote into a SyntaxError.
        only = Filters(op="=", key=Metric("Group").to_key(), value=sweep, disabled=False)
        view._stashed_filters_v2, view._stashed_filter_string = filters_tree_to_v2(only), ""
    return view


def serialised(view: Workspace) -> str:
    """What W&B keeps of a workspace, as JSON: the `spec` of its `upsertView`."""
    return json.dumps(view._to_model().spec.model_dump(by_alias=True, exclude_none=True), indent=2)


def save(view: Workspace) -> str:
    """Save it as a new view in W&B; its address. Without an entity, the account's own.

    Waits for each answer for 19 seconds (WANDB_HTTP_TIMEOUT) at most. Raises UserError without an account, without the
    service, or where it refuses.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    remedy = "or look at it without the service: --write workspace.json"
    try:
        if not wandb.login(prompt=False):
            raise UserError(f"no W&B account is set up here: wandb login (and no WANDB_MODE=offline), {remedy}")
        view.entity = view.entity or wandb.Api().default_entity or ""
        if not view.entity:
            raise UserError("the W&B account has no entity of its own: give the user or team with --entity")
        view.save()  # type: ignore[no-untyped-call]
    except (wandb.Error, WandbApiFailedError) as error:
        where = "/".join(filter(None, [view.entity, view.project]))
        raise UserError(
            f"W&B did not save the workspace of {where}: {str(error).strip()}\n"
            f"check network, account (wandb login --relogin), --entity and --project, {remedy}"
        ) from error
    return str(view.url)


def _quality(dims: Sequence[int], metric: str) -> Section:
    """Where the runs ended at every dim, and how they came there."""
    table = {"summaryTable": {"tableKey": names.TABLES[0]}, "id": None, "name": None, "_defaultColorIndex": None}
    return _section(
        "Quality",
        [
            panels.CustomChart(
                query=table,
                chart_name="wandb/line/v0",
                chart_fields={"x": "dim", "y": metric, "stroke": "model"},
                chart_strings={"title": f"{metric} against dim"},
            ),
            panels.MediaBrowser(title="metric against dim, each run's own figure", media_keys=[names.FIGURE]),
            *(panels.BarPlot(title=f"{metric} at {dim}", metrics=[names.metric_name(metric, dim)]) for dim in dims),
            *(_line(f"dev {metric} at {dim}", names.metric_name(metric, dim, "dev")) for dim in dims),
        ],
    )


def _training(dims: Sequence[int]) -> Section:
    """Each dim's own loss and its share in the gradient."""
    return _section(
        "Training",
        [
            _line("loss, summed over dims by weight", names.LOSS),
            *(_line(f"loss at {dim}", names.loss_name(dim)) for dim in dims),
            _line("share in the gradient", *map(names.gradient_share_name, dims)),
            _line("gradient norm, before clipping", names.GRADIENT_NORM),
            _line("learning rate", names.LEARNING_RATE),
        ],
    )


def _sweep(dims: Sequence[int], metric: str) -> Section:
    """Which setting leads to which number: the one that chose the checkpoint, on the dev queries."""
    wide, narrow = (panels.SummaryMetric(names.metric_name(metric, dim)) for dim in (dims[0], dims[-1]))
    return _section(
        "The sweep",
        [
            panels.ParallelCoordinatesPlot(
                title="settings and what chose the checkpoint",
                columns=[_Setting(metric=panels.Config(key), display_name=key, log=log) for key, log in SWEPT.items()]
                + [panels.ParallelCoordinatesPlotColumn(metric=panels.SummaryMetric(names.SELECTED))],
            ),
            panels.ParameterImportancePlot(with_respect_to=names.SELECTED),
            panels.ScatterPlot(title=f"{metric} at {dims[-1]} and at {dims[0]}", x=wide, y=narrow),
            panels.RunComparer(diff_only="split"),
        ],
        columns=2,
    )


def _speed_and_memory() -> Section:
    return _section(
        "Speed and memory",
        [
            _line("pairs a second", names.PAIRS_PER_SECOND),
            _line("tokens a second", names.TOKENS_PER_SECOND),
            _line("memory in gigabytes", names.MEMORY),
        ],
    )


def _tables() -> Section:
    return _section("Tables", [panels.WeavePanelSummaryTable(table_name=name) for name in names.TABLES], columns=1)


def _section(name: str, shown: list[PanelTypes], columns: int = 3) -> Section:
    return Section(
        name=name,
        panels=shown,
        is_open=True,
        layout_settings=SectionLayoutSettings(columns=columns, rows=-(-len(shown) // columns)),
        panel_settings=SectionPanelSettings(x_axis=names.UPDATE),
    )


def _line(title: str, *metrics: str) -> PanelTypes:
    return panels.LinePlot(title=title, x=names.UPDATE, y=list(metrics))


def _title(of: str) -> str:
    """W&B takes no symbols in a name, such as the = of a sweep's group."""
    return "matryoshka, " + re.sub(r"[^\w /.,:@-]", "-", of)
