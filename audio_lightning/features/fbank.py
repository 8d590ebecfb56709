"""Kaldi's log-mel filter bank energies, the input of the Audio Spectrogram Transformer and many speech models."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.checks import count_samples, require_choice, require_positive
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.filters import KaldiFilters
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.features.stft import smallest_n_fft

PREEMPHASIS = 0.97
ENERGY_FLOOR = torch.finfo(torch.float32).eps
POVEY_EXPONENT = 0.85


class FBank(FrontEnd):
    """Kaldi's log-mel filter bank energies, [B, T] to [B, 1, n_mels, frames].

    The output is the natural logarithm of the power in mel bands, as in ``compute-fbank-feats`` without dither and
    energy. Frames lie within the clip; each is centred to mean 0 and pre-emphasized with 0.97. A clip shorter than a
    window is padded with zeros.

    Equal to ``torchaudio.compliance.kaldi.fbank``; the default options are those of the Audio Spectrogram Transformer
    (Gong, Chung & Glass 2021). That model also subtracts the mean of the clip, which makes no difference here because
    the mean of each frame is subtracted.

    As in Kaldi, the transform is no longer than the window needs. Bands narrower than the distance of its frequencies
    can be empty; their value is always log(1.19e-7). Networks trained on Kaldi features expect that.

    Args:
        n_mels: number of mel bands.
        window_seconds: length of the window in seconds.
        hop_seconds: distance between the starts of two frames in seconds.
        window: ``"hanning"``, or ``"povey"``, Kaldi's default (a Hann window to the power of 0.85).
        f_min: lower edge of the lowest band in hertz.
        f_max: upper edge of the highest band in hertz; None for half the sample rate.
        min_frames: minimum number of frames; a shorter spectrogram is padded with zeros before it is normalized. The
            Audio Spectrogram Transformer pads clips of 1 s to 128 frames, of 5 s to 512, of 10 s to 1024.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`.

    Raises:
        ConfigError: invalid option.

    Example:
        >>> import torch
        >>> from audio_lightning.features.fbank import FBank
        >>> front_end = FBank(sample_rate=16000, num_samples=16000, min_frames=128, normalize="clip")
        >>> front_end(torch.randn(2, 16000)).shape  # 98 frames, padded to 128
        torch.Size([2, 1, 128, 128])
    """

    window: Tensor
    weights: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        n_mels: int = 128,
        window_seconds: float = 0.025,
        hop_seconds: float = 0.01,
        window: Literal["hanning", "povey"] = "hanning",
        f_min: float = 20,
        f_max: float | None = None,
        min_frames: int = 1,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        require_choice("window", window, ["hanning", "povey"])
        require_positive("min_frames", min_frames)
        self.min_frames = min_frames
        length = count_samples("window_seconds", window_seconds, sample_rate)
        self.hop_length = count_samples("hop_seconds", hop_seconds, sample_rate)
        self.n_fft = smallest_n_fft(length)
        weights = KaldiFilters(sample_rate, n_mels, f_min, f_max).weights(self.n_fft).T.contiguous()
        hann = torch.hann_window(length, periodic=False, dtype=torch.float32)
        self.register_buffer("window", hann**POVEY_EXPONENT if window == "povey" else hann, persistent=False)
        self.register_buffer("weights", weights.to(torch.get_default_device()), persistent=False)

    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 mels frames"]:
        """Compute the log energies as a spectrogram with one channel."""
        length = len(self.window)
        missing = max(0, length - waveform.shape[-1])
        frames = nn.functional.pad(waveform, (0, missing)).unfold(-1, length, self.hop_length)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * self.window, self.n_fft)
        power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
        energies = (self.weights @ power.mT.contiguous()).clamp_min(ENERGY_FLOOR).log().unsqueeze(1)
        return nn.functional.pad(energies, (0, max(0, self.min_frames - energies.shape[-1])))
