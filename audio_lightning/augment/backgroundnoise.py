"""Noise that was recorded."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation, random_below, require_range, uniform
from audio_lightning.augment.noise import add_at_snr
from audio_lightning.errors import ConfigError


class BackgroundNoise(WaveformAugmentation):
    """Adds a random piece of a random noise recording to each clip, at a volume or a signal-to-noise ratio of its own.

    Warden (2018, arXiv 1804.03209) trains with the volume from 0 to 0.1 in 80 % of the clips.

    The recordings are handed over by :meth:`set_noise`; those shorter than a clip are repeated.

    Args:
        volume: range of the factor that the recording is multiplied by, drawn uniformly; null where ``snr_db`` is
            given.
        snr_db: range of the signal-to-noise ratio over the whole clip in decibels, drawn uniformly; null where
            ``volume`` is given. At a ratio, a silent clip stays silent.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    samples: Float[Tensor, "samples"]
    starts: Int64[Tensor, "recordings"]
    lengths: Int64[Tensor, "recordings"]

    def __init__(
        self,
        *,
        sample_rate: int,
        volume: tuple[float, float] | None = (0.0, 0.1),
        snr_db: tuple[float, float] | None = None,
        p: float = 0.8,
    ) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        if (volume is None) == (snr_db is None):
            raise ConfigError(
                f"volume is {volume} and snr_db is {snr_db}: give a range for one, and null for the other"
            )
        if volume is not None:
            require_range("volume", volume, least=0)
        if snr_db is not None:
            require_range("snr_db", snr_db)
        self.volume, self.snr_db = volume, snr_db
        self.register_buffer("samples", torch.empty(0), persistent=False)
        for name in ("starts", "lengths"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64), persistent=False)

    @property
    def has_noise(self) -> bool:
        """Whether there are recordings."""
        return len(self.starts) > 0

    def set_noise(
        self,
        samples: Float[Tensor, "samples"],
        starts: Int64[Tensor, "recordings"],
        stops: Int64[Tensor, "recordings"],
    ) -> None:
        """Take over the recordings, which are drawn with equal probability.

        Args:
            samples: of all recordings, at the sample rate of the clips.
            starts: first sample of each recording.
            stops: sample after the last one of each recording.

        Raises:
            ValueError: no recordings, or one that is empty or not within ``samples``.
        """
        if len(starts) == 0 or len(starts) != len(stops):
            raise ValueError(f"expected a start and a stop of at least one recording, got {len(starts)}, {len(stops)}")
        if not bool(((starts >= 0) & (starts < stops) & (stops <= len(samples))).all()):
            raise ValueError(f"every recording must be a part, and not an empty one, of the {len(samples)} samples")
        device = self.samples.device
        self.samples = samples.to(device)
        self.starts, self.lengths = starts.to(device), (stops - starts).to(device)

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Clips with noise.

        Raises:
            RuntimeError: there are no recordings.
        """
        if not self.has_noise:
            raise RuntimeError("BackgroundNoise has no recordings yet: call set_noise() with some first")
        noise = self._pieces(*x.shape)
        if self.volume is not None:
            return x + noise * uniform(self.volume, x)[:, None]
        assert self.snr_db is not None
        return add_at_snr(x, noise, uniform(self.snr_db, x))

    def _pieces(self, clips: int, length: int) -> Float[Tensor, "clips length"]:
        device = self.samples.device
        recording = torch.randint(len(self.starts), (clips,), device=device)
        start, available = self.starts[recording], self.lengths[recording]
        places = torch.where(available > length, available - length + 1, available)
        within = (random_below(places)[:, None] + torch.arange(length, device=device)) % available[:, None]
        return self.samples[start[:, None] + within].float()
