"""Measurements of recordings without their labels, made once per machine.

They determine settings that are ``auto`` (:mod:`audio_lightning.data.clip_choice`), and describe a data set in a plan.
Recordings are measured at their own sample rates.
"""

import logging

import numpy as np
from filelock import FileLock
from jaxtyping import Bool, Float, Shaped

from audio_lightning.audio import to_mono
from audio_lightning.audio.ffmpeg import LACKING
from audio_lightning.audio.sounding import segment_levels, sounding_segments
from audio_lightning.core.cores import cores, in_order
from audio_lightning.core.errors import AudioError
from audio_lightning.data.store.cache import Cache, Progress
from audio_lightning.data.store.recordings import Decoded, Recordings, locate
from audio_lightning.data.store.rows import read_rows, write_rows

log = logging.getLogger(__name__)

FORMAT_VERSION = 1

MEASURED = np.dtype(
    [
        ("sample_rate", "i4"),
        ("seconds", "f8"),
        ("lead_seconds", "f4"),
        ("trail_seconds", "f4"),
        ("bandwidth", "f4"),
        ("high_share", "f4"),
        ("loudness", "f4"),
        ("range", "f4"),
        ("unsteadiness", "f4"),
        ("pitch", "f4"),
    ]
)
"""Measurements of a recording: sample rate in hertz and duration in seconds (0 if it cannot be read); silence at its
beginning and end in seconds; bandwidth in hertz, below which :data:`ROLL_OFF` of the energy lies after pre-emphasis;
share of the energy (without pre-emphasis) above :data:`HIGH`; loudness of the sounding part in dB of full scale;
difference in dB between loud and quiet moments (95th and 5th percentile), a lower bound of the signal-to-noise ratio;
standard deviation in dB of the level of the sounding part, low for steady sounds; and periodicity of loud moments, from
0 (noise) to 1 (a steady pitch between 50 and 1,000 Hz)."""
STORED = np.dtype([("identity", "u1", 16), ("measured", MEASURED)])

MOST_STORED = 2_000_000
"""Maximum number of stored measurements; the oldest are dropped first."""

LEVEL_SECONDS = 0.05
"""Length of the segments whose levels are compared, in seconds."""

QUIET = 40.0
"""Level in dB below the loudest moment that counts as silence at the beginning or end of a recording."""

ROLL_OFF = 0.999
"""Share of the energy below the bandwidth. A recording that was resampled to a higher rate has almost no energy above
the old Nyquist frequency; pre-emphasis makes the quiet high frequencies of other recordings count."""

PRE_EMPHASIS = 0.97
"""Coefficient of the first-order high-pass filter."""

HIGH = 10_000.0
"""Frequency in hertz above which energy counts as high, as in the calls of bats and many insects."""

SPECTRA = 200
"""Maximum number of averaged spectra, spread evenly over the sounding part."""

SPECTRUM_SECONDS = 0.064
"""Length of a spectrum in seconds, three periods of the lowest pitch."""

LOWEST_PITCH, HIGHEST_PITCH = 50.0, 1000.0


def measure(
    recordings: Recordings, cache: Cache, *, progress: Progress | None = None
) -> Shaped[np.ndarray, "recordings"]:
    """Measure recordings, or reuse stored measurements.

    Args:
        recordings: recordings to measure; each is decoded completely.
        cache: cache whose folder and identities are used. If it cannot be written, nothing is stored.
        progress: callback with the number of measured recordings and the total of those to measure.

    Returns:
        Array of type :data:`MEASURED`, one entry per recording.
    """
    identities = recordings.identities(cache.identity)
    file = cache.root / "measured" / f"recordings-{FORMAT_VERSION}.npy"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(".lock")):
            known = read_rows(file, STORED)
            place = locate(identities, known["identity"])
            new = np.flatnonzero(place < 0)
            found = np.zeros(len(recordings), STORED)
            found["identity"] = identities
            found["measured"][place >= 0] = known["measured"][place[place >= 0]]
            if len(new):
                found["measured"][new], kept = _measured(recordings, new.tolist(), progress)
                write_rows(file, np.concatenate([known, found[new[kept]]])[-MOST_STORED:])
            return found["measured"]
    except (OSError, NotImplementedError) as error:  # the folder cannot be written or locked
        log.info("cannot store measurements of recordings in %s (%s)", file.parent, error)
        return _measured(recordings, list(range(len(recordings))), progress)[0]


