"""Next steps after a fit: classes to record more of, labels to check, and whether a larger budget would help."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from audio_lightning.compare.fit_summary import FitFolder, FitSummary
from audio_lightning.compare.notes import listed
from audio_lightning.config.overrides import quote_paths
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.files import read_frame
from audio_lightning.core.task import lower_is_better
from audio_lightning.report.fit_mistakes import ClassScore, OutOfFoldResults

MOST_CLASSES = 3
"""Largest number of classes named."""

WORSE = 0.05
"""Minimum distance of a class's score below the mean score at which the class is named."""

RISING = 0.01
"""Minimum gain of the last step of a learning curve that counts as rising."""

WIDE = 0.1
"""Minimum width of a confidence interval that counts as wide."""

MOSTLY = 0.9
"""Minimum share of recordings with predictions above which a larger budget is not advised for a wide interval."""


BAD_RECORDINGS = "data.bad_recordings="
"""Override that a fit adds for its trainings; ``audio-lightning check`` lists unreadable recordings with any value."""


@dataclass(frozen=True)
class Advice:
    """A recommendation of one or two sentences, and a command for it, if there is one."""

    text: str
    command: str = ""


def advice(folder: FitFolder, summary: FitSummary, results: OutOfFoldResults | None) -> list[Advice]:
    """Recommend next steps, most useful first.

    Args:
        folder: folder of the fit.
        summary: its summary.
        results: its out-of-fold predictions; None if there are none.
    """
    score = "average precision" if summary.multilabel else "F1"
    found = [*_classes(results.classes, score, summary.scored_unit)] if results else []
    found += _learning(summary)
    if results and results.wrong:
        found += _labels(folder)
    return [*found, *_problems(folder), *_data(summary), *_budget(summary), *_interval(summary, results)]


def _classes(classes: Sequence[ClassScore], score: str, unit: str) -> list[Advice]:
    """Advice for the worst classes: record more of those with fewer clips than most, else check their labels."""
    known = [found for found in classes if found.score is not None]
    if len(known) < 2:
        return []
    mean, usual = fmean(found.score or 0.0 for found in known), median(found.clips for found in known)
    worst = [found for found in known if (found.score or 0.0) < mean - WORSE][:MOST_CLASSES]
    few = [found for found in worst if found.clips < usual]
    rest = [found for found in worst if found.clips >= usual]
    found = []
    if few:
        they = "they have" if len(few) > 1 else "it has"
        names = listed([_described(entry, score, unit) for entry in few])
        found.append(f"Record more of {names}: {they} fewer {unit} than most classes and a low {score}.")
    if rest:
        they = f"they have as many {unit} as other classes, so their" if len(rest) > 1 else (
            f"it has as many {unit} as other classes, so its"
        )  # fmt: skip
        names = listed([_described(entry, score, unit) for entry in rest])
        found.append(f"Listen to {unit} of {names}: {they} labels may be wrong, or the sounds too similar to others.")
    return [Advice(text) for text in found]


def _described(found: ClassScore, score: str, unit: str) -> str:
    taken = f", often predicted as {found.confused[0]}" if found.confused else ""
    return f"{found.name} ({found.clips:,} {unit if found.clips != 1 else unit[:-1]}, {score} {found.score:.2f}{taken})"


def _learning(summary: FitSummary) -> list[Advice]:
    points = sorted(summary.learning, key=lambda point: point.share)
    if len(points) < 2:
        return []
    before, last = points[-2:]
    sign = -1 if lower_is_better(summary.metric) else 1
    gain = (
        f"From {100 * before.share:.0f} to {100 * last.share:.0f} % of the recordings, "
        f"{summary.metric.replace('_', ' ')} went from {before.value:.3f} to {last.value:.3f}"
    )
    ends = [last.value - before.value] * 2
    if last.gain_low is not None and last.gain_high is not None:
        ends = [last.gain_low, last.gain_high]
        gain += f" (95 % interval of the difference {ends[0]:+.3f} to {ends[1]:+.3f})"
    least, most = sorted(sign * end for end in ends)
    if least > 0 and most >= RISING:
        return [Advice(f"{gain}: more recordings of all classes will probably help.")]
    if most < RISING:
        return [Advice(f"{gain}: more recordings of the same kind will probably help little.")]
    return [Advice(f"{gain}: too few recordings were tested to say whether more of them would help.")]


def _labels(folder: FitFolder) -> list[Advice]:
    if not folder.sweep.facts.is_file():
        return []
    command = ["audio-lightning", "labels", str(folder.path)]
    return [Advice("Listen to the clips whose label is probably wrong, and correct them:", shlex.join(command))]


def _problems(folder: FitFolder) -> list[Advice]:
    """Advice to repair what the trainings left out, from the ``problems.csv`` of any of them."""
    file = next((run.problems for run, _ in folder.sweep.folders() if run.problems.is_file()), None)
    if file is None:
        return []
    places = list(dict.fromkeys(read_frame(file, texts=["where", "what"], required=["where"])["where"]))
    if not places:
        return []
    return [Advice(f"Repair or delete what was left out: {listed(places)}. {file} gives the reasons.")]


def _data(summary: FitSummary) -> list[Advice]:
    if not summary.data:
        return []
    words = [as_typed(override) for override in summary.data if not override.startswith(BAD_RECORDINGS)]
    command = ["audio-lightning", "check", *words, "--report", "check.html"]
    return [Advice("Look for silent, clipped or repeated recordings, and listen to them:", shlex.join(command))]


def _budget(summary: FitSummary) -> list[Advice]:
    left = [found.name for found in summary.candidates if found.state in ("stopped", "skipped")]
    if not left or not summary.budget_seconds:
        return []
    typed = summary.command or [
        *map(as_typed, summary.data), f"preset={summary.preset}", f"metric={summary.metric}"
    ]  # fmt: skip
    words = [word for word in typed if word.partition("=")[0] not in ("budget", "fit.budget")]
    again = ["audio-lightning", "fit", *words, f"budget={_time(2 * summary.budget_seconds)}"]
    was = "was" if len(left) == 1 else "were"
    text = f"{listed(left)} {was} not trained on all folds; a larger budget adds trainings:"
    return [Advice(text, shlex.join(again))]


def _interval(summary: FitSummary, results: OutOfFoldResults | None) -> list[Advice]:
    found = summary.result
    if found is None or found.low is None or found.high is None or found.high - found.low < WIDE:
        return []
    of = f", over {found.unit}," if found.unit else ""
    width = f"The 95 % interval{of} is {found.high - found.low:.2f} wide; "
    total = summary.recordings if found.whole_recordings else summary.clips
    if results and total and results.clips < MOSTLY * total:
        part = f"{results.clips:,} of {total:,} {summary.scored_unit}"
        return [Advice(f"{width}{part} were predicted, and a larger budget predicts more.")]
    unit = "recordings" if summary.groups is None else "groups (sources, speakers, …)"
    return [Advice(f"{width}four times as many {unit} would halve it.")]


def _time(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


def as_typed(override: str) -> str:
    """Remove the quotes of Hydra's grammar around a path that needs none on the command line."""
    key, _, value = override.partition("=")
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "'\"":
        return override
    bare = f"{key}={value[1:-1]}"
    try:
        return bare if quote_paths([bare]) == [override] else override
    except ConfigError:
        return override
