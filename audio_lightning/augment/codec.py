"""Lossy-codec augmentation."""

import io
from collections.abc import Sequence

import numpy as np
import soundfile
import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.augment.base import WaveformAugmentation, require_range
from audio_lightning.core.errors import ConfigError

FORMATS = {
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"},
    "vorbis": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
}

RATES = {
    "mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    "opus": (8000, 12000, 16000, 24000, 48000),
}
"""Sample rates in hertz that a format supports; clips at other rates are resampled. Vorbis supports any rate."""

MOST_COMPRESSION = 0.99
"""Maximum compression level that libsndfile accepts for MP3."""

MP3_KILOBITS = ((32_000, 32, 320), (16_000, 8, 160), (0, 8, 64))
"""Bit rates of MP3 for each range of sample rates: minimum sample rate in hertz, minimum and maximum kbit/s."""

OPUS_KILOBITS = (6, 256)
"""Minimum and maximum bit rate of Opus in kbit/s, at any sample rate."""

BLOCK = 2**15
"""Samples encoded at once: older encoders put their whole input on the stack."""


class Codec(WaveformAugmentation):
    """Lossy-codec augmentation: each clip is encoded and decoded, like recordings from the internet or telephones.

    Length, timing and loudness are kept; clips beyond full scale are not clipped. Encoding is slow: it runs in memory
    on the CPU, clip by clip, and a GPU waits for it. One second of sound at 22 050 Hz takes 10 (Vorbis) to 50 (Opus)
    milliseconds.

    Args:
        formats: ``mp3``, ``vorbis``, ``opus``; each clip draws one of the given formats.
        compression: range of the compression level, drawn uniformly, from 0 for the largest files to 0.99 for the
            smallest. At 22 050 Hz that is 160 to 10 kbit/s for MP3, 90 to 40 for Vorbis (noise) and 256 to 9 for Opus.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an invalid option, or a format that the installed libsndfile cannot write.

    Example:
        >>> import torch
        >>> from audio_lightning.augment.codec import Codec
        >>> _ = torch.manual_seed(0)
        >>> clip = 0.1 * torch.randn(1, 8000)
        >>> coded = Codec(sample_rate=16000, formats=["vorbis"], compression=(0.9, 0.9), p=1.0)(clip)
        >>> coded.shape, torch.equal(coded, clip)
        (torch.Size([1, 8000]), False)
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        formats: Sequence[str] = ("mp3", "vorbis"),
        compression: tuple[float, float] = (0.4, 0.95),
        p: float = 0.5,
    ) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        if not formats or not set(formats) <= set(FORMATS):
            raise ConfigError(f"formats is {list(formats)}, expected a list of some of: {', '.join(FORMATS)}")
        require_range("compression", compression, least=0)
        if compression[1] > MOST_COMPRESSION:
            raise ConfigError(f"compression is {list(compression)}, expected at most {MOST_COMPRESSION}")
        for name in formats:
            container, subtype = FORMATS[name]["format"], FORMATS[name]["subtype"]
            if subtype not in soundfile.available_subtypes(container):
                raise ConfigError(
                    f"formats: {name} cannot be written by libsndfile {soundfile.__libsndfile_version__}; leave it "
                    "out, or install a newer soundfile (0.12)"
                )
        self.formats, self.compression = list(formats), compression

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Encode and decode clips."""
        formats = torch.randint(len(self.formats), (len(x),)).tolist()
        levels = torch.empty(len(x)).uniform_(*self.compression).tolist()
        scale = x.abs().amax(dim=1, keepdim=True).clamp(min=1)
        coded = [
            coded_and_decoded(clip, self.sample_rate, self.formats[number], level)
            for clip, number, level in zip((x / scale).cpu().numpy(), formats, levels)
        ]
        return torch.from_numpy(np.stack(coded)).to(x.device) * scale


def compression_of(name: str, kilobits: float, sample_rate: int) -> float | None:
    """Compression level at which libsndfile encodes with a given constant bit rate.

    LAME takes the nearest bit rate of MP3, so that the lowest one is reached with a compression below 1.

    Args:
        name: ``mp3`` or ``opus``.
        kilobits: bit rate in kbit/s.
        sample_rate: sample rate of the clips in hertz.

    Returns:
        The compression level; None if the format does not support the bit rate at this sample rate.
    """
    rate = coding_rate(name, sample_rate)
    ranges = MP3_KILOBITS if name == "mp3" else ((0, *OPUS_KILOBITS),)
    least, most = next((low, high) for start, low, high in ranges if rate >= start)
    found = (most - kilobits) / (most - least)
    return min(found, MOST_COMPRESSION) if 0 <= found <= 1 else None


def coding_rate(name: str, sample_rate: int) -> int:
    """Lowest sample rate in hertz, at or above ``sample_rate``, that a format supports; its highest one if none is."""
    rates = RATES.get(name, (sample_rate,))
    return min((rate for rate in rates if rate >= sample_rate), default=rates[-1])


def coded_and_decoded(
    clip: Float[np.ndarray, "time"], sample_rate: int, name: str, compression: float
) -> Float[np.ndarray, "time"]:
    """Encode and decode a clip within full scale with a format of ``FORMATS``; return float32 of the same length."""
    rate = coding_rate(name, sample_rate)
    samples = _resampled(clip, sample_rate, rate)
    memory = io.BytesIO()
    with soundfile.SoundFile(memory, "w", rate, 1, compression_level=compression, **FORMATS[name]) as file:
        for start in range(0, len(samples), BLOCK):
            file.write(samples[start : start + BLOCK])
    memory.seek(0)
    decoded = _resampled(soundfile.read(memory, dtype="float32")[0], rate, sample_rate)[: len(clip)]
    return np.pad(decoded, (0, len(clip) - len(decoded)))


def _resampled(samples: Float[np.ndarray, "time"], rate: int, wanted: int) -> Float[np.ndarray, "other_time"]:
    import soxr

    return samples if rate == wanted else soxr.resample(samples, rate, wanted)
