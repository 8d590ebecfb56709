"""Settings that all data sources share; their fields are the keys of ``data`` in the configuration."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from audio_lightning.audio import Channel, check_channel
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.settings import Settings
from audio_lightning.core.task import Padding
from audio_lightning.data.loading.batches import Sampling
from audio_lightning.data.store.cache import Cache, default_cache_dir
from audio_lightning.data.store.decoded import SampleType
from audio_lightning.data.store.recordings import Identity

AUTO = "auto"
Auto = Literal["auto"]
"""Value of a setting that is inferred from the recordings."""

BadRecordings = Literal["error", "skip", "silence"]


LOWEST_RATE = 200
"""Minimum sample rate in hertz; a smaller number is probably meant in kilohertz."""


@dataclass(frozen=True)
class ClipShape:
    """Numeric settings of how clips are cut from recordings.

    Attributes:
        sample_rate: rate in hertz to which recordings are resampled.
        clip_seconds: length of a clip in seconds; shorter recordings are padded, longer ones cut.
        hop_seconds: hop from one window to the next in seconds; None for one clip per recording.
        padding: how short recordings are padded.
    """

    sample_rate: int = 22050
    clip_seconds: float = 4.0
    hop_seconds: float | None = None
    padding: Padding = "zero"

    @property
    def num_samples(self) -> int:
        """Samples per clip."""
        return max(1, round(self.clip_seconds * self.sample_rate))

    @property
    def hop_samples(self) -> int | None:
        """Hop from one window to the next in samples; None for one clip per recording."""
        return None if self.hop_seconds is None else round(self.hop_seconds * self.sample_rate)


@dataclass(frozen=True)
class ClipSettings(Settings):
    """Settings of how clips are cut from recordings; ``auto`` to infer a setting from the recordings.

    See :mod:`audio_lightning.data.clip_choice`.

    Attributes:
        sample_rate: rate in hertz to which recordings are resampled.
        clip_seconds: length of a clip in seconds; shorter recordings are padded, longer ones cut.
        hop_seconds: cut recordings into windows of ``clip_seconds`` with this hop in seconds; None for one clip per
            recording.
        padding: how short recordings are padded.
        channel: channel of a recording to use, see :data:`audio_lightning.audio.channels.Channel`; ``each``: every
            channel is a clip, in the group of its recording.

    Raises:
        ConfigError: an invalid length, hop, rate or channel.
    """

    sample_rate: int | Auto = 22050
    clip_seconds: float | Auto = 4.0
    hop_seconds: float | Auto | None = None
    padding: Padding | Auto = "zero"
    channel: Channel = "mean"

    def __post_init__(self) -> None:
        for name in ("clip_seconds", "hop_seconds"):
            if isinstance(value := getattr(self, name), float) and not math.isfinite(value):
                raise ConfigError(f"data.{name}={value}: expected a finite number of seconds")
        for name in ("sample_rate", "clip_seconds"):
            if (value := getattr(self, name)) != AUTO:
                _require_positive(name, value)
        if isinstance(self.sample_rate, int) and self.sample_rate < LOWEST_RATE:
            raise ConfigError(f"data.sample_rate={self.sample_rate}: expected Hz, such as 16000 for 16 kHz")
        shape = self.nominal
        if shape.hop_samples is not None and shape.hop_samples < 1:
            raise ConfigError(
                f"data.hop_seconds={self.hop_seconds}: expected more than 0, or null for one clip per recording"
            )
        check_channel(self.channel)

    @property
    def automatic(self) -> list[str]:
        """Names of the settings that are inferred from the recordings."""
        return [field.name for field in fields(ClipShape) if getattr(self, field.name) == AUTO]

    @property
    def nominal(self) -> ClipShape:
        """The settings, with default values for settings that are inferred from the recordings."""
        given = {name: getattr(self, name) for name in {field.name for field in fields(ClipShape)} - {*self.automatic}}
        return ClipShape(**given)


@dataclass(frozen=True)
class CheckSettings(Settings):
    """Handling of bad data.

    Attributes:
        bad_recordings: handling of missing or unreadable recordings: stop with a list of them (``"error"``), leave them
            out (``"skip"``), or replace them by silence (``"silence"``).
        allow_leakage: continue although a group or identical audio is in two splits.
    """

    bad_recordings: BadRecordings = "error"
    allow_leakage: bool = False


@dataclass(frozen=True)
class LoadingSettings(Settings):
    """Settings of batches.

    Attributes:
        sampling: ``uniform``: every training clip once per epoch; ``balanced``: the same number of clips, drawn such
            that all classes are equally probable.
        batch_size: clips per batch, on each device.
        num_workers: worker processes that assemble batches; 0 is enough, since no audio is decoded in training.
        resident: keep all training clips on the device and assemble batches there; ``auto``: on a GPU, if they fit.

    Raises:
        ConfigError: the batch size is not positive.
    """

    sampling: Sampling = "uniform"
    batch_size: int = 32
    num_workers: int = 0
    resident: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        _require_positive("batch_size", self.batch_size)


@dataclass(frozen=True)
class CacheSettings(Settings):
    """Settings of the cache of decoded recordings.

    Attributes:
        cache_dir: folder of the cache; None for ``$AUDIO_LIGHTNING_CACHE``, or else the user's cache folder.
        cache_max_gb: maximum size in gigabytes (10^9 bytes).
        cache_dtype: type of the stored samples, see :class:`.Cache`.
        cache_identity: how a cached recording is recognized: by the status of its file (``"stat"``) or by its bytes
            (``"content"``).
    """

    cache_dir: str | None = None
    cache_max_gb: float = 100.0
    cache_dtype: SampleType = "float32"
    cache_identity: Identity = "stat"

    @property
    def root(self) -> Path:
        """Folder of the cache."""
        return Path(self.cache_dir).expanduser() if self.cache_dir else default_cache_dir()

    def open(self) -> Cache:
        """Open the cache."""
        return Cache(self.root, self.cache_max_gb, self.cache_dtype, self.cache_identity)


def _require_positive(name: str, value: float) -> None:
    if value <= 0:
        raise ConfigError(f"data.{name}={value}: expected more than 0")
