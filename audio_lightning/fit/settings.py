"""Settings of a fit (``conf/fit.yaml``), as opposed to those of its trainings."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from audio_lightning.config import as_plain, choices, compose
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.config.targets import check_arguments
from audio_lightning.core.errors import ConfigError

BAD_RECORDINGS = "data.bad_recordings"
"""Key that a fit, or a plan with unreadable recordings, sets to ``skip`` unless it is typed."""

METRICS = {
    False: ("accuracy", "balanced_accuracy", "f1_macro", "loss"),
    True: ("mean_average_precision", "loss"),
}
"""Metrics that choose candidates, for single-label (False) and multi-label tasks (True). Multi-label metrics with
thresholds are not supported: thresholds are fitted to validation clips, and those of an ensemble are unknown before it
is made."""

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}

EXAMPLES = {"budget": "90s, 20m or 2h", "infer_limit": "5ms or 0.5s"}
"""Examples of durations by key."""

NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")

SHORT = {
    "preset": "fit",
    "budget": "fit.budget",
    "metric": "fit.metric",
    "exclude": "fit.exclude",
    "infer_limit": "fit.infer_limit",
    "refit": "fit.refit",
}
"""Short forms of the most common keys."""


@dataclass(frozen=True)
class FitSettings:
    """Keys of the node ``fit``, see ``conf/fit/_portfolio.yaml``; ``preset`` is the choice of the config group."""

    preset: str = "good"
    dir: str | None = None
    budget: str | float = "20m"
    metric: str | None = None
    infer_limit: str | float | None = None
    exclude: list[str] = field(default_factory=list)
    max_members: int = 3
    refit: bool = False
    candidates: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_members < 1:
            raise ConfigError(f"fit.max_members={self.max_members}: expected at least 1")
        for name in self.exclude:
            if name not in self.candidates:
                known = list(self.candidates)
                raise ConfigError(
                    f"exclude={name}: no such candidate" + did_you_mean(name, known, listing="candidates")
                )
        if not self.chosen:
            raise ConfigError(
                f"exclude={','.join(self.exclude)}: excludes all {len(self.candidates)} candidates; keep at least one"
            )
        metrics = {name for names in METRICS.values() for name in names}
        if self.metric is not None and self.metric not in metrics:
            raise ConfigError(
                f"metric={self.metric}: no such metric" + did_you_mean(self.metric, metrics, listing="metrics")
            )
        parse_duration(self.budget, "budget")
        if self.infer_limit is not None:
            parse_duration(self.infer_limit, "infer_limit")

    @property
    def budget_seconds(self) -> float:
        """The budget in seconds."""
        return parse_duration(self.budget, "budget")

    @property
    def limit_seconds(self) -> float | None:
        """Limit of the prediction time per clip in seconds; None: no limit."""
        return None if self.infer_limit is None else parse_duration(self.infer_limit, "infer_limit")

    @property
    def chosen(self) -> dict[str, list[str]]:
        """Candidates that are not excluded."""
        return {name: list(lines) for name, lines in self.candidates.items() if name not in self.exclude}

    def folder(self, name: str) -> Path:
        """Return the folder of the fit: ``fit.dir``, otherwise ``fits/<name>``."""
        return Path(os.path.expanduser(self.dir)) if self.dir else Path("fits") / name


def split_words(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split overrides into those of the fit, with short forms expanded, and those of its trainings."""
    own, others = list[str](), list[str]()
    for word in words:
        key, equals, value = word.partition("=")
        name = SHORT.get(key, key)
        if name == "fit.exclude" and equals and not value.startswith("["):
            value = f"[{value}]"
        target = own if name.partition(".")[0] == "fit" else others
        target.append(f"{name}{equals}{value}")
    return own, others


def read_settings(overrides: Iterable[str]) -> FitSettings:
    """Compose the settings of a fit from overrides with quoted paths.

    Raises:
        ConfigError: an unknown key or preset, or an invalid value.
    """
    lines = list(overrides)
    chosen = [line.partition("=")[2] for line in lines if line.startswith("fit=")]
    for preset in chosen:
        if preset not in (known := choices("fit")):
            raise ConfigError(
                f"preset={preset}: there is no such preset" + did_you_mean(preset, known, listing="presets")
            )
    values = as_plain(compose(lines, name="fit").fit)
    check_arguments(FitSettings, values, {}, where="fit")
    return FitSettings(preset=chosen[-1] if chosen else "good", **values)


def parse_duration(text: str | float, key: str) -> float:
    """Parse a duration such as ``90s``, ``20m``, ``2h``, ``1h30m`` or ``5ms`` to seconds.

    Args:
        text: the duration; a value of a YAML file may be a number, which is refused like one without a unit.
        key: key of the setting, for messages.

    Raises:
        ConfigError: the text is not a positive duration, or has no unit.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", str(text))
    is_whole = "".join(number + unit for number, unit in parts) == str(text)
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts) if is_whole else 0.0
    if not 0 < seconds < float("inf"):
        unit = "has no unit; " if NUMBER.fullmatch(str(text)) else ""
        raise ConfigError(f"{key}={text}: {unit}expected a time such as {EXAMPLES[key]}")
    return seconds
