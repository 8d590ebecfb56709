"""Evaluate a fit: on its own recordings by cross-validation, on others as any classifier."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from audio_lightning.compare.fit_summary import FitFolder, FitSummary
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.evaluate import LOADING, Evaluation, Metrics
from audio_lightning.inference.evaluate import evaluate as evaluate_classifier


def evaluate(path: Path, overrides: Iterable[str] = (), *, output: Path | None = None, **options: Any) -> Evaluation:
    """Test a classifier again; one of a fit, where no data is named, by the figure of its page.

    Every recording of a fit was trained on by some of the networks that answer together, so that a test of the model on
    these says nothing. Each was also predicted by networks that were not trained on it.

    Args:
        path: checkpoint, folder of a run, or folder of a fit or the model in it.
        overrides: see :func:`audio_lightning.inference.evaluate.evaluate`.
        output: likewise.
        **options: likewise.

    Raises:
        ConfigError: also an output for the recordings of a fit, which has it already.
        CheckpointError: see there, as for other errors.
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
            f"--output {output}: the predictions of the recordings of this fit are in {files.out_of_fold}; leave it "
            "out, or name other recordings by data=NAME data.root=DIR"
        )
    print(
        f"the networks of {files.path} were trained on these recordings: the figure is that of cross-validation, after "
        f"selection ({files.report}); name other recordings by data=NAME data.root=DIR",
        file=sys.stderr,
    )
    return Evaluation(_metrics(files, summary), [])


def _metrics(files: FitFolder, summary: FitSummary) -> Metrics:
    """What the page says, as ``metrics.json`` of a run names it."""
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
