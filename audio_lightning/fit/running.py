"""A fit that is running: what was asked for, what was decided, and what is left of its time."""

from audio_lightning.compare.fit_summary import FitFolder
from audio_lightning.fit.budget import reserve
from audio_lightning.fit.clock import Clock
from audio_lightning.fit.request import FitRequest
from audio_lightning.fit.state import FitState
from audio_lightning.fit.trainings import Trainings


class RunningFit:
    """What all parts of a fit share.

    Args:
        request: what was asked for.
        clock: of the fit.

    Attributes:
        state: what was decided.
        files: of the fit.
        trainings: of its passes.
        budget: seconds.
    """

    def __init__(self, request: FitRequest, clock: Clock) -> None:
        self.request, self.clock = request, clock
        self.files = FitFolder(request.folder)
        self._file = request.folder / "state.json"
        self.state = FitState.read(self._file)
        self.trainings = Trainings(request, self.files.sweep, lambda: self.budget_left)
        self.budget = request.settings.budget_seconds

    @property
    def spent(self) -> float:
        """Seconds so far, since these recordings were found."""
        return self.clock.spent - self.state.begun

    @property
    def budget_left(self) -> float:
        """Seconds of the budget."""
        return max(0.0, self.budget - self.spent)

    @property
    def left(self) -> float:
        """Seconds of it that there are for trainings."""
        return self.budget - reserve(self.budget) - self.spent

    def save(self) -> None:
        """Keep what was decided."""
        self.state.write(self._file)

    def timed(self, what: str, started: float) -> None:
        """Note what a part has taken.

        Args:
            what: it is called.
            started: seconds spent when it began.
        """
        self.state.times[what] = round(self.state.times.get(what, 0.0) + self.spent - started, 1)
        self.save()
