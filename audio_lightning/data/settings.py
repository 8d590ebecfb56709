"""Settings that all data sources share; their fields are the keys of ``data`` in the configuration."""

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
"""A setting that follows from the recordings."""

BadRecordings = Literal["error", "skip", "silence"]


@dataclass(frozen=True)
class ClipShape:
    """How clips are cut from recordings, in numbers.

    Attributes:
        sample_rate: rate in hertz to which recordings are resampled.
        clip_seconds: length of a clip; shorter recordings are padded, longer ones cut.
        hop_seconds: from the start of a window to the start of the next; None for one clip a recording.
        padding: how a short recording is filled up.
    """

    sample_rate: int = 22050
    clip_seconds: float = 4.0
    hop_seconds: float | None = None
    padding: Padding = "zero"

    @property
    def num_samples(self) -> int:
        """Samples a clip."""
        return max(1, round(self.clip_seconds * self.sample_rate))

    @property
    def hop_samples(self) -> int | None:
        """Samples from window to window; None for one clip a recording."""
        return None if self.hop_seconds is None else round(self.hop_seconds * self.sample_rate)


@dataclass(frozen=True)
class ClipSettings(Settings):
    """How clips are to be cut from recordings; ``auto`` for what these are to say.

    See :mod:`audio_lightning.data.clip_choice`.

    Attributes:
        sample_rate: rate in hertz to which recordings are resampled.
        clip_seconds: length of a clip; shorter recordings are padded, longer ones cut.
        hop_seconds: cut recordings into windows of ``clip_seconds``, this many seconds apart; None for one clip a
            recording.
        padding: how a short recording is filled up.
        channel: which channel of a recording is used, see :data:`audio_lightning.audio.channels.Channel`; ``each``:
            every channel is a clip, in the group of its recording.

    Raises:
        ConfigError: a length, a hop, a rate or a channel that cannot be.
    """

    sample_rate: int | Auto = 22050
    clip_seconds: float | Auto = 4.0
    hop_seconds: float | Auto | None = None
    padding: Padding | Auto = "zero"
    channel: Channel = "mean"

    def __post_init__(self) -> None:
        for name in ("sample_rate", "clip_seconds"):
            if (value := getattr(self, name)) != AUTO:
                _require_positive(name, value)
        shape = self.nominal
        if shape.hop_samples is not None and shape.hop_samples < 1:
            raise ConfigError(
                f"data.hop_seconds={self.hop_seconds}: expected more than 0, or null for one clip a recording"
            )
        check_channel(self.channel)

    @property
    def automatic(self) -> list[str]:
        """Names of the settings that follow from the recordings."""
        return [field.name for field in fields(ClipShape) if getattr(self, field.name) == AUTO]

    @property
    def nominal(self) -> ClipShape:
        """The settings, with those of most data sets in place of what follows from the recordings."""
        given = {name: getattr(self, name) for name in {field.name for field in fields(ClipShape)} - {*self.automatic}}
        return ClipShape(**given)


@dataclass(frozen=True)
class CheckSettings(Settings):
    """What to do about bad data.

    Attributes:
        bad_recordings: what to do about a recording that is missing or cannot be read: stop with a list of all such,
            leave them out, or put silence in their place.
        allow_leakage: go on where a group or the same audio is in two splits.
    """

    bad_recordings: BadRecordings = "error"
    allow_leakage: bool = False


@dataclass(frozen=True)
class LoadingSettings(Settings):
    """How clips come into batches.

    Attributes:
        sampling: ``uniform``: every training clip once an epoch; ``balanced``: as many clips, drawn so that every class
            is equally probable.
        batch_size: clips a batch, on each device.
        num_workers: processes that assemble batches; 0 suffices, since nothing is decoded in training.
        resident: keep all training clips on the device and assemble batches there; ``auto``: on a GPU where they fit.

    Raises:
        ConfigError: a batch of no clips.
    """

    sampling: Sampling = "uniform"
    batch_size: int = 32
    num_workers: int = 0
    resident: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        _require_positive("batch_size", self.batch_size)


@dataclass(frozen=True)
class CacheSettings(Settings):
    """Where decoded recordings are kept.

    Attributes:
        cache_dir: the folder; by default the user's cache folder.
        cache_max_gb: most gigabytes that are kept there.
        cache_dtype: type of the samples there.
        cache_identity: how a recording is known again there.
    """

    cache_dir: str | None = None
    cache_max_gb: float = 100.0
    cache_dtype: SampleType = "float32"
    cache_identity: Identity = "stat"

    @property
    def root(self) -> Path:
        """The folder."""
        return Path(self.cache_dir).expanduser() if self.cache_dir else default_cache_dir()

    def open(self) -> Cache:
        """The cache."""
        return Cache(self.root, self.cache_max_gb, self.cache_dtype, self.cache_identity)


def _require_positive(name: str, value: float) -> None:
    if value <= 0:
        raise ConfigError(f"data.{name}={value}: expected more than 0")
