"""Sound event detection in recordings of any length, one after the other or in parallel processes."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audio_lightning.audio import find_recordings
from audio_lightning.classifier.base import Classifier
from audio_lightning.core.cores import cores
from audio_lightning.core.errors import AudioError, ConfigError
from audio_lightning.core.files import written_whole
from audio_lightning.core.parent import end_with_parent
from audio_lightning.core.utf8 import as_utf8
from audio_lightning.inference.event_tables import COLUMNS, ENDINGS, EventTable, Format, event_table
from audio_lightning.inference.events import Event, EventFinder, EventSettings
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.predict import predict
from audio_lightning.inference.windows import BATCH_SIZE, window_and_hop

RECORDINGS_A_PROCESS = 4
"""Default minimum of recordings per process; with fewer, starting a process takes longer than it saves."""

HOPS_A_WINDOW = 4
"""Default number of hops per window."""


@dataclass(frozen=True)
class DetectionPlan:
    """Settings of a detection: events and windows.

    Attributes:
        events: thresholds, smoothing and durations of events.
        window_seconds: window length in seconds; None for the clip length of the training.
        hop_seconds: seconds from the start of one window to the next; None for a quarter of a window.
        batch_size: windows in a batch.
    """

    events: EventSettings
    window_seconds: float | None = None
    hop_seconds: float | None = None
    batch_size: int = BATCH_SIZE

    def resolved(self, classifier: Classifier) -> "DetectionPlan":
        """Return the plan with the defaults of a classifier in place of None.

        Raises:
            ConfigError: an invalid window, hop or duration.
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
    """A recording, and the file for its events (None: no file of its own)."""

    recording: Path
    output: Path | None = None


@dataclass(frozen=True)
class Processes:
    """Settings of parallel worker processes.

    Attributes:
        number: number of processes.
        checkpoint: checkpoint that each process loads with :func:`audio_lightning.inference.load.load_classifier`.
        device: torch device, such as ``"cpu"``.
        trust: modules of the user's own whose classes the checkpoint may name.
    """

    number: int
    checkpoint: Path
    device: str = "cpu"
    trust: tuple[str, ...] = ()


def number_of_processes(typed: int | None, recordings: int, device: str = "cpu") -> tuple[int, str | None]:
    """Return the number of processes for a detection, and a note if it is smaller than typed.

    More processes than cores are never faster. Each process needs as much memory as this one, so call it when the
    classifier is loaded.

    Args:
        typed: number by the user; None chooses: one process for every :data:`RECORDINGS_A_PROCESS` on a CPU.
        recordings: number of recordings.
        device: torch device.
    """
    import psutil

    if typed is None and device != "cpu":
        return 1, None
    size = psutil.Process().memory_info().rss
    fitting = max(1, int(psutil.virtual_memory().available / size))
    wanted = recordings // RECORDINGS_A_PROCESS if typed is None else min(typed, max(1, recordings))
    number = max(1, min(wanted, cores(), fitting))
    if typed is None or number == wanted:
        return number, None
    why = (
        f"one for each of {cores()} cores"
        if number == cores()
        else f"each needs {size / 1e9:.1f} GB, and {psutil.virtual_memory().available / 1e9:.1f} GB are free"
    )
    return number, f"--workers {typed}: {number} process{'es' * (number != 1)} instead, {why}"


@dataclass(frozen=True)
class Outcome:
    """Detected events of a recording.

    Attributes:
        recording: path of the recording.
        events: all events, including events that were written to a file.
        seconds: length of the recording in seconds, up to the end of the last window.
        error: reason why it could not be read to its end; its own file is then not written.
    """

    recording: Path
    events: list[Event] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None


def detect(classifier: Classifier, recording: Path, plan: DetectionPlan, found: Callable[[Event], object]) -> float:
    """Detect the events of a recording with constant memory, whatever its length.

    Args:
        classifier: in evaluation mode.
        recording: the file.
        plan: see :class:`DetectionPlan`.
        found: callback for every event, called as soon as it has ended.

    Returns:
        End of the last window in seconds, which is the length of the recording except for a remainder without a window.

    Raises:
        AudioError: the recording cannot be read to its end; ``found`` was called for the events before the damage.
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
        table: common table for recordings without a file of their own. An event is written when it has ended, or with
            several processes when its recording is finished.
        processes: worker processes, each with its own copy of the classifier; None to work in this process.

    Raises:
        ConfigError: see :meth:`DetectionPlan.resolved`; or a worker process was killed.
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
            f"--workers {processes.number}: a worker was killed, probably for lack of memory; give fewer workers"
        ) from error


def _detect_in(
    classifier: Classifier, job: Job, plan: DetectionPlan, kind: Format, table: EventTable | None = None
) -> Outcome:
    """Detect the events of a recording; its own file appears only when it is complete."""
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
    """Find recordings, and choose the files for their events.

    Args:
        arguments: recordings, and folders that are searched for recordings.
        folder: output folder, with the same sub-folders as the recordings; None for no files.
        kind: format of the files.

    Raises:
        DataError: see :func:`audio_lightning.audio.find_recordings`.
        ConfigError: two recordings would have the same output file.
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
                f"{output}: would be written for both {jobs[output].recording} and {recording}; "
                "name the folder above both recordings"
            )
        jobs[output] = Job(recording, output)
    return list(jobs.values())


def to_frame(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return a table of events by outcome and onset; an unreadable recording has a row with ``error``."""
    rows = list[tuple[object, ...]]()
    for outcome in outcomes:
        path = as_utf8(outcome.recording)
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
    """Load the classifier once per worker process, which ends with the main process."""
    end_with_parent(os.getppid())
    return load_classifier(checkpoint, device, trust=trust)
