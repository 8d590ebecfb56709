"""The winner of a sweep, trained once more on more of the recordings: the checkpoint to use."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf, open_dict

from audio_lightning.compare.board import Board, Row
from audio_lightning.compare.leaderboard import boards_of
from audio_lightning.compare.statistics import Spread
from audio_lightning.compare.trial_table import read_results
from audio_lightning.compare.trials import SweepFolder, TrialFolder
from audio_lightning.config import as_plain, check_config, trusting
from audio_lightning.config.saved import check_reach, outside
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import write_text
from audio_lightning.report.model_card import write_model_card
from audio_lightning.run_folder import RunFolder
from audio_lightning.sweeps.epochs import is_annealed
from audio_lightning.sweeps.identity import canonical_config
from audio_lightning.training.start import train_in


@dataclass(frozen=True)
class Refit:
    """A training of the setup that was chosen by its validation metric; ``everything``: on the test part, too."""

    row: Row
    config: DictConfig
    folder: RunFolder
    everything: bool


def refit(sweep: SweepFolder, *, everything: bool | None = None, trust: str | Iterable[str] | None = None) -> Refit:
    """Train the best setup of a sweep once more, and write its card; the same call resumes what is there.

    Raises:
        ConfigError: see :func:`plan_refit`.
    """
    results = read_results([sweep])
    boards = [board for board in boards_of(results, [sweep]) if board.rows]
    planned = plan_refit(sweep, results, boards, everything=everything)
    best = f"{boards[0].monitor} {planned.row.validation.mean:.4f}"
    print(f"{planned.row.name}: {best}, the best of {len(boards[0].rows)}")
    typed = trust if trust is None or isinstance(trust, str) else list(trust)
    OmegaConf.update(planned.config, "trusted_modules", typed, force_add=True)  # not what the sweep's files say
    with trusting(typed):
        check_config(planned.config)
        metrics = train_in(planned.folder, planned.config, then=write_model_card)
    print(f"card: {write_card(planned, boards[0], metrics)}")
    return planned


def plan_refit(sweep: SweepFolder, results: pd.DataFrame, boards: list[Board], *, everything: bool | None) -> Refit:
    """Choose what to train: the best setup of a sweep, for as many epochs as served it best.

    With ``everything`` the test part trains, too; None: where the setups were tested on several folds, since no part of
    the data is the test part then.

    Raises:
        ConfigError: nothing to choose from, or trials on several data sets.
    """
    if not boards:
        raise ConfigError(f"{sweep.path}: no trial is done, so there is nothing to choose")
    if len(boards) > 1:
        raise ConfigError(f"{sweep.path} holds trials on {len(boards)} data sets, each with a best setup of its own")
    board = boards[0]
    row = board.rows[0]
    trials = results.iloc[row.trials]
    config = TrialFolder(sweep.path / trials["folder"].iloc[0]).read_config(complete=True)
    if everything is None:
        everything = row.test is None or board.unit == "folds"
    folder = RunFolder(sweep.path / ("refit" if everything else "refit-tested"))
    check_reach(config, ["callbacks", "trainer"], folder.path)
    for key, value in outside(config, "logger", folder.path):  # the folder may be of somebody else
        print(f"{key}={value} of the sweep is not used: a refit logs into its folder", file=sys.stderr)
        config.logger[key.split(".")[1]] = None
    with open_dict(config):
        if everything:
            config.data.split, config.data.validation_fraction = "train_only", 0.0
            config.data.folds = config.data.test_fold = config.data.validation_fold = None
        else:
            config.data.train_on_validation = True
        _without_validation(config, trials)
    if folder.config.is_file() and canonical_config(as_plain(folder.read_config())) != canonical_config(
        as_plain(config)
    ):
        raise ConfigError(f"{folder.path} holds a refit of another setup, and the best is {row.name} now: move it away")
    return Refit(row, config, folder, everything)


def write_card(refit: Refit, board: Board, metrics: dict[str, Any]) -> Path:
    """``card.md``: what the classifier is, and what to expect of it."""
    data, row = refit.config.data, refit.row
    clips = int(metrics["num_clips/train"])
    lines = [
        f"# {row.name}",
        "",
        f"A classifier of {data.clip_seconds:g} s clips at {data.sample_rate:,} Hz, trained on {clips:,} of them "
        f"({'all there are' if refit.everything else 'the training and validation parts'}), "
        f"{metrics['epochs']} epochs, seed {metrics['seed']}, {metrics['parameters']:,} parameters.",
        "",
        "## What to expect",
        "",
        _expected(refit, board),
    ]
    clipwise = board.metric.replace("/recording_", "/")
    if not refit.everything and clipwise in metrics:
        shown = [name for name in (clipwise, _of_recordings(clipwise)) if name in metrics]
        figures = ", ".join(f"{_name(name)} {metrics[name]:.3f}" for name in shown)
        clips = int(metrics["num_clips/test"])
        lines += ["", f"This very classifier, on the {clips:,} clips of the test part: {figures}."]
    undecided = [board.no_winner] if board.no_winner else []
    said = (*board.stamps, *undecided, f"Interval: {board.interval}.", *board.notes)
    lines += ["", *(f"- {sentence}" for sentence in said)]
    command = f"audio-lightning predict {refit.folder.path} RECORDINGS..."
    lines += ["", "## How to use it", "", "```", command, "```", ""]
    card = refit.folder.path / "card.md"
    write_text(card, "\n".join(lines))
    return card


def _expected(refit: Refit, board: Board) -> str:
    row, found = refit.row, board.expected
    shown = found.test if found else row.test or row.validation
    metric = board.metric if row.test else board.monitor
    recording = found.recording if found else row.recording
    whole = f", {_name(_of_recordings(metric))} {_figure(recording)}" if recording else ""
    times = {
        "folds": "folds, each tested in turn",
        "splits": "divisions of the data",
        "seeds": "seeds on the same clips",
    }
    over = f"the mean of {row.n} {times[board.unit]}" if row.n > 1 else "of one training"
    if found and found.nested:
        over += f", of the setup that is best on the validation of each of them ({_name(metric)} by nested selection)"
    chosen = ", on which the setup was chosen, so that it is too good" if metric == board.monitor else ""
    return (
        f"{_name(metric).capitalize()} {_figure(shown)}{whole}, {over}{chosen}. It was measured on classifiers that "
        "were chosen alike and trained on fewer clips, so this one should do as well or better on recordings like "
        "these, and may do worse on others."
    )


def _figure(found: Spread) -> str:
    interval = f" (95 % interval {found.low:.3f} to {found.high:.3f})" if found.low is not None else ""
    return f"{found.mean:.3f}{interval}"


def _name(metric: str) -> str:
    return metric.partition("/")[2].replace("_", " ")


def _of_recordings(metric: str) -> str:
    """The name of a metric for whole recordings, where these are cut into windows."""
    return metric if "/recording_" in metric else metric.replace("/", "/recording_")


def _without_validation(config: DictConfig, trials: pd.DataFrame) -> None:
    """Train for a fixed time: there are no clips left to choose an epoch by."""
    stopped = any(str(node._target_).endswith(".EarlyStopping") for node in config.callbacks.values() if node)
    if stopped or not is_annealed(config):
        config.trainer.max_epochs = max(1, round(float(trials["best_epoch"].astype(float).median())))
    for name, node in config.callbacks.items():
        if node is not None and str(node._target_).endswith(".EarlyStopping"):
            config.callbacks[name] = None
    if "monitor" in config.scheduler:  # a plateau of the training's own loss
        config.scheduler.monitor = "train/loss"
