"""What recordings are like, measured without their labels, once on a machine.

The measurements settle what a setting of ``auto`` is (:mod:`audio_lightning.data.clip_choice`), and describe a data set
in a plan. They are of the recordings as their files hold them, at their own sample rates.
"""

import logging

import numpy as np
from filelock import FileLock
from jaxtyping import Bool, Float, Shaped

from audio_lightning.audio import SILENCE, to_mono
from audio_lightning.audio.ffmpeg import LACKING
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
"""A recording: its rate in hertz and its length (0 where it cannot be read); the silence at its beginning and end in
seconds; the bandwidth in hertz, below which :data:`ROLL_OFF` of its energy lies after pre-emphasis; the share of its
energy (without pre-emphasis) above :data:`HIGH`; the loudness of what sounds in decibels of full scale; the decibels
between its loud and its quiet moments (95th and 5th percentile), an estimate of the ratio of signal and noise from
below; the standard deviation in decibels of the level of what sounds, low for steady sounds; and how periodic its loud
moments are, from 0 (noise) to 1 (a steady pitch between 50 and 1,000 Hz)."""

STORED = np.dtype([("identity", "u1", 16), ("measured", MEASURED)])

MOST_STORED = 2_000_000
"""Recordings that are remembered; those measured first go first."""

LEVEL_SECONDS = 0.05
"""Length of the stretches whose levels are compared."""

QUIET = 40.0
"""Decibels below its loudest moment at which a recording counts as silent, if that is at its beginning or end."""

ROLL_OFF = 0.999
"""Share of the energy below the bandwidth. Where a recording was brought to a higher rate, next to nothing is above the
old Nyquist frequency; pre-emphasis keeps the quiet high part of other recordings from being taken for nothing."""

PRE_EMPHASIS = 0.97
"""Coefficient of the usual first-order high-pass filter."""

HIGH = 10_000.0
"""Hertz from which energy counts as high, as that of most birds, insects and bats."""

SPECTRA = 200
"""Most spectra that are averaged, evenly over what sounds."""

SPECTRUM_SECONDS = 0.064
"""Length of a spectrum, three periods of the lowest pitch."""

LOWEST_PITCH, HIGHEST_PITCH = 50.0, 1000.0


def measure(
    recordings: Recordings, cache: Cache, *, progress: Progress | None = None
) -> Shaped[np.ndarray, "recordings"]:
    """Measure recordings, or find them measured already.

    Args:
        recordings: what to measure; each is decoded as a whole.
        cache: says where measurements are kept, and how a recording is known again. Where nothing can be written
            there, all is measured and nothing kept.
        progress: called with the number of recordings measured and of all that are not known.

    Returns:
        Of type :data:`MEASURED`, one a recording.
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
    except (OSError, NotImplementedError) as error:  # nothing can be written, or locked
        log.info("cannot keep measurements of recordings in %s (%s)", file.parent, error)
        return _measured(recordings, list(range(len(recordings))), progress)[0]


def describe(decoded: Decoded) -> Shaped[np.ndarray, ""]:
    """The measurements of one recording, of type :data:`MEASURED`."""
    rate = decoded.sample_rate
    mono = to_mono(decoded.samples if decoded.used is None else decoded.used)
    found = np.zeros((), MEASURED)
    found["sample_rate"], found["seconds"] = rate, len(mono) / rate
    length = max(1, round(LEVEL_SECONDS * rate))
    levels = _levels(mono, length)
    sounding = np.flatnonzero(levels >= max(levels.max() - QUIET, 20 * np.log10(SILENCE)))
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
    """Those of some recordings, and whether they hold until the recording changes.

    So does that one cannot be read, unless only ffmpeg is missing. Threads suffice: decoding releases the interpreter.
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


def _levels(mono: Float[np.ndarray, "frames"], length: int) -> Float[np.ndarray, "stretches"]:
    """Levels in decibels of full scale of stretches of ``length`` frames; the last one may be shorter."""
    squares = np.add.reduceat(np.square(mono, dtype=np.float64), np.arange(0, len(mono), length))
    counts = np.full(len(squares), length)
    counts[-1] = len(mono) - length * (len(squares) - 1)
    return 10 * np.log10(squares / counts + 1e-10)


def _spectra(
    mono: Float[np.ndarray, "frames"], rate: int, starts: Shaped[np.ndarray, "stretches"]
) -> Float[np.ndarray, "spectra bins"]:
    """Power spectra of stretches of what sounds, evenly chosen; of all of it where it is shorter than one.

    They are padded with as many zeros, so that their transforms are autocorrelations that do not wrap around.
    """
    length = min(len(mono), round(SPECTRUM_SECONDS * rate))
    starts = np.unique(np.minimum(starts, len(mono) - length))
    chosen = starts[np.unique(np.linspace(0, len(starts) - 1, min(SPECTRA, len(starts))).round().astype(int))]
    window = np.hanning(length + 2)[1:-1].astype(np.float32)
    stretches = np.lib.stride_tricks.sliding_window_view(mono, length)[chosen] * window
    return np.abs(np.fft.rfft(stretches, n=2 * length, axis=1)) ** 2


def _pitch_strength(spectra: Float[np.ndarray, "spectra bins"], rate: int) -> float:
    """Mean height of the largest peak of the normalized autocorrelation, which is the transform of the power spectrum.

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
    # The flank of the peak at lag 0, which every low-pass sound has, is no pitch.
    falling = np.minimum.accumulate(normalized, axis=1)
    return float(np.clip((normalized - falling).max(axis=1), 0, 1).mean())
