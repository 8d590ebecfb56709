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
    """Background noise: a random excerpt of a random noise recording, at a random volume or signal-to-noise ratio.

    Noise recordings shorter than a clip are repeated. Warden (2018, arXiv 1804.03209) trains with a volume of 0 to 0.1
    in 80 % of the clips.

    Args:
        volume: range of the amplitude factor of the noise, drawn uniformly; null if ``snr_db`` is given.
        snr_db: range of the signal-to-noise ratio over the whole clip in decibels, drawn uniformly; null if ``volume``
            is given. With a ratio, a silent clip stays silent.
        required: whether training without noise recordings is an error; otherwise, this augmentation is disabled.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.background_noise import BackgroundNoise
        >>> augment = BackgroundNoise(sample_rate=16000, volume=(0.1, 0.1), p=1.0)
        >>> augment.set_recordings(torch.ones(100), starts=torch.tensor([0]), stops=torch.tensor([100]))
        >>> augment(torch.zeros(1, 4))
        tensor([[0.1000, 0.1000, 0.1000, 0.1000]])
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
                f"volume is {volume} and snr_db is {snr_db}; give a range for one, and null for the other"
            )
        if volume is not None:
            require_range("volume", volume, least=0)
        if snr_db is not None:
            require_range("snr_db", snr_db)
        self.volume, self.snr_db, self.required = volume, snr_db, required

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Add noise to clips.

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
