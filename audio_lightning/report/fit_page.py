"""HTML report of a fit: expected metric, usage of the model, mistakes and next steps.

The page is a single file without external resources and without scripts: style, pictures and audio are embedded, and
all text from the data is escaped. Its size is bounded: :data:`MOST_ROWS` rows per table, a confusion matrix of
:data:`~audio_lightning.report.mistakes.MOST_CLASSES` classes, and
:data:`~audio_lightning.report.fit_mistakes.MOST_CLIPS` clips of at most 5 s at 16 kHz.
"""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from audio_lightning.compare.fit_summary import FitCandidate, FitFolder, FitSummary, LearningPoint, TimeSpent
from audio_lightning.compare.trials import as_text
from audio_lightning.core.files import to_json
from audio_lightning.core.task import lower_is_better
from audio_lightning.report.charts import metric_scale
from audio_lightning.report.confidence import coverage_chart, reliability_chart
from audio_lightning.report.fit_advice import advice, as_typed
from audio_lightning.report.fit_mistakes import out_of_fold_results
from audio_lightning.report.pages import write_page
from audio_lightning.report.svg import Chart, Scale, clipped

MOST_ROWS = 500
"""Largest number of rows of a table."""

ROOT = "data.root="

UNNAMED = 0.01
"""Minimum share of the time outside all stages in the total time at which it has a row of its own."""


def write_fit_page(folder: Path, *, relevance: bool = False, trust: str | Iterable[str] | None = None) -> Path:
    """Write ``report.html`` into the folder of a fit.

    Args:
        folder: folder of a finished or interrupted fit; sections without data are left out. Recordings are read again
            if they still exist.
        relevance: show a relevance map of each wrong prediction, which takes hundreds of predictions per clip.
        trust: modules of the user's own whose classes the model may name.

    Returns:
        Path of the page.

    Raises:
        ConfigError: the folder is not the folder of a fit.
        FileError: ``fit.json`` or ``out_of_fold.csv`` is damaged.
        CheckpointError: with ``relevance``, the model cannot be loaded.
    """
    files = FitFolder(folder)
    summary = files.read_summary()
    explain = None
    if relevance:
        from audio_lightning.report.fit_relevance import relevance_of_model

        explain = relevance_of_model(files.model, trust)
    results = out_of_fold_results(files, multilabel=summary.multilabel, explain=explain)
    board = leaderboard(summary)
    confusion = results.confusion if results else None
    write_page(
        files.report,
        "fit_page.html.j2",
        name=_name(summary),
        fit=summary,
        metric=summary.metric.replace("_", " "),
        optimism=_optimism(summary),
        facts=_facts(summary),
        usage=_usage(files) if summary.selected else None,
        board=board[:MOST_ROWS],
        columns={
            name: any(getattr(found, name) is not None for found in board)
            for name in ("validation", "out_of_fold", "weight", "seconds", "epochs", "step_ms", "predict_ms")
        },
        commands=[(found.name, shlex.join(found.overrides)) for found in board[:MOST_ROWS] if found.overrides],
        results=results,
        reliability=reliability_chart(confusion.predictions) if confusion else None,
        coverage=coverage_chart(confusion.predictions, summary.scored_unit) if confusion else None,
        score="Average precision" if summary.multilabel else "F1",
        properties=summary.properties[:MOST_ROWS],
        choices=[(choice.key, as_text(choice.value), choice.why) for choice in summary.choices[:MOST_ROWS]],
        time=_time(summary),
        learning=_learning_curve(summary.learning, summary.metric),
        advice=advice(files, summary, results),
        most=MOST_ROWS,
        clipped=clipped,
    )
    return files.report


def _name(summary: FitSummary) -> str:
    """Name of the data set: that of its folder, or its overrides."""
    words = [as_typed(word) for word in summary.data]
    roots = [word.removeprefix(ROOT) for word in words if word.startswith(ROOT)]
    return (Path(roots[0]).name if roots else " ".join(words)) or "recordings"


def _usage(files: FitFolder) -> dict[str, str]:
    return {
        "shell": shlex.join(["audio-lightning", "predict", str(files.path), "recordings/"]),
        "explain": shlex.join(["audio-lightning", "explain", str(files.path), "--page"]),
        "python": "\n".join(
            [
                "import audio_lightning as al",
                "",
                f"classifier = al.load({to_json(str(files.model))})",
                'predictions = al.predict(classifier, "recordings/")',
            ]
        ),
    }


def _optimism(summary: FitSummary) -> float:
    """Optimism of the metric on the predictions that selected the model; negative if it is pessimistic by chance."""
    found = summary.result
    gap = found.gap or 0.0 if found is not None else 0.0
    return -gap if lower_is_better(summary.metric) else gap


def _facts(summary: FitSummary) -> list[tuple[str, str, str]]:
    """Key figures: name, value and remark; unknown ones are left out."""
    labels = "several labels per clip" if summary.multilabel else "one label per clip"
    groups = "no groups known" if summary.groups is None else f"{summary.groups:,} groups"
    facts = []
    if summary.recordings is not None:
        facts.append(("Recordings", f"{summary.recordings:,}", groups))
    if summary.clips is not None and summary.clips != summary.recordings:
        facts.append(("Parts of recordings", f"{summary.clips:,}", "one for each row of the data"))
    if summary.classes:
        facts.append(("Classes", f"{len(summary.classes):,}", labels))
    if summary.folds is not None:
        facts.append(("Folds tested", f"{summary.folds}", summary.fold_origin))
    if summary.machine is not None:
        found = summary.machine
        parts = [f"{found.cores} cores" if found.cores else "", f"{found.memory_gb:.0f} GB" if found.memory_gb else ""]
        facts.append(("Machine", found.device, ", ".join(filter(None, parts))))
    return facts


def leaderboard(summary: FitSummary) -> list[FitCandidate]:
    """Sort candidates by out-of-fold metric, best first, then by validation metric; without both, last."""
    sign = 1 if lower_is_better(summary.metric) else -1

    def place(found: FitCandidate) -> tuple[bool, float, bool, float]:
        values = [found.out_of_fold, found.validation]
        first, second = ((value is None, sign * (value or 0.0)) for value in values)
        return (*first, *second)

    return sorted(summary.candidates, key=place)


def _time(summary: FitSummary) -> dict[str, Any] | None:
    """Seconds of each stage, of the time outside all stages, and in total."""
    stages = [stage for stage in summary.time[:MOST_ROWS] if stage.seconds >= 0]
    if not stages:
        return None
    named = sum(stage.seconds for stage in stages)
    total = max(named, summary.spent_seconds or 0.0)
    if total - named > UNNAMED * total:
        stages = [*stages, TimeSpent("everything else", total - named)]
    return {"stages": stages, "total": total, "largest": max(stage.seconds for stage in stages) or 1.0}


def _learning_curve(points: Sequence[LearningPoint], metric: str) -> Chart | None:
    if len(points) < 2:
        return None
    found = sorted((100 * point.share, point.value) for point in points)
    words = metric.replace("_", " ")
    chart = Chart(
        f"{words} by share of the recordings: " + ", ".join(f"{x:.0f} % {y:.3f}" for x, y in found),
        Scale(0.0, 100.0),
        metric_scale([y for _, y in found], metric, margin=0.15),
        size=(380, 240),
        x_label="% of the recordings trained on",
        y_label=words,
    )
    chart.line(found, "s0")
    for x, y in found:
        chart.dot((x, y), "c0", f"{x:.0f} %: {y:.4f}")
    return chart
