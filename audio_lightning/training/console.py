"""Terminal output of the metrics of a run or an evaluation."""

import sys
from pathlib import Path
from typing import Any

from audio_lightning.core.messages import below_here, print_and_log, terminal_width, wrapped


def print_run(metrics: dict[str, Any], folder: Path) -> None:
    """Print and log the ``metrics.json`` and the folder of a finished run."""
    # The last split that was measured: the training split if there is no other.
    part = next((part for part in ("test", "validation") if metrics[f"num_clips/{part}"]), "train")
    epoch = f"best epoch {metrics['best_epoch']}" if metrics["num_clips/validation"] else "the last epoch"
    cost = f"{metrics['parameters']:,} parameters, {metrics['seconds']:.0f} s"
    print_metrics(metrics, part, f"{epoch} of {metrics['epochs']}", cost)
    print_and_log(f"run folder: {below_here(folder)}")  # not wrapped, because a path may hold spaces
    if plots := sorted(str(below_here(path)) for path in folder.glob("*.png")):
        print_and_log(f"plots: {', '.join(plots)}")


def print_metrics(metrics: dict[str, Any], part: str, *facts: str) -> None:
    """Print and log the metrics of a split, with their intervals and with warnings about the data.

    Args:
        metrics: contents of ``metrics.json``.
        part: name of the split, such as ``test``.
        facts: further texts, printed in brackets after the number of clips.
    """
    of_part = {name: value for name, value in metrics.items() if name.startswith(f"{part}/")}
    shown = {name: value for name, value in of_part.items() if not name.endswith(("loss", "_low", "_high"))}
    # Metrics of whole recordings come first, if recordings were cut into windows.
    shown = dict(sorted(shown.items(), key=lambda item: not item[0].startswith(f"{part}/recording_")))
    figures = [f"{_title(name, part)} {_figure(value)}" for name, value in shown.items()]
    clips = ", ".join([f"{metrics[f'num_clips/{part}']} clips", *facts])
    _say(f"{part}: {', '.join(figures)} ({clips})")
    ends = {name: (metrics.get(f"{name}_low"), metrics.get(f"{name}_high")) for name in shown}
    intervals = [
        f"{_title(name, part)} {low:.3f} to {high:.3f}"
        for name, (low, high) in ends.items()
        if low is not None and high is not None
    ]
    if intervals:
        groups = metrics.get("num_groups/test")
        kind = "recordings" if metrics.get("leakage") == "cannot be excluded" else "groups"  # without groups, by path
        over = "clips" if groups == metrics.get("num_clips/test") else f"clips in {groups} {kind}"
        _say(f"95 % interval over {over}: {', '.join(intervals)}")
    for sentence in filter(None, str(metrics.get("warnings") or "").split("; ")):
        _say(f"warning: {sentence}")
    if metrics.get("leakage") != "none found":
        _say(f"leakage between the splits: {metrics.get('leakage', 'not known')}")


def _say(text: str) -> None:
    # Wrapped only on a terminal: programs read it line by line.
    width = terminal_width() if sys.stdout.isatty() else None
    print_and_log(text, shown=wrapped(text, indent=2, width=width))


def _title(metric: str, part: str) -> str:
    return metric.removeprefix(f"{part}/").replace("_", " ")


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
