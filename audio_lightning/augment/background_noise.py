"""Background noise from recordings."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import random_below, require_range, uniform
from audio_lightning.augment.noise import add_at_snr
from audio_lightning.augment.recorded import RecordedAugmentation
from audio_lightning.core.errors import ConfigError


class BackgroundNoise(RecordedAugmentation):
    """Adds a random piece of a random noise recording to each clip, at a volume or a signal-to-noise ratio of its own.

    Warden (2018, arXiv 1804.03209) trains with the volume from 0 to 0.1 in 80 % of the clips.

    Recordings shorter than a clip are repeated.

    Args:
        volume: range of the factor that the recording is multiplied by, drawn uniformly; null where ``snr_db`` is
            given.
        snr_db: range of the signal-to-noise ratio over the whole clip in decibels, drawn uniformly; null where
            ``volume`` is given. At a ratio, a silent clip stays silent.
        required: refuse to train without recordings of noise; False: train without noise then.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    source: ClassVar[str] = "noise"

    def __init__(
        self,
        *,
        sample_rate: int,
        volume: tuple[float, float] | None = (0.0, 0.1),
        snr_db: tuple[float, float] | None = None,
        required: bool = True,
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
        self.volume, self.snr_db, self.required = volume, snr_db, required

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Clips with noise.

        Raises:
            RuntimeError: there are no recordings.
        """
        noise = self._pieces(*x.shape)
        if self.volume is not None:
            return x + noise * uniform(self.volume, x)[:, None]
        assert self.snr_db is not None
        return add_at_snr(x, noise, uniform(self.snr_db, x))

    def _pieces(self, clips: int, length: int) -> Float[Tensor, "clips length"]:
        recording = self._draw_recordings(clips)
        start, available = self.starts[recording], self.lengths[recording]
        places = torch.where(available > length, available - length + 1, available)
        within = (random_below(places)[:, None] + torch.arange(length, device=start.device)) % available[:, None]
        return self.samples[start[:, None] + within].float()
