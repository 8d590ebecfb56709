"""W&B workspace and W&B report of a sweep."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from audio_lightning.compare.board import Board, Row
from audio_lightning.compare.leaderboard import make_boards
from audio_lightning.compare.notes import conclusions
from audio_lightning.compare.statistics import NOT_DISTINGUISHABLE, Spread
from audio_lightning.compare.trial_table import read_results
from audio_lightning.compare.trials import REPETITION_KEYS, SweepFolder
from audio_lightning.core.errors import ConfigError, UserError
from audio_lightning.loggers.loggers import why
from audio_lightning.loggers.wandb_connectivity import SECONDS_TO_ANSWER, asking, has_key, proxies_of, start

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as reports
    import wandb_workspaces.workspaces as workspaces

SECONDS_TO_SEND = 12.0
"""Time limit in seconds to send the whole dashboard, after the server has responded."""

SECONDS_TO_REQUEST = 5.0
"""Time limit in seconds for a single request."""

LACKING = "dashboard: wandb-workspaces is not installed; pip install wandb-workspaces"


@dataclass(frozen=True)
class Dashboard:
    """Contents of a W&B workspace and report.

    Attributes:
        title: name of the sweep.
        entity: user or team; None: the default of the account.
        project: W&B project of the runs.
        group, job_type: group and job type of the trials' runs; ``job_type`` is None if they have none.
        axes: configuration path of each key that varies, by the key of the command line.
        boards: leaderboards; the workspace shows the first one.
        unsent: number of trials whose runs are on this machine only.
    """

    title: str
    entity: str | None
    project: str
    group: str
    job_type: str | None
    axes: dict[str, str]
    boards: Sequence[Board]
    unsent: int


def read_dashboard(sweep: SweepFolder, project: str | None = None, entity: str | None = None) -> Dashboard:
    """Read the contents of the dashboard of a sweep.

    Args:
        sweep: sweep folder with finished trials.
        project: W&B project of the runs; None: that of the trials' ``logger.wandb``.
        entity: user or team; None: that of the trials' ``logger.wandb``.

    Raises:
        ConfigError: the folder contains no sweep, no trial is finished, or the trials are not W&B runs.
    """
    facts = sweep.read_facts()
    boards = [board for board in make_boards(read_results([sweep]), facts.monitor, facts.axes, [sweep]) if board.rows]
    if not boards:
        raise ConfigError(f"{sweep.path}: no trial is finished yet; give the sweep's command again")
    folders = [folder for folder, status in sweep.folders() if status.state == "done" and folder.config.is_file()]
    config = folders[0].read_config()
    node = OmegaConf.select(config, "logger.wandb")
    if node is None and project is None:
        raise ConfigError(
            f"{sweep.path}: its trials are not W&B runs; sweep with 'logger=[csv,wandb]', or name a --project"
        )
    known: dict[str, Any] = {} if node is None else dict(node)
    return Dashboard(
        title=facts.name,
        entity=entity or known.get("entity"),
        project=project or str(known["project"]),
        group=known.get("group") or sweep.path.name,
        job_type=known.get("job_type"),
        axes={axis: _path(config, axis) for axis in facts.axes},
        boards=boards,
        unsent=sum(any(folder.path.glob("wandb/offline-run-*")) for folder in folders),
    )


def describe_dashboard(dashboard: Dashboard) -> dict[str, Any]:
    """Return the workspace and the report as plain values.

    Raises:
        UserError: wandb-workspaces is not installed.
    """
    entity = dashboard.entity or "ENTITY"
    workspace, report = make_workspace(dashboard, entity), make_report(dashboard, entity, asking_server=False)
    view = workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    spec = report._to_model().spec.model_dump_json(by_alias=True, exclude_none=True)
    return {"workspace": json.loads(view), "report": json.loads(spec)}


def send_dashboard(dashboard: Dashboard) -> dict[str, str]:
    """Create the workspace and the report on the server, and return their URLs.

    Raises:
        UserError: wandb-workspaces or the API key is missing, or W&B cannot be reached, refuses or takes too long.
    """
    import wandb

    _require()
    # A pending request would delay the end of the process.
    settings = wandb.setup(wandb.Settings(x_graphql_timeout_seconds=SECONDS_TO_REQUEST, x_graphql_retry_max=0)).settings
    if not has_key(settings):
        raise UserError(f"W&B: no API key for {settings.base_url}; run `wandb login`, or set WANDB_API_KEY")
    if reason := asking(settings.base_url, SECONDS_TO_ANSWER, proxies_of(settings))():
        raise UserError(f"W&B cannot be reached: {reason}")

    def send() -> dict[str, str]:
        entity = dashboard.entity or wandb.Api().default_entity
        if not entity:
            raise ConfigError("W&B: the account has no default entity; set the user or team with --entity")
        workspace, report = make_workspace(dashboard, entity).save(), make_report(dashboard, entity)
        report.save()
        return {"workspace": workspace.url, "report": report.url}

    sent = start(send)
    try:
        return sent.result(SECONDS_TO_SEND)
    except UserError:
        raise
    except Exception as error:
        if not sent.done():
            raise UserError(f"W&B: sending the dashboard took over {SECONDS_TO_SEND:g} s; try again later") from None
        raise UserError(f"W&B: the server refused the dashboard: {why(error)}") from error


def make_workspace(dashboard: Dashboard, entity: str) -> "workspaces.Workspace":
    """Make a workspace, a saved view of the project with the runs of the sweep."""
    _require()
    import wandb_workspaces.workspaces as workspaces

    board = dashboard.boards[0]
    sections = [
        workspaces.Section(name=name, panels=panels, is_open=True) for name, panels in _panels(dashboard).items()
    ]
    # W&B stores the value of a top-level key of the configuration under ``value``.
    paths = (path.partition(".") for path in dashboard.axes.values())
    columns = [f"config:{key}.value{dot}{rest}" for key, dot, rest in paths]
    figures = (board.monitor, board.metric, "macs", "parameters")
    return workspaces.Workspace(
        entity=entity,
        project=dashboard.project,
        name=f"Sweep {dashboard.title}",
        sections=sections,
        settings=workspaces.WorkspaceSettings(x_axis="epoch", max_runs=100),
        runset_settings=workspaces.RunsetSettings(
            filters=_filter(dashboard),
            pinned_columns=[*columns, *dict.fromkeys(f"summary:{name}" for name in figures)],
        ),
    )


def make_report(dashboard: Dashboard, entity: str, *, asking_server: bool = True) -> "reports.Report":
    """Make a report with the leaderboard, in words and as a table, and the panels of the workspace.

    Args:
        dashboard: contents of the report.
        entity: user or team.
        asking_server: set the project of the run set, for which wandb-workspaces requests its ID from the server.
    """
    _require()
    import wandb_workspaces.reports.v2 as reports

    order = [reports.OrderBy(reports.SummaryMetric(dashboard.boards[0].monitor))]
    place: dict[str, Any] = {"entity": entity, "project": dashboard.project}
    trials = reports.Runset(name="Trials", filters=_filter(dashboard), order=order, **(place if asking_server else {}))
    blocks: list[Any] = [reports.TableOfContents()]
    for number, board in enumerate(dashboard.boards, 1):
        blocks.append(reports.H1(f"Result {number}" if len(dashboard.boards) > 1 else "Result"))
        blocks += [reports.CalloutBlock(stamp) for stamp in board.stamps]
        blocks += [reports.P(sentence) for sentence in in_words(board)]
        blocks += [reports.MarkdownBlock(_as_markdown(board))]
        blocks += [reports.P(note) for note in board.notes]
    for name, panels in _panels(dashboard).items():
        blocks += [reports.H1(name), reports.PanelGrid(runsets=[trials], panels=panels)]
    return reports.Report(
        title=f"Sweep {dashboard.title}"[:128],
        description=f"{sum(len(board.rows) for board in dashboard.boards)} setups by {dashboard.boards[0].monitor}",
        blocks=blocks,
        width="fluid",
        **place,
    )


def in_words(board: Board) -> list[str]:
    """Describe a board in sentences: the best row, its uncertainty, and the rows not distinguishable from it."""
    best, *others = board.rows
    sentences = [f"{best.name} is best by {board.monitor}, {_figure(best.validation)}{_repetitions(best, board)}."]
    sentences += conclusions(board)
    if any(row.validation.low is not None for row in board.rows):
        sentences.append(f"In brackets: {board.interval}.")
    rest = [row for row in others if row.comparison and row.comparison.verdict != NOT_DISTINGUISHABLE]
    if rest:
        verdicts = (f"{row.name} ({row.comparison.verdict})" for row in rest if row.comparison)
        sentences.append(f"Compared with it: {'; '.join(verdicts)}.")
    return sentences


def _panels(dashboard: Dashboard) -> dict[str, list[Any]]:
    """Return the panels by section."""
    import wandb_workspaces.reports.v2 as reports

    board = dashboard.boards[0]
    shown = board.metric if any(row.test for row in board.rows) else board.monitor
    axes = {key: path for key, path in dashboard.axes.items() if key not in REPETITION_KEYS}
    monitor, quality = reports.SummaryMetric(board.monitor), reports.SummaryMetric(shown)

    def place(number: int) -> Any:
        return reports.Layout(x=12 * (number % 2), y=8 * (number // 2), w=12, h=8)

    return {
        "Learning curves": [
            reports.LinePlot(title=f"{metric} by epoch", x="epoch", y=[metric], layout=place(number))
            for number, metric in enumerate(dict.fromkeys((board.monitor, "validation/loss", "train/loss")))
        ],
        "Best choices": [
            reports.BarPlot(
                title=f"{board.monitor} by {key}",
                metrics=[monitor],
                groupby=reports.Config(path),
                groupby_aggfunc="mean",
                groupby_rangefunc="stddev",
                layout=place(number),
            )
            for number, (key, path) in enumerate(axes.items())
        ]
        + [
            reports.ParallelCoordinatesPlot(
                title="All choices",
                columns=[
                    *(reports.ParallelCoordinatesPlotColumn(reports.Config(path)) for path in dashboard.axes.values()),
                    reports.ParallelCoordinatesPlotColumn(monitor),
                ],
                layout=reports.Layout(x=0, y=8 * ((len(axes) + 1) // 2), w=24, h=10),
            )
        ],
        "Cost": [
            reports.ScatterPlot(
                title=f"{shown} over {cost}",
                x=reports.SummaryMetric(cost),
                y=quality,
                log_x=True,
                layout=place(number),
            )
            for number, cost in enumerate(("macs", "parameters"))
        ],
        "Confusions between classes": [
            reports.CustomChart(
                query={"summaryTable": {"tableKey": "test/confusion_matrix_table"}},
                chart_name="wandb/confusion_matrix/v1",
                chart_fields={name: name for name in ("Actual", "Predicted", "nPredictions")},
                layout=place(0),
            ),
            reports.WeavePanelSummaryTable(table_name="test/per_class", layout=place(1)),
        ],
        "Comparison of runs": [reports.RunComparer(layout=reports.Layout(x=0, y=0, w=24, h=12))],
    }


def _require() -> None:
    try:
        import wandb_workspaces.reports.v2
        import wandb_workspaces.workspaces  # noqa: F401
    except ImportError as error:
        raise UserError(LACKING) from error


def _path(config: DictConfig, axis: str) -> str:
    """Return the path of an axis in the configuration of the runs."""
    node = OmegaConf.select(config, axis)
    if not isinstance(node, DictConfig):
        return axis
    return f"{axis}._target_" if "_target_" in node else f"{axis}.name"


def _filter(dashboard: Dashboard) -> str:
    """Return the filter for the runs of the trials, without other runs of the project and the summary run."""
    wanted = {"Group": dashboard.group, "JobType": dashboard.job_type}
    return " and ".join(f"Metric('{key}') == {_quoted(value)}" for key, value in wanted.items() if value)


def _quoted(text: str) -> str:
    """Quote as a Python string with escapes, because the package searches for operators before it parses."""
    return "'" + "".join(sign if sign.isascii() and sign.isalnum() else f"\\U{ord(sign):08x}" for sign in text) + "'"


def _as_markdown(board: Board) -> str:
    header = ["", "setup", board.monitor, board.metric, "n", "parameters", "MACs", "against the first"]
    rows = [
        [
            str(rank),
            row.name.replace("|", "\\|"),
            _figure(row.validation),
            "-" if row.test is None else _figure(row.test),
            str(row.n),
            *("-" if cost is None or pd.isna(cost) else f"{cost:,.0f}" for cost in (row.parameters, row.macs)),
            row.comparison.verdict if row.comparison else "",
        ]
        for rank, row in enumerate(board.rows, 1)
    ]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figure(found: Spread) -> str:
    return f"{found.mean:.3f}" + ("" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]")


def _repetitions(row: Row, board: Board) -> str:
    return f" over {row.n} {board.unit}" if row.n > 1 else ", trained once, so the uncertainty is unknown"
