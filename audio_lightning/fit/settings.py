"""What a fit is told (``conf/fit.yaml``), apart from what its trainings are told."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from audio_lightning.config import as_plain, compose
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}

SHORT = {
    "preset": "fit",
    "budget": "fit.budget",
    "metric": "fit.metric",
    "exclude": "fit.exclude",
    "infer_limit": "fit.infer_limit",
    "refit": "fit.refit",
}
"""Short forms of keys, which are typed most."""


@dataclass(frozen=True)
class FitSettings:
    """The keys of ``fit``; ``conf/fit/_portfolio.yaml`` says what each means. ``preset`` is the choice of them."""

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
                    f"exclude={name}: there is no such candidate" + did_you_mean(name, known, listing="candidates")
                )
        if not self.chosen:
            raise ConfigError(f"exclude={','.join(self.exclude)} leaves no candidate; there are {len(self.candidates)}")
        parse_duration(self.budget)
        if self.infer_limit is not None:
            parse_duration(self.infer_limit, "infer_limit")

    @property
    def budget_seconds(self) -> float:
        """The budget in seconds."""
        return parse_duration(self.budget)

    @property
    def limit_seconds(self) -> float | None:
        """What predicting a clip may take, in seconds; None: any time."""
        return None if self.infer_limit is None else parse_duration(self.infer_limit, "infer_limit")

    @property
    def chosen(self) -> dict[str, list[str]]:
        """The candidates that are not left out."""
        return {name: list(lines) for name, lines in self.candidates.items() if name not in self.exclude}

    def folder(self, name: str) -> Path:
        """Where the fit lies, given what it is called."""
        return Path(os.path.expanduser(self.dir)) if self.dir else Path("fits") / name


def split_words(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Overrides of the fit, with short forms written out, and those of its trainings."""
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
        ConfigError: an unknown key or preset, or a value that cannot be.
    """
    lines = list(overrides)
    chosen = [line.partition("=")[2] for line in lines if line.startswith("fit=")]
    return FitSettings(preset=chosen[-1] if chosen else "good", **as_plain(compose(lines, name="fit").fit))


def parse_duration(text: str | float, key: str = "budget") -> float:
    """Seconds of ``90``, ``90s``, ``20m``, ``2h``, ``1h30m`` or ``5ms``.

    Args:
        text: the time.
        key: what it is of, for messages.

    Raises:
        ConfigError: it is none, or none at all.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", str(text))
    if parts and "".join(number + unit for number, unit in parts) == str(text):
        seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    else:
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
    if not 0 < seconds < float("inf"):
        such = "90s, 20m, 2h or 1h30m" if key == "budget" else "5ms, 0.5s or 0.005"
        raise ConfigError(f"{key}={text}: expected a time such as {such}")
    return seconds
