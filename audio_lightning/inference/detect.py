"""Events in recordings of any length, and in many recordings side by side."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audio_lightning.audio import find_recordings
from audio_lightning.classifier.base import Classifier
from audio_lightning.core.errors import AudioError, ConfigError
from audio_lightning.core.files import written_whole
from audio_lightning.inference.event_tables import COLUMNS, ENDINGS, EventTable, Format, event_table
from audio_lightning.inference.events import Event, EventFinder, EventSettings
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.predict import predict
from audio_lightning.inference.windows import BATCH_SIZE, window_and_hop

HOPS_A_WINDOW = 4
"""Hops in a window, unless a hop is given."""


@dataclass(frozen=True)
class DetectionPlan:
    """What is detected, and in which windows.

    Attributes:
        events: what makes an event.
        window_seconds: length of a window; None: a clip of the training.
        hop_seconds: from the start of a window to the start of the next; None: a quarter of a window.
        batch_size: windows that are predicted at once.
    """

    events: EventSettings
    window_seconds: float | None = None
    hop_seconds: float | None = None
    batch_size: int = BATCH_SIZE

    def resolved(self, classifier: Classifier) -> "DetectionPlan":
        """The plan with the window and the hop of a classifier.

        Raises:
            ConfigError: a window, a hop or a duration that cannot be used.
        """
        for name, seconds in {
            "--merge-gap": self.events.merge_gap_seconds,
            "--min-duration": self.events.min_duration_seconds,
        }.items():
            if not 0 <= seconds < float("inf"):
                raise ConfigError(f"{name} {seconds:g}: expected 0 or more seconds")
        window = classifier.task.clip_seconds if self.window_seconds is None else self.window_seconds
        hop = window / HOPS_A_WINDOW if self.hop_seconds is None else self.hop_seconds
        window_and_hop(classifier.task, window, hop)
        return DetectionPlan(self.events, window, hop, self.batch_size)


@dataclass(frozen=True)
class Job:
    """A recording, and the file for its events; None: they are returned."""

    recording: Path
    output: Path | None = None


@dataclass(frozen=True)
class Processes:
    """Processes that work side by side.

    Attributes:
        number: how many.
        checkpoint: what each loads, see :func:`audio_lightning.inference.load.load_classifier`, as the next two.
        device: such as ``"cpu"``.
        trust: modules of the user's own.
    """

    number: int
    checkpoint: Path
    device: str = "cpu"
    trust: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What was found in a recording.

    Attributes:
        recording: as it was named or found.
        events: all of them, also where they were written to a file.
        seconds: length of the recording, up to the end of the last window.
        error: why it could not be read to its end; then nothing was written to a file of its own.
    """

    recording: Path
    events: list[Event] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None


def detect(classifier: Classifier, recording: Path, plan: DetectionPlan, found: Callable[[Event], object]) -> float:
    """Detect the events of a recording, in memory that does not depend on its length.

    Args:
        classifier: in evaluation mode.
        recording: the file.
        plan: see :class:`DetectionPlan`.
        found: called with every event as soon as it has ended.

    Returns:
        Where the last window ends, in seconds: the length of the recording, but for what the windows leave out.

    Raises:
        AudioError: it cannot be read to its end; the events before the damage were found.
        ConfigError: see :meth:`DetectionPlan.resolved`.
    """
    plan, task, seconds = plan.resolved(classifier), classifier.task, 0.0
    window, hop = window_and_hop(task, plan.window_seconds, plan.hop_seconds)
    finder = EventFinder(task.classes, sample_rate=task.sample_rate, window=window, hop=hop, settings=plan.events)
    options: dict[str, Any] = {"window_seconds": plan.window_seconds, "hop_seconds": plan.hop_seconds}
    for answer in predict(classifier, [recording], batch_size=plan.batch_size, **options):
        if answer.probabilities is None or answer.stop_seconds is None:
            raise AudioError(answer.error)
        seconds = answer.stop_seconds
        for event in finder.add(answer.probabilities, seconds):
            found(event)
    for event in finder.finish():
        found(event)
    return seconds


