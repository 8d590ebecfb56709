"""Sweeps and their leaderboards."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from audio_lightning.api.training import PathLike, Run, Trust, interruptible
from audio_lightning.core.errors import ConfigError, Interrupted, UserError

if TYPE_CHECKING:
    from audio_lightning.compare.board import Board


class Sweep:
    """A sweep and the comparison of its finished trials; a notebook shows the leaderboard.

    Args:
        folder: of the sweep.
        trust: modules of the user's own whose classes its checkpoints may name.

    Raises:
        ConfigError: the folder holds no sweep.
    """

    def __init__(self, folder: PathLike, *, trust: Trust = None) -> None:
        from audio_lightning.compare.trials import SweepFolder

        self.folder = Path(folder).expanduser()
        self._files, self._trust = SweepFolder(self.folder), trust
        self._files.read_facts()

    @property
    def results(self) -> pd.DataFrame:
        """One row a trial, with every choice, metric and key of its configuration."""
        from audio_lightning.compare.trial_table import read_results

        return read_results([self._files])

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row a setup, the best first; see :func:`leaderboard`."""
        return leaderboard(self.folder)

    @property
    def page(self) -> Path:
        """The page to look at in a browser and to send to others."""
        return self._files.report

    @property
    def best(self) -> Run:
        """The first trial of the setup that leads the leaderboard, by the validation metric.

        Raises:
            ConfigError: no trial is finished.
        """
        results = self.results
        boards = _boards(self.folder)
        trial = next(board for board in boards if board.rows).rows[0].trials[0]
        return Run(self.folder / results["folder"].iloc[trial], trust=self._trust)

    def refit(self, *, everything: bool | None = None) -> Run:
        """Train the best setup once more, on training and validation clips, and write a card of what to expect.

        Args:
            everything: train on the test part, too; by default where every fold was tested in turn.

        Raises:
            ConfigError: no trial is finished, or the trials are on several data sets.
        """
        from audio_lightning.sweeps.refit import refit

        with interruptible():
            return Run(refit(self._files, everything=everything, trust=self._trust).folder.path, trust=self._trust)

    def __repr__(self) -> str:
        return f"Sweep({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        board = self.leaderboard
        means = (name for name in map(str, board) if name.endswith(" mean"))
        names = ["name", "n", *means, "parameters", "macs", "verdict"]
        table = board[names].to_html(border=0, index=False)
        notes = "".join(f"<li>{escape(note)}</li>" for note in board.attrs["notes"])
        return f"<p>{escape(str(self.folder))}</p>{table}<ul>{notes}</ul>"


def sweep(*overrides: str, folder: PathLike | None = None, config_dir: PathLike | None = None) -> Sweep:
    """Train every combination, each in a process of its own, and compare them.

    The same call again finishes what is missing and repeats nothing.

    Args:
        *overrides: as ``sweep.py`` takes them: ``"model=cnn,lstm"``, ``"sweep.workers=2"``.
        folder: of the sweep; by default one below ``sweeps``.
        config_dir: see :func:`audio_lightning.api.training.compose`.

    Raises:
        ConfigError: a mistake in what was asked for.
        UserError: no trial is finished.
        Interrupted: the sweep was told to stop.
    """
    from audio_lightning.config import user_extensions
    from audio_lightning.config.trust import trusted_modules
    from audio_lightning.sweeps.sweep import parse_sweep_args, plan_sweep, run_sweep

    arguments = [*overrides, *([f"sweep.dir={Path(folder).expanduser()}"] if folder is not None else [])]
    with user_extensions(arguments, config_dir):
        request = parse_sweep_args(arguments, config_dir)
        if request.settings.dry_run:
            raise ConfigError("sweep.dry_run=true leaves nothing to return: it is for `python sweep.py`")
        result = run_sweep(request, plan_sweep(request))
        if result.exit_code >= 128:
            raise Interrupted(result.exit_code)
        if result.exit_code and "done" not in result.states:
            raise UserError(f"{request.folder.path}: no trial is finished; their folders say why, in error.txt")
        return Sweep(request.folder.path, trust=trusted_modules())


def leaderboard(*sweeps: PathLike, monitor: str | None = None) -> pd.DataFrame:
    """The setups of one or several sweeps, the best by its validation metric first.

    Args:
        *sweeps: their folders.
        monitor: validation metric to order by; by default that of the sweeps.

    Returns:
        One row a setup: ``name``, ``n`` repetitions, ``mean``, ``std``, ``low`` and ``high`` of the metrics, costs, and
        the paired test against the first row. ``expected <metric> mean``, ``low`` and ``high`` of the first row are the
        figure to expect of that choice, by nested selection where clips are validated on and tested in turn; the test
        figures of single rows are descriptive then. Data sets that cannot be compared follow one another in ``board``,
        counted from 1. ``frame.attrs["notes"]`` has what is said beside the figures, a list of sentences: leaking
        splits, what the intervals are, rows that were left out, and what the tests cannot tell.

    Raises:
        ConfigError: no sweep, one without finished trials, or several that chose by different metrics.
    """
    from audio_lightning.compare.leaderboard import leaderboard_record

    boards = _boards(*sweeps, monitor=monitor)
    numbered = list(enumerate(boards, 1))
    frame = pd.DataFrame(
        [{"board": number, **leaderboard_record(board, row)} for number, board in numbered for row in board.rows]
    )
    if len(boards) == 1:
        frame = frame.drop(columns="board")
    said = [(number, note) for number, board in numbered for note in _said(board)]
    frame.attrs["notes"] = [f"Board {number}: {note}" if len(boards) > 1 else note for number, note in said]
    return frame


def _said(board: "Board") -> list[str]:
    """Everything that stands beside the figures of a board."""
    from audio_lightning.compare.notes import answer

    interval = [f"Intervals: {board.interval}."] if board.rows else []
    return [*board.stamps, *answer(board), *interval, *board.notes]


def _boards(*sweeps: PathLike, monitor: str | None = None) -> "list[Board]":
    from audio_lightning.compare.leaderboard import boards_of
    from audio_lightning.compare.trial_table import read_results
    from audio_lightning.compare.trials import SweepFolder

    folders = [SweepFolder(Path(folder).expanduser()) for folder in sweeps]
    boards = boards_of(read_results(folders), folders, monitor)
    if not any(board.rows for board in boards):
        raise ConfigError(f"{', '.join(map(str, sweeps))}: no trial is finished yet, so there is nothing to compare")
    return boards
