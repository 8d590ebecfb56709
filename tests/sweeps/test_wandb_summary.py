"""A sweep in W&B: names of its runs, and its summary run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from sweep_folders import make_sweep, trial
from wandb_files import written_runs

from audio_lightning.compare.leaderboard import make_boards, write_leaderboard
from audio_lightning.compare.trial_table import write_results
from audio_lightning.compare.trials import SweepFolder
from audio_lightning.config import compose
from audio_lightning.sweeps.plan import Combination, Planned, enter
from audio_lightning.sweeps.preflight import Preflight
from audio_lightning.sweeps.wandb_summary import log_summary


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    wandb.teardown()
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb files"))
    yield
    wandb.teardown()


def sweep_with(path: Path, logger: dict[str, Any]) -> SweepFolder:
    trials = [
        trial(validation, test, model=model, seed=seed, config={"logger": logger})
        for model, validation, test in (("cnn", 0.8, 0.7), ("resnet", 0.9, 0.75))
        for seed in (0, 1)
    ]
    return make_sweep(path, [*trials, trial(None, None, model="lstm", seed=0, state="failed", reason="it broke")])


def conclude(sweep: SweepFolder, wandb: dict[str, Any] | None) -> None:
    results = write_results(sweep)
    boards = make_boards(results, "validation/accuracy", ["model", "seed"], [sweep])
    write_leaderboard(sweep, boards)
    sweep.report.write_text("<html>the page</html>", encoding="utf-8")
    log_summary(sweep, results, boards, wandb)


LOGGER = {"wandb": {"project": "sounds", "mode": "auto", "group": None, "name": None}}


def test_the_summary_has_the_leaderboard_the_results_and_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = sweep_with(tmp_path / "first", LOGGER)
    (next(sweep.folders())[0].path / "wandb/offline-run-1").mkdir(parents=True)
    conclude(sweep, LOGGER["wandb"])
    assert f"wandb sync {sweep.trials}/*/wandb/offline-run-*" in capsys.readouterr().out
    (written,) = written_runs(sweep.path)
    described = (written.run.project, written.run.run_group, written.run.job_type, written.run.display_name)
    assert described == ("sounds", "first", "sweep", "summary")
    assert written.summary["leaderboard"]["nrows"] == 2
    assert written.summary["results"]["nrows"] == 5
    assert written.summary["report"]["_type"] == "html-file"
    assert written.summary["best/validation/accuracy"] == pytest.approx(0.9)
    assert written.summary["expected/test/accuracy"] == pytest.approx(0.75)
    assert written.summary["best"] == "resnet"
    assert (written.summary["trials/done"], written.summary["trials/failed"]) == (4, 1)
    assert written.config["axes"] == ["model", "seed"]
    assert written.exit_code == 0


def test_without_wandb_runs_there_is_no_summary_run(tmp_path: Path) -> None:
    sweep = sweep_with(tmp_path / "first", LOGGER)  # files do not count, command-line overrides do
    conclude(sweep, None)
    assert not (sweep.path / "wandb").exists()


def test_an_error_of_the_summary_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conclude(sweep_with(tmp_path / "first", LOGGER), {"project": "a/b"})
    assert "W&B: the summary run could not be logged: logger.wandb: Invalid project name" in capsys.readouterr().out


def planned(*lines: str, **choices: Any) -> Planned:
    overrides = ["data=demo", *(f"{key}={value}" for key, value in choices.items()), *lines]
    groups = {"model": str(choices["model"])}
    return Planned(
        Combination(overrides, choices), compose(overrides), groups, Preflight(content="sounds", division="1")
    )


def test_runs_are_named_by_choices_in_the_group_of_the_sweep(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "first")
    alone = planned("logger=csv", model="cnn", seed=1).hash
    logged = planned("logger=wandb", model="cnn", seed=1)
    mine = planned("logger=wandb", "logger.wandb.group=mine", "logger.wandb.name=best", model="cnn", seed=2)
    assert logged.hash == alone, "loggers change no result"
    first, second = enter(sweep, [logged, mine], reuse=False)
    node = first.read_config().logger.wandb
    assert (node.group, node.job_type, node.name) == ("first", "trial", "cnn seed=1")
    node = second.read_config().logger.wandb
    assert (node.group, node.job_type, node.name) == ("mine", "trial", "best")
    before = first.config.stat().st_mtime_ns
    enter(sweep, [planned("logger=wandb", model="cnn", seed=1)], reuse=False)
    assert first.config.stat().st_mtime_ns == before, "the same trial again is the same run"
