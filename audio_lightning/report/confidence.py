"""Charts of how far probabilities can be trusted: reliability, and precision against coverage."""

import numpy as np
import pandas as pd

from audio_lightning.inference.rejection import CoverageCurve
from audio_lightning.metrics.calibration import reliability
from audio_lightning.report.svg import Chart, Scale

SIZE = (340, 300)

MOST_POINTS = 200
"""Thresholds of a curve that are drawn."""

PRECISIONS = (0.8, 0.9, 0.95, 0.99)
"""Precisions whose thresholds are listed."""


def reliability_chart(predictions: pd.DataFrame) -> Chart:
    """Share of correct predictions against their probability, in bins of equal width; calibrated ones lie on the line.

    Args:
        predictions: ``label``, ``predicted``, and the probability of that as ``certainty``.
    """
    found = reliability(predictions["certainty"].to_numpy(), _right(predictions))
    pairs = list(zip(found.confidence.tolist(), found.frequency.tolist(), found.clips.tolist()))
    chart = Chart(
        "share of correct predictions by probability: " + ", ".join(f"{x:.2f} {y:.2f}" for x, y, _ in pairs),
        Scale(0.0, 1.0),
        Scale(0.0, 1.0),
        size=SIZE,
        x_label="probability of the prediction",
        y_label="share that is correct",
    )
    chart.line([(0.0, 0.0), (1.0, 1.0)], "s2")
    chart.line([(x, y) for x, y, _ in pairs], "s0")
    largest = max(clips for *_, clips in pairs)
    for x, y, clips in pairs:
        title = f"probability {x:.2f}: {100 * y:.0f} % of {clips} correct"
        chart.dot((x, y), "c0", title, radius=3 + 5 * (clips / largest) ** 0.5)
    return chart


def coverage_chart(predictions: pd.DataFrame) -> tuple[Chart, list[tuple[float, float, float]]] | None:
    """Share of correct predictions against the share of clips that have one, over all thresholds.

    Args:
        predictions: as in :func:`reliability_chart`.

    Returns:
        The chart; and precision, threshold and coverage for each of :data:`PRECISIONS` that is reached. None where all
        predictions have one probability.
    """
    curve = CoverageCurve.of(predictions["certainty"].to_numpy(), _right(predictions))
    if len(curve.threshold) < 2:
        return None
    kept = np.unique(np.linspace(0, len(curve.threshold) - 1, MOST_POINTS).astype(int))
    points = list(zip((100 * curve.coverage[kept]).tolist(), curve.precision[kept].tolist()))
    chart = Chart(
        f"share of correct predictions by coverage: {curve.precision[-1]:.3f} of all",
        Scale(0.0, 100.0),
        Scale.around([1.0, *(y for _, y in points)], margin=0.05),
        size=SIZE,
        x_label="% of the clips that have a prediction",
        y_label="share that is correct",
    )
    chart.line(points, "s0")
    reached = [(least, curve.at_precision(least)) for least in PRECISIONS]
    return chart, [(least, one.threshold, one.coverage) for least, one in reached if one is not None]


def _right(predictions: pd.DataFrame) -> np.ndarray:
    return (predictions["label"] == predictions["predicted"]).to_numpy()
