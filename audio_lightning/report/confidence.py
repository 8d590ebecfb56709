"""Reliability diagram and precision-coverage curve of the reports."""

import numpy as np
import pandas as pd

from audio_lightning.inference.rejection import CoverageCurve, Operation
from audio_lightning.metrics.calibration import reliability
from audio_lightning.report.svg import SHARES, Chart, Scale

SIZE = (340, 300)

MOST_POINTS = 200
"""Largest number of thresholds drawn per curve."""

PRECISIONS = (0.8, 0.9, 0.95, 0.99)
"""Precisions for which thresholds are listed."""


def reliability_chart(predictions: pd.DataFrame) -> Chart:
    """Draw a reliability diagram: accuracy against confidence in bins of equal width, and the diagonal of calibration.

    Args:
        predictions: table with ``label``, ``predicted``, and the probability of the prediction as ``certainty``.
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


def coverage_chart(predictions: pd.DataFrame, unit: str) -> tuple[Chart, list[tuple[float, Operation]]] | None:
    """Draw a precision-coverage curve: accuracy against the share of clips with a prediction, over all thresholds.

    Args:
        predictions: as in :func:`reliability_chart`.
        unit: rows of the table in words, ``clips`` or ``recordings``.

    Returns:
        The chart, and each of :data:`PRECISIONS` that is reached, with its operating point; None if all predictions
        have the same probability.
    """
    curve = CoverageCurve.of(predictions["certainty"].to_numpy(), _right(predictions))
    if len(curve.threshold) < 2:
        return None
    kept = np.unique(np.linspace(0, len(curve.threshold) - 1, MOST_POINTS).astype(int))
    points = list(zip((100 * curve.coverage[kept]).tolist(), curve.precision[kept].tolist()))
    chart = Chart(
        f"share of correct predictions by coverage: {curve.precision[-1]:.3f} of all",
        Scale(0.0, 100.0),
        Scale.around([1.0, *(y for _, y in points)], within=SHARES),
        size=SIZE,
        x_label=f"% of the {unit} that have a prediction",
        y_label="share that is correct",
    )
    chart.line(points, "s0")
    reached = [(least, curve.at_precision(least)) for least in PRECISIONS]
    return chart, [(least, one) for least, one in reached if one is not None]


def _right(predictions: pd.DataFrame) -> np.ndarray:
    return (predictions["label"] == predictions["predicted"]).to_numpy()
