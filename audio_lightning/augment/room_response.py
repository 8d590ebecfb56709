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
"""Seconds of a response that are kept before its highest peak: the rise of the direct sound, without silence."""


class RoomResponse(RecordedAugmentation):
    """Reverberation by convolution with a random recorded room impulse response.

    The highest peak of a response counts as the direct sound and does not delay the clip, whatever the distance to the
    microphone or the silence in the recording. The clip keeps its level (root mean square) and its length;
    reverberation beyond its end is cut off.

    Args:
        max_seconds: maximum length of a response from the direct sound on, in seconds.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.room_response import RoomResponse
        >>> augment = RoomResponse(sample_rate=16000, p=1.0)
        >>> response = torch.tensor([0.0, 0.0, 1.0, 0.5])  # two samples of silence, direct sound, one echo
        >>> augment.set_recordings(response, starts=torch.tensor([0]), stops=torch.tensor([4]))
        >>> clip = augment(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
        >>> (clip / clip[0, 0]).abs().round(decimals=3)
        tensor([[1.0000, 0.5000, 0.0000, 0.0000]])
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
        """Set the impulse responses, see :meth:`RecordedAugmentation.set_recordings`.

        Each is trimmed to the part that is used.

        Raises:
            DataError: a response is silent.
            ValueError: there are no responses, or one is empty or not within ``samples``.
        """
        super().set_recordings(samples, starts, stops)
        sizes = [self.samples[start:stop].abs() for start, stop in zip(starts.tolist(), stops.tolist())]
        if silent := sum(not size.any() for size in sizes):
            raise DataError(f"{silent} of {len(sizes)} impulse responses are silent; leave them out of rir_dir")
        peak = torch.stack([size.argmax() for size in sizes])
        self.peaks = peak.clamp(max=round(LEAD_SECONDS * self.sample_rate))
        self.starts = self.starts + peak - self.peaks
        self.lengths = (self.lengths - peak).clamp(max=self.max_samples) + self.peaks
        self.longest = int(self.lengths.max())

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Convolve clips with impulse responses.

        Raises:
            RuntimeError: there are no recordings.
        """
        recording = self._draw_recordings(len(x))
        length, peak = self.lengths[recording][:, None], self.peaks[recording][:, None]
        n_fft = fast_length(x.shape[1] + self.longest)
        # The response is rotated such that its peak is at index 0; samples before the peak wrap around to the end, and
        # so act on earlier samples of the clip.
        place = (torch.arange(n_fft, device=x.device) + peak) % n_fft
        index = (self.starts[recording][:, None] + place).clamp(max=len(self.samples) - 1)
        response = self.samples[index].float() * (place < length)
        echoing = filter_spectrum(x, torch.fft.rfft(response), n_fft)
        return echoing * (rms(x) / rms(echoing).clamp(min=1e-12))
