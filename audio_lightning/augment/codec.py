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
"""Sample rates in hertz that a format knows; clips with another one are resampled. Vorbis takes any."""

MOST_COMPRESSION = 0.99
"""MP3 takes no higher number."""

MP3_KILOBITS = ((32_000, 32, 320), (16_000, 8, 160), (0, 8, 64))
"""From which sample rate on MP3 has which lowest and highest bit rate a channel, in kbit/s."""

OPUS_KILOBITS = (6, 256)
"""The same for Opus, at any rate."""

BLOCK = 2**15
"""Samples that are coded at once: older encoders put all that they get on the stack."""


class Codec(WaveformAugmentation):
    """Codes and decodes each clip in memory, as recordings from the internet and from telephones have been.

    Length, place and loudness are kept; a clip beyond full scale is not clipped. Coding is work for a CPU, clip by
    clip, and dear: a second of sound at 22 050 Hz takes 10 (Vorbis) to 50 (Opus) milliseconds, and clips on a GPU are
    waited for.

    Args:
        formats: each clip draws one of these: ``mp3``, ``vorbis``, ``opus``.
        compression: range of the compression, drawn uniformly, from 0 for the largest files to 0.99 for the smallest.
            At 22 050 Hz that is 160 to 10 kbit/s in MP3, 90 to 40 in Vorbis (for noise) and 256 to 9 in Opus.
        sample_rate, p: see :class:`WaveformAugmentation`.

    Raises:
        ConfigError: an option that cannot work, or a format that the installed libsndfile cannot write.
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
                    f"formats: {name} cannot be written by libsndfile {soundfile.__libsndfile_version__}: leave it "
                    "out, or install a newer soundfile (0.12)"
                )
        self.formats, self.compression = list(formats), compression

    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Coded and decoded clips."""
        formats = torch.randint(len(self.formats), (len(x),)).tolist()
        levels = torch.empty(len(x)).uniform_(*self.compression).tolist()
        scale = x.abs().amax(dim=1, keepdim=True).clamp(min=1)
        coded = [
            coded_and_decoded(clip, self.sample_rate, self.formats[number], level)
            for clip, number, level in zip((x / scale).cpu().numpy(), formats, levels)
        ]
        return torch.from_numpy(np.stack(coded)).to(x.device) * scale


def compression_of(name: str, kilobits: float, sample_rate: int) -> float | None:
    """The compression with which a format has a constant bit rate, as libsndfile computes one from the other.

    LAME takes the nearest bit rate that MP3 has, so that its lowest one is reached without a compression of 1.

    Args:
        name: ``mp3`` or ``opus``.
        kilobits: bit rate in kbit/s.
        sample_rate: of the clips in hertz.

    Returns:
        None where the format does not have that bit rate at the sample rate.
    """
    rate = coding_rate(name, sample_rate)
    ranges = MP3_KILOBITS if name == "mp3" else ((0, *OPUS_KILOBITS),)
    least, most = next((low, high) for start, low, high in ranges if rate >= start)
    found = (most - kilobits) / (most - least)
    return min(found, MOST_COMPRESSION) if 0 <= found <= 1 else None


def coding_rate(name: str, sample_rate: int) -> int:
    """The sample rate in hertz that clips are coded at: their own, or the next higher one that the format knows."""
    rates = RATES.get(name, (sample_rate,))
    return min((rate for rate in rates if rate >= sample_rate), default=rates[-1])


def coded_and_decoded(
    clip: Float[np.ndarray, "time"], sample_rate: int, name: str, compression: float
) -> Float[np.ndarray, "time"]:
    """What is left of a clip within full scale after a format of ``FORMATS``; as long as it was, float32."""
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
