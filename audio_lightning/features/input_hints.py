"""Suggestion of settings for which a front end's output is large enough for a network."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from audio_lightning.config import build
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import AudioTask
from audio_lightning.features.base import FrontEnd

ATTEMPTS = 20


def enlarging_settings(node: Mapping[str, Any], task: AudioTask, least: tuple[int, ...]) -> str:
    """Return overrides that make the features of a clip large enough; every alternative has been tried.

    Alternatives are joined by "or"; the result is empty if none works.

    Args:
        node: the configuration's ``feature``.
        task: the task with its current clip length.
        least: minimum sizes after the channels, (samples,) or (bins, frames).
    """
    found = _sizes(node, task)
    if found is None:
        return ""
    bins = _more_bins(node, least[0]) if len(least) == 2 and found[0] < least[0] else {}
    bins = {key: value for key, value in bins.items() if node.get(key) != value}
    ratio = least[-1] / found[-1]
    if ratio <= 1:
        ways: list[Iterable[tuple[dict[str, Any], float]]] = [[(bins, task.clip_seconds)]]
    else:
        ways = [
            ((bins | {"hop_seconds": hop}, task.clip_seconds) for hop in _hops(node, ratio)),
            ((bins, seconds) for seconds in _lengths(task.clip_seconds, ratio)),
        ]
    enough = (_first(node, task, least, way) for way in ways)
    return " or ".join(_typed(*settings, task) for settings in enough if settings)


def _more_bins(node: Mapping[str, Any], bins: int) -> dict[str, int]:
    """Options that give ``bins`` bins."""
    if "bins_per_octave" in node:  # scaled with the number of bins, so that the highest frequency stays
        return {"n_bins": bins, "bins_per_octave": math.ceil(node["bins_per_octave"] * bins / node["n_bins"])}
    for coefficients, bands in (("n_mfcc", "n_mels"), ("n_lfcc", "n_filters")):
        if coefficients in node:
            return {coefficients: bins, bands: max(bins, node[bands])}
    return {"n_mels": bins} if "n_mels" in node else {"n_fft": 2 * (bins - 1)}


def _hops(node: Mapping[str, Any], ratio: float) -> Iterator[float]:
    """Yield ever shorter hops in seconds, in steps of at least a tenth of a millisecond."""
    if "hop_seconds" in node:
        for attempt in range(ATTEMPTS):
            hop = math.floor(node["hop_seconds"] / ratio * 0.98**attempt * 1e4) / 1e4
            if hop > 0:
                yield hop


def _lengths(seconds: float, ratio: float) -> Iterator[float]:
    """Yield ever longer clips in seconds, in steps of at least a hundredth of a second."""
    for attempt in range(ATTEMPTS):
        yield math.ceil(seconds * ratio * 1.02**attempt * 100) / 100


def _first(
    node: Mapping[str, Any],
    task: AudioTask,
    least: tuple[int, ...],
    alternatives: Iterable[tuple[dict[str, Any], float]],
) -> tuple[dict[str, Any], float] | None:
    """Return the first alternative (options of the feature, length of a clip in seconds) that is large enough."""
    for options, seconds in alternatives:
        sizes = _sizes({**node, **options}, replace(task, num_samples=round(seconds * task.sample_rate)))
        if sizes is not None and all(found >= needed for found, needed in zip(sizes, least)):
            return options, seconds
    return None


def _sizes(node: Mapping[str, Any], task: AudioTask) -> tuple[int, ...] | None:
    """Sizes of the features after the channels; None if the front end cannot be built."""
    try:
        with torch.device("cpu"):  # the caller may be building a network on the meta device
            made: FrontEnd = build(
                node, FrontEnd, where="feature", sample_rate=task.sample_rate, num_samples=task.num_samples
            )
            return made.output_shape.dims[1:]
    except ConfigError:
        return None


def _typed(options: Mapping[str, Any], seconds: float, task: AudioTask) -> str:
    keys = [f"feature.{key}={value}" for key, value in options.items()]
    return " ".join(keys + ([f"data.clip_seconds={seconds}"] if seconds != task.clip_seconds else []))
