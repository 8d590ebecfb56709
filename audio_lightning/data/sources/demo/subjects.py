"""The ten subjects of the demo data, synthesized from noise, harmonics and envelopes.

A subject is a function of a source recording's random generator and sample rate in hertz. It draws the properties of
the source (pitch, rhythm, timbre), and returns the function that generates its occurrences.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from numpy.random import Generator
from scipy import fft, signal

Samples = Float[np.ndarray, "samples"]
Event = Callable[[int, Generator], Samples]
"""``event(num_samples, rng)``: generates one occurrence of a subject; its peak level is arbitrary."""


def air_conditioner(source: Generator, rate: int) -> Event:
    """Steady rush of air over the hum of a motor."""
    hum, hum_level, tilt = source.uniform(45.0, 62.0), source.uniform(0.05, 0.5), source.uniform(-6.0, 0.0)
    partials = source.uniform(0.2, 1.0, 20) / np.arange(1, 21)

    def event(num_samples: int, rng: Generator) -> Samples:
        air = coloured_noise((num_samples,), rate, tilt, rng)
        frequency = hum * (1 + 0.003 * wander(num_samples, rate, 1.0, rng))
        return air / air.std() + hum_level * harmonics(frequency, rate, partials)

    return event


def car_horn(source: Generator, rate: int) -> Event:
    """Two steady tones about a third apart, in honks."""
    low, interval = source.uniform(280.0, 520.0), source.choice([1.19, 1.26, 1.33])
    partials = np.arange(1, 65) ** -source.uniform(0.2, 1.2)
    honk, pause = source.uniform(0.3, 1.5), source.uniform(0.15, 0.5)

    def event(num_samples: int, rng: Generator) -> Samples:
        steady = np.full(num_samples, low)
        tones = harmonics(steady, rate, partials) + harmonics(steady * interval, rate, partials)
        envelope = np.zeros(num_samples)
        for start in occurrences(num_samples / rate, honk + pause, honk + 3 * pause, rng):
            envelope += gate(num_samples, rate, start, honk * rng.uniform(0.7, 1.0), 0.01, 0.05)
        return tones * envelope

    return event


def children_playing(source: Generator, rate: int) -> Event:
    """Several calling voices that glide and tremble, over babble."""
    pitches = source.uniform(260.0, 600.0, source.integers(3, 6))
    vibrato = source.uniform(4.5, 7.5)
    babble_level = source.uniform(0.1, 0.5)

    def event(num_samples: int, rng: Generator) -> Samples:
        seconds = num_samples / rate
        time = np.arange(num_samples) / rate
        syllables = np.maximum(wander(num_samples, rate, 6.0, rng), 0.0)
        total = babble_level * syllables * coloured_noise((num_samples,), rate, -3.0, rng)
        for pitch in pitches:
            glide = 2 ** (0.5 * wander(num_samples, rate, 2.5, rng) + 0.04 * np.sin(2 * np.pi * vibrato * time))
            voice = harmonics(
                pitch * glide, rate, formants(pitch, rng.uniform((500, 1200, 2800), (1000, 2600, 4000)), 0.7)
            )
            for start in np.arange(rng.uniform(-0.8, 0.4), seconds, 1.0) + rng.uniform(0.0, 0.4):
                total += (
                    voice * gate(num_samples, rate, start, rng.uniform(0.25, 0.7), 0.05, 0.1) * rng.uniform(0.4, 1.0)
                )
        return total

    return event


def dog_bark(source: Generator, rate: int) -> Event:
    """Short barks at irregular times: a voice that rises and falls within a tenth of a second, and breath."""
    pitch, bark = source.uniform(250.0, 800.0), source.uniform(0.08, 0.2)
    partials = formants(pitch, source.uniform((500, 1000, 2000), (1000, 2000, 3500)), 0.5)
    interval, breath = source.uniform(0.25, 0.45), source.uniform(0.1, 0.5)

    def event(num_samples: int, rng: Generator) -> Samples:
        total = np.zeros(num_samples)
        for start in occurrences(num_samples / rate, interval, 2.0 * interval, rng):
            envelope = gate(num_samples, rate, start, bark * rng.uniform(0.8, 1.2), 0.015, 0.7 * bark)
            voice = harmonics(pitch * (0.6 + 0.6 * envelope), rate, partials)
            total += rng.uniform(0.6, 1.0) * envelope * (voice + breath * rng.standard_normal(num_samples))
        return total

    return event


def drilling(source: Generator, rate: int) -> Event:
    """Buzz of a motor that slows down under load, with grinding noise that grows with the load."""
    pitch, depth = source.uniform(90.0, 220.0), source.uniform(0.1, 0.3)
    partials = source.uniform(0.3, 1.0, 64) * np.arange(1, 65) ** -source.uniform(0.1, 0.6)
    grind, turn = source.uniform(0.2, 0.8), source.uniform(0.8, 2.0)

    def event(num_samples: int, rng: Generator) -> Samples:
        load = 0.5 + 0.5 * wander(num_samples, rate, turn, rng)
        buzz = harmonics(pitch * (1 - depth * load), rate, partials)
        return buzz + grind * load * rng.standard_normal(num_samples)

    return event


def engine_idling(source: Generator, rate: int) -> Event:
    """Soft pulses of four cylinders of different strength, at low speed."""
    firing = source.uniform(14.0, 30.0)
    cylinders = source.uniform(0.4, 1.0, 4)
    thump, tilt = source.uniform(60.0, 180.0), source.uniform(-6.0, -1.0)

    def event(num_samples: int, rng: Generator) -> Samples:
        phase = np.cumsum(firing * (1 + 0.05 * wander(num_samples, rate, 1.5, rng))) / rate
        strength = cylinders[phase.astype(int) % 4]
        pulse = strength * np.sin(np.pi * (phase % 1)) ** 2
        rattle = coloured_noise((num_samples,), rate, tilt, rng)
        return pulse * (rattle / rattle.std() + np.sin(2 * np.pi * thump / firing * phase))

    return event


def gun_shot(source: Generator, rate: int) -> Event:
    """One crack with an exponential tail and its echoes."""
    tail, crack = source.uniform(0.15, 0.4), source.uniform(0.003, 0.01)
    delays = np.cumsum(source.uniform(0.06, 0.4, source.integers(0, 4)))
    tilt = source.uniform(-4.0, 0.0)

    def event(num_samples: int, rng: Generator) -> Samples:
        onset = rng.uniform(0.01, 0.35) * num_samples / rate
        noise = coloured_noise((num_samples,), rate, tilt, rng)
        reports = onset + np.concatenate([[0.0], delays])
        heights = np.concatenate([[1.0], rng.uniform(0.1, 0.4, len(delays))])
        return noise * (
            decays(reports, heights, tail, num_samples, rate) + decays([onset], 3.0, crack, num_samples, rate)
        )

    return event


def jackhammer(source: Generator, rate: int) -> Event:
    """Hard broadband hits at a regular rate of 9 to 20 per second."""
    hits, decay = source.uniform(9.0, 20.0), source.uniform(0.006, 0.02)
    ring, tilt = source.uniform(800.0, 3000.0), source.uniform(-5.0, 1.0)

    def event(num_samples: int, rng: Generator) -> Samples:
        seconds = num_samples / rate
        onsets = np.arange(rng.uniform(0.0, 1 / hits), seconds, 1 / hits)
        onsets += 0.03 / hits * rng.standard_normal(len(onsets))
        blows = decays(onsets, rng.uniform(0.7, 1.0, len(onsets)), decay, num_samples, rate)
        noise = coloured_noise((num_samples,), rate, tilt, rng)
        return blows * (noise / noise.std() + 0.4 * np.sin(2 * np.pi * ring * np.arange(num_samples) / rate))

    return event


def siren(source: Generator, rate: int) -> Event:
    """Tone that wails slowly, yelps fast, or alternates between two pitches."""
    low = source.uniform(400.0, 800.0)
    span = source.uniform(1.5, 2.2)
    style = source.choice(["wail", "yelp", "two-tone"])
    speed = source.uniform(*{"wail": (0.25, 0.6), "yelp": (2.0, 4.0), "two-tone": (0.6, 1.2)}[style])
    partials = np.arange(1, 20) ** -source.uniform(0.5, 1.8)

    def event(num_samples: int, rng: Generator) -> Samples:
        cycle = np.sin(2 * np.pi * (speed * np.arange(num_samples) / rate + rng.random()))
        height = (np.sign(cycle) if style == "two-tone" else cycle) / 2 + 0.5
        return harmonics(low * span**height, rate, partials) * (1 + 0.3 * wander(num_samples, rate, 1.0, rng))

    return event


def street_music(source: Generator, rate: int) -> Event:
    """Melody, bass and drum at a common tempo."""
    beat = 60 / source.uniform(80.0, 150.0)
    root = source.uniform(180.0, 330.0)
    partials = np.arange(1, 30) ** -source.uniform(0.6, 1.8)
    drum, sustain = source.uniform(0.5, 1.2), source.uniform(0.1, 0.3)

    def event(num_samples: int, rng: Generator) -> Samples:
        beats = np.arange(-rng.random(), num_samples / rate / beat, 0.5)
        step = np.clip(np.searchsorted(beats * beat, np.arange(num_samples) / rate, side="right") - 1, 0, None)
        tune = root * 2 ** (rng.choice([0, 2, 4, 7, 9, 12, 14], len(beats)) / 12)
        bass = root / 2 * 2 ** (rng.choice([0, -5, 4], len(beats) // 4 + 1).repeat(4)[: len(beats)] / 12)
        played = beats[rng.random(len(beats)) < 0.85] * beat
        melody = harmonics(tune[step], rate, partials) * decays(played, 1.0, sustain, num_samples, rate)
        low = 0.5 * harmonics(bass[step], rate, partials) * decays(beats[::2] * beat, 1.0, 0.3, num_samples, rate)
        hits = drum * rng.standard_normal(num_samples) * decays(beats[::2] * beat, 1.0, 0.03, num_samples, rate)
        return melody + low + hits

    return event


# In the order of UrbanSound8K's classID.
SUBJECTS: dict[str, Callable[[Generator, int], Event]] = {
    subject.__name__: subject
    for subject in (
        air_conditioner,
        car_horn,
        children_playing,
        dog_bark,
        drilling,
        engine_idling,
        gun_shot,
        jackhammer,
        siren,
        street_music,
    )
}


def octaves_above_1khz(hertz: Float[np.ndarray, "bins"]) -> Float[np.ndarray, "bins"]:
    """Frequency in octaves above 1 kHz, constant below 100 Hz."""
    return np.log2(np.maximum(hertz, 100.0) / 1000.0)


def coloured_noise(shape: tuple[int, ...], rate: int, tilt: float, rng: Generator) -> Float[np.ndarray, "..."]:
    """Gaussian noise whose spectrum rises by ``tilt`` dB per octave."""
    size = fft.next_fast_len(shape[-1], real=True)
    curve = 10 ** (tilt * octaves_above_1khz(fft.rfftfreq(size, 1 / rate)) / 20)
    noise = fft.irfft(fft.rfft(rng.standard_normal((*shape[:-1], size))) * curve, size)
    return noise[..., : shape[-1]]


def wander(num_samples: int, rate: int, hertz: float, rng: Generator) -> Samples:
    """Random piecewise linear curve between -1 and 1 with about ``hertz`` knots per second."""
    knots = rng.uniform(-1.0, 1.0, int(num_samples / rate * hertz) + 3)
    return np.interp(np.arange(num_samples) / rate * hertz + rng.random(), np.arange(len(knots)), knots)


def harmonics(frequency: Samples, rate: int, amplitudes: Float[np.ndarray, "partials"]) -> Samples:
    """Tone of unit power with the given ``frequency`` in hertz at every sample, without partials above Nyquist."""
    partials = amplitudes[: max(1, int(rate / 2 / frequency.max()))]
    spectrum = np.zeros(CYCLE // 2 + 1, complex)
    spectrum[1 : len(partials) + 1] = -1j * partials
    cycle = fft.irfft(spectrum, CYCLE)
    phase = np.cumsum(frequency * (CYCLE / rate)).astype(np.int64) % CYCLE
    return cycle[phase] / cycle.std()


CYCLE = 4096
"""Number of samples of the wavetable of :func:`harmonics`."""


def formants(fundamental: float, centres: npt.ArrayLike, slope: float) -> Float[np.ndarray, "partials"]:
    """Amplitudes of partials that decrease with exponent ``slope`` and peak at the ``centres`` in hertz."""
    number = np.arange(1, 65)
    peaks = sum(
        np.exp(-0.5 * ((number * fundamental - centre) / (0.15 * centre + 60)) ** 2) for centre in np.asarray(centres)
    )
    return (0.1 + peaks) * number**-slope


def decays(onsets: npt.ArrayLike, heights: npt.ArrayLike, seconds: float, num_samples: int, rate: int) -> Samples:
    """Sum of exponential decays (time constant ``seconds``) that begin at the ``onsets`` in seconds."""
    impulses = np.zeros(num_samples)
    positions = (np.asarray(onsets) * rate).astype(int)
    inside = (positions >= 0) & (positions < num_samples)
    np.add.at(impulses, positions[inside], np.broadcast_to(heights, positions.shape)[inside])
    return signal.lfilter([1.0], [1.0, -np.exp(-1 / (seconds * rate))], impulses)


def gate(num_samples: int, rate: int, start: float, seconds: float, attack: float, release: float) -> Samples:
    """Envelope from ``start`` on for ``seconds``, with linear ramps of ``attack`` and ``release`` seconds."""
    time = np.arange(num_samples) / rate - start
    return np.clip(np.minimum(time / attack, (seconds - time) / release), 0.0, 1.0)


def occurrences(seconds: float, shortest: float, longest: float, rng: Generator) -> Float[np.ndarray, "onsets"]:
    """Onsets in seconds at irregular intervals; the first is anywhere in the first half."""
    onsets = [rng.uniform(0.0, 0.5 * seconds)]
    while (onset := onsets[-1] + rng.uniform(shortest, longest)) < seconds - 0.1:
        onsets.append(onset)
    return np.array(onsets)
