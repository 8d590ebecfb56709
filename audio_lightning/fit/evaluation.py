"""Evaluation of a fit: by cross-validation on its own recordings, by a test on other recordings."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from audio_lightning.compare.fit_summary import FitFolder, FitSummary
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.evaluate import LOADING, Evaluation, Metrics
from audio_lightning.inference.evaluate import evaluate as evaluate_classifier


def evaluate(path: Path, overrides: Iterable[str] = (), *, output: Path | None = None, **options: Any) -> Evaluation:
    """Test a classifier again; for a fit without named data, return its cross-validated metric.

    Some networks of a fit's ensemble were trained on each of its recordings, so a test of the ensemble on them would be
    meaningless. The out-of-fold predictions come from networks that were not trained on the recording.

    Args:
        path: checkpoint, run folder, fit folder, or the model in a fit folder.
        overrides: see :func:`audio_lightning.inference.evaluate.evaluate`.
        output: see there.
        **options: see there.

    Raises:
        ConfigError: ``output`` is given for the recordings of a fit, whose predictions are in its folder.
        CheckpointError: see :func:`audio_lightning.inference.evaluate.evaluate`, also for other errors.
    """
    overrides = list(overrides)
    keys = {line.partition("=")[0].lstrip("+") for line in overrides}
    files = FitFolder(path if path.is_dir() else path.parent)
    of_fit = files.summary.is_file() and (path.is_dir() or path == files.model)
    if not of_fit or any(key == "seed" or key.startswith("data") for key in keys.difference(LOADING)):
        return evaluate_classifier(path, overrides, output=output, **options)
    summary = files.read_summary()
    if summary.result is None:
        return evaluate_classifier(path, overrides, output=output, **options)
    if output is not None:
        raise ConfigError(
            f"--output {output}: the predictions of this fit's recordings are already in {files.out_of_fold}; remove "
            "--output, or give other recordings by data=NAME data.root=DIR"
        )
    print(
        f"the networks of {files.path} were trained on these recordings: the metric is that of cross-validation, "
        f"corrected for selection ({files.report}); to test on other recordings, give data=NAME data.root=DIR",
        file=sys.stderr,
    )
    return Evaluation(_metrics(files, summary), [])


def _metrics(files: FitFolder, summary: FitSummary) -> Metrics:
    """Return the metrics of a fit under the names of a run's ``metrics.json``."""
    assert summary.result is not None
    found = summary.result
    name = f"test/{'recording_' * found.whole_recordings}{found.metric}"
    metrics: Metrics = {name: found.expected}
    if found.low is not None and found.high is not None:
        metrics |= {f"{name}_low": found.low, f"{name}_high": found.high}
    table = files.read_out_of_fold()
    metrics["num_clips/test"] = len(table)
    groups = table["path"].where(table["group"].isna() | (table["group"] == ""), table["group"])
    metrics["num_groups/test"] = int(groups.nunique())
    of_trials = [folder.read_metrics() for folder, status in files.sweep.folders() if status.state == "done"]
    if len(found_leakage := {str(of_trial.get("leakage")) for of_trial in of_trials}) == 1:
        metrics["leakage"] = found_leakage.pop()
    return metrics
