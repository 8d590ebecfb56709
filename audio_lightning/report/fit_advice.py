"""What to do next after a fit: of which classes to record more, what to check, and whether more time would help."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from audio_lightning.compare.fit_summary import FitFolder, FitSummary
from audio_lightning.compare.notes import listed
from audio_lightning.config.overrides import quote_paths
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import lower_is_better
from audio_lightning.report.fit_mistakes import Answers, ClassScore

MOST_CLASSES = 3
"""Classes that are named."""

WORSE = 0.05
"""A class is named if its score is this much below the mean of all."""

RISING = 0.01
"""Gain of the last step of a learning curve from which on it is said to rise."""

WIDE = 0.1
"""Width of an interval from which on it is called wide."""

MOSTLY = 0.9
"""Share of the recordings below which predictions are of a part of them."""


@dataclass(frozen=True)
class Advice:
    """A sentence or two, and the command that does it, where there is one."""

    text: str
    command: str = ""


def advice(folder: FitFolder, summary: FitSummary, answers: Answers | None) -> list[Advice]:
    """What to do next, the most useful first."""
    score = "average precision" if summary.multilabel else "F1"
    found = [*_classes(answers.classes, score)] if answers else []
    found += _learning(summary)
    if answers and answers.wrong:
        found += _labels(folder)
    return [*found, *_data(summary), *_budget(summary), *_interval(summary, answers)]


def _classes(classes: Sequence[ClassScore], score: str) -> list[Advice]:
    """Classes that are worse than the others: more recordings where they have fewer, else what they are taken for."""
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
        names = listed([_described(entry, score) for entry in few])
        found.append(f"Record more of {names}: {they} fewer clips than most classes and a low {score}.")
    if rest:
        they = "they have as many clips as other classes, so their" if len(rest) > 1 else (
            "it has as many clips as other classes, so its"
        )  # fmt: skip
        names = listed([_described(entry, score) for entry in rest])
        found.append(f"Listen to clips of {names}: {they} labels may be wrong, or sounds too much like others.")
    return [Advice(text) for text in found]


def _described(found: ClassScore, score: str) -> str:
    taken = f", often predicted as {found.confused[0]}" if found.confused else ""
    return f"{found.name} ({found.clips:,} clip{'s' * (found.clips != 1)}, {score} {found.score:.2f}{taken})"


def _learning(summary: FitSummary) -> list[Advice]:
    points = sorted(summary.learning, key=lambda point: point.share)
    if len(points) < 2:
        return []
    before, last = points[-2:]
    sign = -1 if lower_is_better(summary.metric) else 1
    said = (
        f"From {100 * before.share:.0f} to {100 * last.share:.0f} % of the recordings, "
        f"{summary.metric.replace('_', ' ')} went from {before.value:.3f} to {last.value:.3f}"
    )
    ends = [last.value - before.value] * 2
    if last.gain_low is not None and last.gain_high is not None:
        ends = [last.gain_low, last.gain_high]
        said += f" (95 % interval of the difference {ends[0]:+.3f} to {ends[1]:+.3f})"
    least, most = sorted(sign * end for end in ends)
    if least > 0 and most >= RISING:
        return [Advice(f"{said}: more recordings of all classes will probably help.")]
    if most < RISING:
        return [Advice(f"{said}: more recordings of the same kind will probably help little.")]
    return [Advice(f"{said}: too few recordings were tested to say whether more of them would help.")]


def _labels(folder: FitFolder) -> list[Advice]:
    if not folder.sweep.facts.is_file():
        return []
    command = ["audio-lightning", "labels", str(folder.path)]
    return [Advice("Listen to the clips whose label is probably wrong, and correct them:", shlex.join(command))]


def _data(summary: FitSummary) -> list[Advice]:
    if not summary.data:
        return []
    command = ["audio-lightning", "check", *map(as_typed, summary.data), "--report", "check.html"]
    return [Advice("Look for problems of the data (unreadable, silent or repeated recordings):", shlex.join(command))]


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
    text = f"{listed(left)} {was} not trained on all folds; a larger budget adds to what is there:"
    return [Advice(text, shlex.join(again))]


def _interval(summary: FitSummary, answers: Answers | None) -> list[Advice]:
    found = summary.result
    if found is None or found.low is None or found.high is None or found.high - found.low < WIDE:
        return []
    of = f", over {found.unit}," if found.unit else ""
    said = f"The 95 % interval{of} is {found.high - found.low:.2f} wide; "
    there = summary.recordings if found.whole_recordings else summary.clips
    if answers and there and answers.clips < MOSTLY * there:
        return [Advice(f"{said}{answers.clips:,} of {there:,} were predicted, and a larger budget predicts more.")]
    what = "recordings" if summary.groups is None else "groups (sources, speakers, …)"
    return [Advice(f"{said}four times as many {what} would halve it.")]


def _time(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


def as_typed(override: str) -> str:
    """An override without the quotes of Hydra's grammar that its path needs no more on the command line."""
    key, _, value = override.partition("=")
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "'\"":
        return override
    bare = f"{key}={value[1:-1]}"
    try:
        return bare if quote_paths([bare]) == [override] else override
    except ConfigError:
        return override