def describe(decoded: Decoded) -> Shaped[np.ndarray, ""]:
    """Measure one recording; returns an entry of type :data:`MEASURED`."""
    rate = decoded.sample_rate
    mono = to_mono(decoded.samples if decoded.used is None else decoded.used)
    found = np.zeros((), MEASURED)
    found["sample_rate"], found["seconds"] = rate, len(mono) / rate
    length = max(1, round(LEVEL_SECONDS * rate))
    levels = segment_levels(mono, length)
    sounding = sounding_segments(levels, QUIET)
    if not len(sounding):
        found["lead_seconds"] = found["seconds"]
        return found
    first, last = sounding[0] * length, min(len(mono), (sounding[-1] + 1) * length)
    found["lead_seconds"], found["trail_seconds"] = first / rate, (len(mono) - last) / rate
    found["loudness"] = 10 * np.log10(np.mean(10 ** (levels[sounding] / 10)))
    low, high = np.percentile(levels, (5, 95))
    found["range"], found["unsteadiness"] = high - low, levels[sounding].std()
    spectra = _spectra(mono, rate, sounding * length)
    frequency = np.fft.rfftfreq(2 * (spectra.shape[1] - 1), 1 / rate)
    power = spectra.mean(axis=0)
    emphasised = np.cumsum(power * (1 + PRE_EMPHASIS**2 - 2 * PRE_EMPHASIS * np.cos(2 * np.pi * frequency / rate)))
    if emphasised[-1] > 0:
        found["bandwidth"] = frequency[np.searchsorted(emphasised, ROLL_OFF * emphasised[-1])]
        found["high_share"] = power[frequency >= HIGH].sum() / power.sum()
        found["pitch"] = _pitch_strength(spectra, rate)
    return found


def _measured(
    recordings: Recordings, chosen: list[int], progress: Progress | None
) -> tuple[Shaped[np.ndarray, "recordings"], Bool[np.ndarray, "recordings"]]:
    """Measure some recordings; also return whether each result is valid until the recording changes.

    An unreadable recording is a valid result as well, unless only ffmpeg is missing. Threads are enough: decoding
    releases the interpreter lock.
    """

    def one(index: int) -> tuple[Shaped[np.ndarray, ""], bool]:
        try:
            return describe(recordings.decode(index)), True
        except AudioError as error:
            return np.zeros((), MEASURED), LACKING not in str(error)

    found, kept = np.zeros(len(chosen), MEASURED), np.zeros(len(chosen), bool)
    for done, (measured, holds) in enumerate(in_order(one, chosen, cores())):
        found[done], kept[done] = measured, holds
        if progress is not None:
            progress(done + 1, len(chosen))
    return found, kept


def _spectra(
    mono: Float[np.ndarray, "frames"], rate: int, starts: Shaped[np.ndarray, "stretches"]
) -> Float[np.ndarray, "spectra bins"]:
    """Power spectra of evenly spaced segments of the sounding part, or of a whole shorter recording.

    Segments are padded with zeros to twice their length, so that the transforms are autocorrelations without
    wrap-around.
    """
    length = min(len(mono), round(SPECTRUM_SECONDS * rate))
    starts = np.unique(np.minimum(starts, len(mono) - length))
    chosen = starts[np.unique(np.linspace(0, len(starts) - 1, min(SPECTRA, len(starts))).round().astype(int))]
    window = np.hanning(length + 2)[1:-1].astype(np.float32)
    stretches = np.lib.stride_tricks.sliding_window_view(mono, length)[chosen] * window
    return np.abs(np.fft.rfft(stretches, n=2 * length, axis=1)) ** 2


def _pitch_strength(spectra: Float[np.ndarray, "spectra bins"], rate: int) -> float:
    """Mean height of the largest peak of the normalized autocorrelation, the transform of the power spectrum.

    The autocorrelation of the window is divided out, as in Boersma, "Accurate short-term analysis of the fundamental
    frequency and the harmonics-to-noise ratio of a sampled sound", IFA Proceedings 17, 1993, equation 9.
    """
    length = spectra.shape[1] - 1
    loud = spectra[spectra.sum(axis=1) > 0]
    shortest, longest = round(rate / HIGHEST_PITCH), min(round(rate / LOWEST_PITCH), length // 2)
    if longest <= shortest or not len(loud):
        return 0.0
    of_window = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(length + 2)[1:-1], n=2 * length)) ** 2)
    correlation = np.fft.irfft(loud, axis=1)[:, :longest] / of_window[:longest]
    normalized = correlation[:, shortest:] / correlation[:, :1]
    # The flank of the peak at lag 0, present in every low-pass sound, does not indicate a pitch.
    falling = np.minimum.accumulate(normalized, axis=1)
    return float(np.clip((normalized - falling).max(axis=1), 0, 1).mean())
