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
    """A sweep folder and the comparison of its finished trials; in a notebook, it is displayed as the leaderboard.

    Args:
        folder: the sweep folder.
        trust: modules of the user's own whose classes the checkpoints may name.

    Raises:
        ConfigError: the folder contains no sweep.

    Example:
        >>> import audio_lightning as al
        >>> sweep = al.Sweep("sweeps/first")  # doctest: +SKIP
        >>> sweep.leaderboard[["name", "n", "test/accuracy mean"]]  # doctest: +SKIP
        >>> sweep.best.metrics["test/accuracy"]  # doctest: +SKIP
        >>> classifier = sweep.refit().classifier  # doctest: +SKIP
    """

    def __init__(self, folder: PathLike, *, trust: Trust = None) -> None:
        from audio_lightning.compare.trials import SweepFolder

        self.folder = Path(folder).expanduser()
        self._files, self._trust = SweepFolder(self.folder), trust
        self._files.read_facts()

    @property
    def results(self) -> pd.DataFrame:
        """Table with one row per trial: choices, metrics and configuration keys."""
        from audio_lightning.compare.trial_table import read_results

        return read_results([self._files])

    @property
    def leaderboard(self) -> pd.DataFrame:
        """Table with one row per setup, the best first; see :func:`leaderboard`."""
        return leaderboard(self.folder)

    @property
    def page(self) -> Path:
        """Path of ``report.html``, the self-contained page of the sweep."""
        return self._files.report

    @property
    def best(self) -> Run:
        """The first trial of the setup with the best validation metric.

        Raises:
            ConfigError: no trial is finished.
        """
        results = self.results
        boards = _boards(self.folder)
        trial = next(board for board in boards if board.rows).rows[0].trials[0]
        return Run(self.folder / results["folder"].iloc[trial], trust=self._trust)

    def refit(self, *, everything: bool | None = None, teacher: PathLike | None = None) -> Run:
        """Train the best setup once more, on training and validation clips, and write a model card.

        Args:
            everything: also train on the test clips; None does so if every fold was tested in turn.
            teacher: folder of a run or a fit, or checkpoint, whose probabilities become a part of the targets.

        Raises:
            ConfigError: no trial is finished, or the trials are on several data sets.
        """
        from audio_lightning.sweeps.refit import refit

        with interruptible():
            taught = None if teacher is None else str(teacher)
            done = refit(self._files, everything=everything, teacher=taught, trust=self._trust)
            return Run(done.folder.path, trust=self._trust)

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
    """Train every combination of the given values, each in a process of its own, and compare them.

    A repeated call runs unfinished trials only.

    Args:
        *overrides: overrides of ``sweep.py``, such as ``"model=cnn,lstm"`` and ``"sweep.workers=2"``.
        folder: the sweep folder; None for one below ``sweeps``.
        config_dir: see :func:`compose`.

    Raises:
        ConfigError: an invalid override.
        UserError: no trial is finished.
        Interrupted: the sweep was interrupted by a signal.

    Example:
        >>> import audio_lightning as al
        >>> sweep = al.sweep("data=demo", "model=cnn,lstm", "seed=0,1", folder="sweeps/first")  # doctest: +SKIP
        >>> sweep.leaderboard  # doctest: +SKIP
    """
    from audio_lightning.config import user_extensions
    from audio_lightning.config.trust import trusted_modules
    from audio_lightning.sweeps.sweep import parse_sweep_args, plan_sweep, run_sweep

    arguments = [*overrides, *([f"sweep.dir={Path(folder).expanduser()}"] if folder is not None else [])]
    with user_extensions(arguments, config_dir):
        request = parse_sweep_args(arguments, config_dir)
        if request.settings.dry_run:
            raise ConfigError(
                "sweep.dry_run=true: not supported by al.sweep(), as no trial runs; use `python sweep.py`"
            )
        result = run_sweep(request, plan_sweep(request))
        if result.exit_code >= 128:
            raise Interrupted(result.exit_code)
        if result.exit_code and "done" not in result.states:
            raise UserError(f"{request.folder.path}: no trial is finished; see error.txt in the trials' folders")
        return Sweep(request.folder.path, trust=trusted_modules())


def leaderboard(*sweeps: PathLike, monitor: str | None = None) -> pd.DataFrame:
    """Compare the setups of one or several sweeps, ordered by the validation metric, the best first.

    Args:
        *sweeps: sweep folders.
        monitor: validation metric to order by; None for the monitor of the sweeps.

    Returns:
        One row per setup: ``name``, number of repetitions ``n``, ``mean``, ``std``, ``low`` and ``high`` of the
        metrics, costs, and the paired test against the first row. ``expected <metric> mean``, ``low`` and ``high`` of
        the first row estimate the metric of the selected setup. They come from nested selection if every clip is
        validated on and tested in turn; the test metrics of single rows are then descriptive. Data sets that cannot be
        compared have boards of their own, numbered from 1 in the column ``board``. ``frame.attrs["notes"]`` is a list
        of sentences on leaking splits, the meaning of the intervals, left out rows and limits of the tests.

    Raises:
        ConfigError: no sweep, a sweep without finished trials, or sweeps with different monitors.

    Example:
        >>> import audio_lightning as al
        >>> board = al.leaderboard("sweeps/first", "sweeps/second")  # doctest: +SKIP
        >>> board[["name", "test/accuracy mean", "test/accuracy low", "test/accuracy high"]]  # doctest: +SKIP
        >>> board.attrs["notes"]  # doctest: +SKIP
    """
    from audio_lightning.compare.leaderboard import leaderboard_record

    boards = _boards(*sweeps, monitor=monitor)
    numbered = list(enumerate(boards, 1))
    frame = pd.DataFrame(
        [{"board": number, **leaderboard_record(board, row)} for number, board in numbered for row in board.rows]
    )
    if len(boards) == 1:
        frame = frame.drop(columns="board")
    notes = [(number, note) for number, board in numbered for note in _notes(board)]
    frame.attrs["notes"] = [f"Board {number}: {note}" if len(boards) > 1 else note for number, note in notes]
    return frame


def _notes(board: "Board") -> list[str]:
    """Stamps, the verdict, the meaning of the intervals and the notes of a board, as sentences."""
    from audio_lightning.compare.notes import conclusions

    interval = [f"Intervals: {board.interval}."] if board.rows else []
    return [*board.stamps, *conclusions(board), *interval, *board.notes]


def _boards(*sweeps: PathLike, monitor: str | None = None) -> "list[Board]":
    from audio_lightning.compare.leaderboard import boards_of
    from audio_lightning.compare.trial_table import read_results
    from audio_lightning.compare.trials import SweepFolder

    folders = [SweepFolder(Path(folder).expanduser()) for folder in sweeps]
    boards = boards_of(read_results(folders), folders, monitor)
    if not any(board.rows for board in boards):
        raise ConfigError(f"{', '.join(map(str, sweeps))}: no trial is finished yet; repeat the command of the sweep")
    return boards
