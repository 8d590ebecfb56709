"""Running fit: its request, its decisions and its remaining time."""

from audio_lightning.compare.fit_summary import FitFolder
from audio_lightning.fit.budget import reserve
from audio_lightning.fit.clock import Clock
from audio_lightning.fit.request import FitRequest
from audio_lightning.fit.state import FitState
from audio_lightning.fit.trainings import Trainings
from audio_lightning.run_folder import FIT_STATE


class RunningFit:
    """Objects shared by all parts of a fit.

    Args:
        request: parsed command line.
        clock: clock of the fit.

    Attributes:
        state: decisions so far.
        files: files of the fit.
        trainings: trainings of its passes.
        budget: time budget in seconds.
    """

    def __init__(self, request: FitRequest, clock: Clock) -> None:
        self.request, self.clock = request, clock
        self.files = FitFolder(request.folder)
        self._file = request.folder / FIT_STATE
        self.state = FitState.read(self._file)
        self.trainings = Trainings(request, self.files.sweep, lambda: self.budget_left)
        self.budget = request.settings.budget_seconds

    @property
    def spent(self) -> float:
        """Seconds spent since the recordings last changed."""
        return self.clock.spent - self.state.begun

    @property
    def budget_left(self) -> float:
        """Remaining seconds of the budget."""
        return max(0.0, self.budget - self.spent)

    @property
    def left(self) -> float:
        """Remaining seconds for trainings."""
        return self.budget - reserve(self.budget) - self.spent

    def save(self) -> None:
        """Write the decisions to their file."""
        self.state.write(self._file)

    def timed(self, what: str, started: float) -> None:
        """Record the duration of a stage.

        Args:
            what: name of the stage.
            started: value of :attr:`spent` when it began.
        """
        self.state.times[what] = round(self.state.times.get(what, 0.0) + self.spent - started, 1)
        self.save()
