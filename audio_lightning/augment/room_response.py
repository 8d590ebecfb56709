"""Convolution with recorded room impulse responses."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from audio_lightning.augment.base import rms
from audio_lightning.augment.recorded import RecordedAugmentation
from audio_lightning.augment.spectrum import fast_length, filter_spectrum
from audio_lightning.core.checks import count_samples
from audio_lightning.core.errors import DataError

LEAD_SECONDS = 0.005
"""What is kept of a response before its highest peak: the rise of the direct sound, and no more of the silence."""


class RoomResponse(RecordedAugmentation):
    """Puts each clip into a random room, by convolving it with a recorded impulse response.

    The highest peak of a response counts as the direct sound, and the clip stays where it is: it is neither delayed by
    the distance to the microphone nor by silence in the recording. It keeps its level (root mean square) and its
    length; what echoes beyond its end is cut off.

    Args:
        max_seconds: longest part of a response that is used, from the direct sound on.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an option that cannot work.
    """

    source: ClassVar[str] = "rir"

    peaks: Int64[Tensor, "recordings"]

    def __init__(self, *, sample_rate: int, max_seconds: float = 1.0, p: float = 0.5) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        self.max_samples = count_samples("max_seconds", max_seconds, sample_rate)
        self.longest = 0
        self.register_buffer("peaks", torch.empty(0, dtype=torch.int64), persistent=False)

    def set_recordings(
        self,
        samples: Float[Tensor, "samples"],
        starts: Int64[Tensor, "recordings"],
        stops: Int64[Tensor, "recordings"],
    ) -> None:
        """Take over the impulse responses, see :meth:`RecordedAugmentation.set_recordings`.

        Each is cut to what is used of it.

        Raises:
            DataError: one of them is silent.
            ValueError: no recordings, or one that is empty or not within ``samples``.
        """
        super().set_recordings(samples, starts, stops)
        sizes = [self.samples[start:stop].abs() for start, stop in zip(starts.tolist(), stops.tolist())]
        if silent := sum(not size.any() for size in sizes):
            raise DataError(f"{silent} of {len(sizes)} impulse responses are silent: leave them out of rir_dir")
        peak = torch.stack([size.argmax() for size in sizes])
        self.peaks = peak.clamp(max=round(LEAD_SECONDS * self.sample_rate))
        self.starts = self.starts + peak - self.peaks
        self.lengths = (self.lengths - peak).clamp(max=self.max_samples) + self.peaks
        self.longest = int(self.lengths.max())

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Clips in rooms.

        Raises:
            RuntimeError: there are no recordings.
        """
        recording = self._draw_recordings(len(x))
        length, peak = self.lengths[recording][:, None], self.peaks[recording][:, None]
        n_fft = fast_length(x.shape[1] + self.longest)
        # The peak comes to the beginning, and so what is before it to the end, from where it acts on what was before.
        place = (torch.arange(n_fft, device=x.device) + peak) % n_fft
        index = (self.starts[recording][:, None] + place).clamp(max=len(self.samples) - 1)
        response = self.samples[index].float() * (place < length)
        echoing = filter_spectrum(x, torch.fft.rfft(response), n_fft)
        return echoing * (rms(x) / rms(echoing).clamp(min=1e-12))
