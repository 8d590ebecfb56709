"""``audio-lightning dashboard``: requests to W&B, and error messages."""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from sweep_folders import make_sweep, trial
from typer.testing import CliRunner
from wandb_server import ENTITY, KEY, Server, serving

from audio_lightning.cli.main import app
from audio_lightning.sweeps import wandb_dashboard

pytest.importorskip("wandb_workspaces")

GROUP = "a=b <(ö)' x"
WANDB = {"_target_": "audio_lightning.loggers.wandb.WandbLogger", "project": "sounds", "entity": None}
NAMED = {**WANDB, "group": GROUP, "job_type": "trial"}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over two models and three seeds; one model is better. Read only."""
    rows = [
        trial(
            0.6 + gain + seed / 50, 0.5 + gain + seed / 40 + noise / 100, model=model, seed=seed, config=logged(model)
        )
        for model, gain, noises in (("cnn", 0.2, (0, 3, 1)), ("lstm", 0.195, (2, 0, 3)), ("dnn", 0.0, (0, 1, 0)))
        for seed, noise in enumerate(noises)
    ]
    return make_sweep(tmp_path_factory.mktemp("dashboard") / "sounds", rows).path


def logged(model: str, wandb: Any = NAMED) -> dict[str, Any]:
    return {"logger": {"wandb": wandb}, "model": {"_target_": f"audio_lightning.models.{model.upper()}"}}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A W&B that works, and a made-up key for it."""
    wandb.teardown()  # it reads the environment once
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb files"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with serving() as found:
        monkeypatch.setenv("WANDB_BASE_URL", found.url)
        yield found
        wandb.teardown()


def dashboard(*line: str | Path) -> Any:
    return CliRunner().invoke(app, ["dashboard", *map(str, line)])


def panels(section: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Configurations of the panels, by their kind."""
    found: dict[str, list[dict[str, Any]]] = {}
    for part in section["panelBankConfig"]["sections"]:
        for panel in part["panels"]:
            found.setdefault(panel["viewType"], []).append(panel.get("config", {}))
    return found


def test_a_workspace_and_a_report_are_sent(sweep: Path, server: Server) -> None:
    result = dashboard(sweep)
    assert result.exit_code == 0, result.output
    workspace, report = server.asked("upsertView")
    assert [(sent["entityName"], sent["projectName"]) for sent in (workspace, report)] == [(ENTITY, "sounds")] * 2
    assert (workspace["type"], report["type"]) == ("project-view", "runs")
    assert workspace["displayName"] == report["displayName"] == "Sweep sounds"
    lines = result.output.splitlines()
    assert any(line.startswith(f"workspace: {server.url}/{ENTITY}/sounds") for line in lines)
    assert lines[-1] == f"next: audio-lightning refit {sweep}"
    assert any(line.startswith(f"report: {server.url}/{ENTITY}/sounds/reports/") for line in lines)

    section = json.loads(workspace["spec"])["section"]
    (runs,) = section["runSets"]
    assert wanted(runs) == {"group": GROUP, "jobType": "trial"}
    assert {"config:model.value._target_", "config:seed.value", "summary:validation/accuracy"} <= set(
        runs["runFeed"]["columnPinned"]
    )
    found = panels(section)
    assert [(panel["xAxis"], panel["metrics"]) for panel in found["Run History Line Plot"]] == [
        ("epoch", [name]) for name in ("validation/accuracy", "validation/loss", "train/loss")
    ]
    assert [panel["groupBy"] for panel in found["Bar Chart"]] == ["model.value._target_"]
    assert [(panel["xAxis"], panel["yAxis"]) for panel in found["Scatter Plot"]] == [
        (f"summary:{cost}", "summary:test/accuracy") for cost in ("macs", "parameters")
    ]
    (parallel,) = found["Parallel Coordinates Plot"]
    assert [column["accessor"] for column in parallel["columns"]] == [
        "config:model.value._target_", "config:seed.value", "summary:validation/accuracy"
    ]  # fmt: skip
    assert found["Vega2"][0]["panelDefId"] == "wandb/confusion_matrix/v1"
    assert {"test/confusion_matrix_table", "test/per_class"} <= set(json.dumps(found).replace('"', " ").split())
    assert "Run Comparer" in found

    blocks = json.loads(report["spec"])["blocks"]
    text = [child["text"] for block in blocks for child in block["children"]]
    assert "cnn is best by validation/accuracy, 0.820 [0.770, 0.870] over 3 seeds." in text
    assert any("but lstm is not distinguishable from it." in line for line in text)
    assert any(line.startswith("Expected test/accuracy of the choice") and "of the first row" in line for line in text)
    assert any(line.startswith("Compared with it: dnn (worse, p = ") for line in text)
    (table,) = [block["content"] for block in blocks if block["type"] == "markdown-block"]
    assert [line.split(" | ")[1] for line in table.splitlines()[2:]] == ["cnn", "lstm", "dnn"]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    assert len(grids) == len(section["panelBankConfig"]["sections"])
    assert all(wanted(runs) == {"group": GROUP, "jobType": "trial"} for grid in grids for runs in grid["runSets"])


def wanted(runs: dict[str, Any]) -> dict[str, str]:
    return {each["key"]["name"]: each["value"] for each in runs["filters"]["filters"] if each["op"] == "="}


def test_project_and_entity_can_be_named(sweep: Path, server: Server) -> None:
    assert dashboard(sweep, "--project", "other", "--entity", "team").exit_code == 0
    assert {(sent["entityName"], sent["projectName"]) for sent in server.asked("upsertView")} == {("team", "other")}


def test_dry_run_sends_nothing(sweep: Path, server: Server) -> None:
    result = dashboard(sweep, "--dry-run")
    assert set(json.loads(result.output)) == {"workspace", "report"}
    assert server.requests == []


def test_missing_prerequisites_are_reported_in_one_line(
    sweep: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = make_sweep(tmp_path / "fresh", [trial(None, None, model="cnn", state="running")]).path
    plain = make_sweep(tmp_path / "plain", [trial(model="cnn"), trial(model="lstm")]).path
    check_refused(dashboard(fresh), "no trial is finished yet")
    check_refused(dashboard(plain), r"its trials are not W&B runs; sweep with 'logger=\[csv,wandb\]'")
    check_refused(dashboard(tmp_path), "expected a folder with sweep.json")
    with monkeypatch.context() as patch:
        patch.delenv("WANDB_API_KEY")
        wandb.teardown()
        check_refused(dashboard(sweep), f"W&B: no API key for {server.url}; run `wandb login`, or set WANDB_API_KEY")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "wandb_workspaces", None)
        patch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
        check_refused(dashboard(sweep), "pip install wandb-workspaces")
    assert server.asked("upsertView") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": 500}, "W&B cannot be reached: .* responds with 500"),
        ({"status": 401}, "W&B: the server refused the dashboard: "),
        pytest.param({"silent": True}, "did not respond within 3.5 s", marks=pytest.mark.full),
        pytest.param({"silent_for": "query"}, "sending the dashboard took over 5 s", marks=pytest.mark.full),
    ],
    ids=["500", "wrong key", "silent", "silent later"],
)
def test_server_failures_are_reported_in_time(
    change: dict[str, Any], message: str, sweep: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_dashboard, "SECONDS_TO_SEND", 5.0)
    vars(server).update(change)
    began = time.perf_counter()
    check_refused(dashboard(sweep), message)
    assert time.perf_counter() - began < 20


def check_refused(result: Any, message: str) -> None:
    assert result.exit_code == 2, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("error: ")]
    assert re.search(message, line), line
