"""Refit of the best setup of a sweep on more of the recordings, which gives the checkpoint to use."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf, open_dict

from audio_lightning.classifier.distillation import distillation
from audio_lightning.compare.board import Board, Row
from audio_lightning.compare.leaderboard import boards_of
from audio_lightning.compare.statistics import Spread
from audio_lightning.compare.trial_table import read_results
from audio_lightning.compare.trials import SweepFolder, TrialFolder
from audio_lightning.config import absolutize_paths, as_plain, check_config, compose, trusting
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
    """Planned training of the best setup.

    Attributes:
        row: its row of the leaderboard.
        config: configuration of the training.
        folder: its run folder.
        everything: whether the test clips are used for training, too.
        teacher: teacher of this training that those of the sweep did not have; None without one.
    """

    row: Row
    config: DictConfig
    folder: RunFolder
    everything: bool
    teacher: str | None = None


def refit(
    sweep: SweepFolder,
    *,
    everything: bool | None = None,
    teacher: str | None = None,
    trust: str | Iterable[str] | None = None,
) -> Refit:
    """Train the best setup of a sweep on more recordings, and write its card; the same call resumes it.

    Args:
        sweep: sweep folder.
        everything: see :func:`plan_refit`.
        teacher: see :func:`plan_refit`.
        trust: modules that the configuration may name, in addition to the package and its libraries; None: none.

    Raises:
        ConfigError: see :func:`plan_refit`.
    """
    results = read_results([sweep])
    boards = [board for board in boards_of(results, [sweep]) if board.rows]
    planned = plan_refit(sweep, results, boards, everything=everything, teacher=teacher)
    best = f"{boards[0].monitor} {planned.row.validation.mean:.4f}"
    print(f"{planned.row.name}: {best}, the best of {len(boards[0].rows)}")
    typed = trust if trust is None or isinstance(trust, str) else list(trust)
    # Never the modules named in the sweep's files.
    OmegaConf.update(planned.config, "trusted_modules", typed, force_add=True)
    with trusting(typed):
        check_config(planned.config)
        metrics = train_in(planned.folder, planned.config, then=write_model_card)
    print(f"card: {write_card(planned, boards[0], metrics)}")
    return planned


def plan_refit(
    sweep: SweepFolder,
    results: pd.DataFrame,
    boards: list[Board],
    *,
    everything: bool | None,
    teacher: str | None = None,
) -> Refit:
    """Plan the refit: the best setup of a sweep, trained for its median best number of epochs.

    Args:
        sweep: sweep folder.
        results: results of its trials.
        boards: its leaderboards.
        everything: train on the test clips, too. None: only if there is no fixed test set, because setups were tested
            on several folds or not at all.
        teacher: run, fit, checkpoint or artifact whose probabilities become a part of the targets; its weight is that
            of the sweep, or the default. None: the teacher of the sweep, if there is one.

    Raises:
        ConfigError: there is no finished trial, or the trials are on several data sets.
    """
    if not boards:
        raise ConfigError(f"{sweep.path}: no trial is finished; give the sweep's command again")
    if len(boards) > 1:
        raise ConfigError(
            f"{sweep.path}: the trials are on {len(boards)} data sets, each with its own best setup; "
            "run one sweep per data set"
        )
    board = boards[0]
    row = board.rows[0]
    trials = results.iloc[row.trials]
    config = TrialFolder(sweep.path / trials["folder"].iloc[0]).read_config(complete=True)
    if everything is None:
        everything = row.test is None or board.unit == "folds"
    name = ("refit" if everything else "refit-tested") + ("" if teacher is None else "-distilled")
    folder = RunFolder(sweep.path / name)
    check_reach(config, ["callbacks", "trainer"], folder.path)
    for key, value in outside(config, "logger", folder.path):  # the folder may be from another person
        print(f"{key}={value} of the sweep is not used: a refit logs into its folder", file=sys.stderr)
        config.logger[key.split(".")[1]] = None
    with open_dict(config):
        if teacher is not None:
            config.distill = {**compose([]).distill, **config.get("distill", {}), "teacher": teacher}
            absolutize_paths(config)
        if everything:
            config.data.split, config.data.validation_fraction = "train_only", 0.0
            config.data.folds = config.data.test_fold = config.data.validation_fold = None
        else:
            config.data.train_on_validation = True
        _without_validation(config, trials)
    taught = "" if teacher is None else f", with the teacher {teacher}"
    if folder.config.is_file() and canonical_config(as_plain(folder.read_config())) != canonical_config(
        as_plain(config)
    ):
        raise ConfigError(
            f"{folder.path}: holds a refit of another setup, but the best is now {row.name}{taught}; move the folder "
            "away"
        )
    return Refit(row, config, folder, everything, teacher)


def write_card(refit: Refit, board: Board, metrics: dict[str, Any]) -> Path:
    """Write ``card.md``: a description of the classifier and its expected metrics."""
    data, row = refit.config.data, refit.row
    clips = int(metrics["num_clips/train"])
    lines = [
        f"# {row.name}",
        "",
        f"A classifier of {data.clip_seconds:g} s clips at {data.sample_rate:,} Hz, trained on {clips:,} of them "
        f"({'all clips' if refit.everything else 'the training and validation clips'}), "
        f"{metrics['epochs']} epochs, seed {metrics['seed']}, {metrics['parameters']:,} parameters.",
        *_taught(refit),
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
        lines += ["", f"This classifier on the {clips:,} test clips: {figures}."]
    undecided = [board.no_winner] if board.no_winner else []
    sentences = (*board.stamps, *undecided, f"Interval: {board.interval}.", *board.notes)
    lines += ["", *(f"- {sentence}" for sentence in sentences)]
    command = f"audio-lightning predict {refit.folder.path} RECORDINGS..."
    lines += ["", "## How to use it", "", "```", command, "```", ""]
    card = refit.folder.path / "card.md"
    write_text(card, "\n".join(lines))
    return card


def _taught(refit: Refit) -> list[str]:
    """Return lines about the teacher of the classifier; empty without one."""
    settings = distillation(as_plain(refit.config))
    if settings is None:
        return []
    return ["", f"The probabilities of {settings.name} are {settings.weight:g} of every target (distillation)."]


def _expected(refit: Refit, board: Board) -> str:
    row, found = refit.row, board.expected
    shown = found.test if found else row.test or row.validation
    metric = board.metric if row.test else board.monitor
    recording = found.recording if found else row.recording
    whole = f", {_name(_of_recordings(metric))} {_figure(recording)}" if recording else ""
    times = {
        "folds": "folds, each tested in turn",
        "splits": "splits of the data",
        "seeds": "seeds on the same clips",
    }
    over = f"the mean of {row.n} {times[board.unit]}" if row.n > 1 else "of one training"
    if found and found.nested:
        over += f", of the setup that is best on the validation clips of each ({_name(metric)} by nested selection)"
    chosen = ", by which the setup was chosen, so that it is optimistic" if metric == board.monitor else ""
    origin = (
        "were chosen in the same way and trained on fewer clips. On similar recordings, this classifier should be as "
        "good or better; on others it may be worse."
    )
    if refit.teacher is not None:
        origin = (
            "were trained without this teacher, so it is no estimate for this classifier. `audio-lightning evaluate` "
            "tests this classifier and its teacher on recordings that neither was trained on."
        )
    figures = f"{_name(metric).capitalize()} {_figure(shown)}{whole}, {over}{chosen}."
    return f"{figures} It was measured on classifiers that {origin}"


def _figure(found: Spread) -> str:
    interval = f" (95 % interval {found.low:.3f} to {found.high:.3f})" if found.low is not None else ""
    return f"{found.mean:.3f}{interval}"


def _name(metric: str) -> str:
    return metric.partition("/")[2].replace("_", " ")


def _of_recordings(metric: str) -> str:
    """Return the name of a metric for whole recordings."""
    return metric if "/recording_" in metric else metric.replace("/", "/recording_")


def _without_validation(config: DictConfig, trials: pd.DataFrame) -> None:
    """Set a fixed number of epochs, because no validation clips are left to choose an epoch."""
    stopped = any(str(node._target_).endswith(".EarlyStopping") for node in config.callbacks.values() if node)
    if stopped or not is_annealed(config):
        config.trainer.max_epochs = max(1, round(float(trials["best_epoch"].astype(float).median())))
    for name, node in config.callbacks.items():
        if node is not None and str(node._target_).endswith(".EarlyStopping"):
            config.callbacks[name] = None
    if "monitor" in config.scheduler:  # wait for a plateau of the training loss
        config.scheduler.monitor = "train/loss"