def detect_all(
    classifier: Classifier,
    jobs: Iterable[Job],
    plan: DetectionPlan,
    kind: Format = "csv",
    *,
    table: EventTable | None = None,
    processes: Processes | None = None,
) -> Iterator[Outcome]:
    """Detect the events of recordings, in order.

    Args:
        classifier: in evaluation mode.
        jobs: recordings, and files for their events.
        plan: see :class:`DetectionPlan`.
        kind: format of the files.
        table: for the events that have no file: each is written when it has ended, or when its recording is finished
            where several processes work.
        processes: that work side by side, each with its own copy of the classifier; None: this process works.

    Raises:
        ConfigError: see :meth:`DetectionPlan.resolved`; or a process was killed.
    """
    if processes is None:
        yield from (_detect_in(classifier, job, plan, kind, table) for job in jobs)
        return
    from joblib import Parallel, delayed  # type: ignore[import-untyped]
    from joblib.externals.loky.process_executor import TerminatedWorkerError  # type: ignore[import-untyped]

    work = delayed(functools.partial(_work, processes, plan, kind))
    try:
        for outcome in Parallel(processes.number, return_as="generator")(map(work, jobs)):
            if table is not None:
                table.begin(outcome.recording)
                for event in outcome.events:
                    table.write(event)
            yield outcome
    except TerminatedWorkerError as error:
        raise ConfigError(
            f"--workers {processes.number}: a process was killed, as happens where memory is short; give fewer"
        ) from error


def _detect_in(
    classifier: Classifier, job: Job, plan: DetectionPlan, kind: Format, table: EventTable | None = None
) -> Outcome:
    """Detect the events of a recording. A file of its own is there when all of it is, and not before."""
    events = list[Event]()

    def detect_into(target: EventTable | None) -> float:
        if target is None:
            return detect(classifier, job.recording, plan, events.append)
        target.begin(job.recording)

        def write(event: Event) -> None:
            target.write(event)
            events.append(event)

        return detect(classifier, job.recording, plan, write)

    try:
        if job.output is None:
            return Outcome(job.recording, events, detect_into(table))
        with written_whole(job.output) as partial, event_table(partial, kind) as own:
            seconds = detect_into(own)
        return Outcome(job.recording, events, seconds)
    except AudioError as error:
        return Outcome(job.recording, events, error=str(error))


def make_jobs(arguments: Iterable[Path], folder: Path | None = None, kind: Format = "csv") -> list[Job]:
    """The recordings that are named or lie below folders that are named, and the files for their events.

    Args:
        arguments: files and folders.
        folder: of the files, in which sub-folders are those of the recordings; None: no files.
        kind: format of the files.

    Raises:
        DataError: see :func:`audio_lightning.audio.find_recordings`.
        ConfigError: two recordings whose events would be written to one file.
    """
    places = {
        recording: recording.relative_to(argument) if argument.is_dir() else Path(recording.name)
        for argument in arguments
        for recording in find_recordings([argument])
    }
    if folder is None:
        return [Job(recording) for recording in places]
    alike = Counter(place.with_suffix("") for place in places.values())
    jobs: dict[Path, Job] = {}
    for recording, place in places.items():
        name = place.name if alike[place.with_suffix("")] > 1 else place.stem
        output = folder / place.parent / f"{name}{ENDINGS[kind]}"
        if output in jobs:
            raise ConfigError(
                f"the events of {jobs[output].recording} and of {recording} would both be written to {output}; "
                "name the folder above both"
            )
        jobs[output] = Job(recording, output)
    return list(jobs.values())


def to_frame(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """The events by recording and onset; a recording that could not be read has a row with its ``error``."""
    rows = list[tuple[object, ...]]()
    for outcome in outcomes:
        path = str(outcome.recording)
        for event in sorted(outcome.events, key=lambda event: event.start_seconds):
            rows.append((path, event.start_seconds, event.stop_seconds, event.label, event.confidence, None))
        if outcome.error is not None:
            rows.append((path, np.nan, np.nan, None, np.nan, outcome.error))
    table = pd.DataFrame(rows, columns=[*COLUMNS, "error"])
    return table.astype(dict.fromkeys(("start_seconds", "end_seconds", "confidence"), float))


def _work(processes: Processes, plan: DetectionPlan, kind: Format, job: Job) -> Outcome:
    return _detect_in(_loaded(processes.checkpoint, processes.device, processes.trust), job, plan, kind)


@functools.lru_cache(maxsize=1)
def _loaded(checkpoint: Path, device: str, trust: tuple[str, ...]) -> Classifier:
    """The classifier of this process."""
    return load_classifier(checkpoint, device, trust=trust)
