"""Synthetic city sounds in the layout of UrbanSound8K, for ``data=demo``.

Every *source recording* draws its own subject (pitch, rhythm, timbre) and its own recorder (sample rate, channels, bit
depth, frequency response, room, background noise, level), and provides several clips. Two clips of one source are
therefore far more similar than clips of two sources of one class: a random split would leak. Frequency response and
noise have the same distribution for all classes, so that the average spectrum is uninformative and the temporal
structure decides.

Layout and columns follow Salamon, Jacoby and Bello, "A Dataset and Taxonomy for Urban Sound Research" (2014).
"""

import csv
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float
from numpy.random import Generator
from scipy import fft

from audio_lightning.core.errors import DataError
from audio_lightning.data.sources.demo.subjects import SUBJECTS, Samples, coloured_noise, octaves_above_1khz

NUM_FOLDS = 5
MAX_SECONDS = 4.0
METADATA = Path("metadata") / "UrbanSound8K.csv"
COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")

CLASSES = tuple(SUBJECTS)
# Share of full-length clips, and range of the duration of the others in seconds, for classes that differ from the rest.
WHOLE = {"gun_shot": 0.5, "car_horn": 0.7, "dog_bark": 0.7}
SHORT = {"gun_shot": (0.3, 3.0), "car_horn": (0.5, 4.0), "dog_bark": (0.5, 4.0)}


def write_demo(
    root: Path,
    *,
    seed: int = 0,
    sources_per_fold: int = 7,
    clips_per_source: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the demo data set to ``root``, unless it exists already.

    The files are written to a temporary folder next to ``root``, which is renamed at the end: ``root`` is complete or
    absent. Of two simultaneous processes, the later one discards its copy.

    Args:
        root: folder to create, with ``metadata/UrbanSound8K.csv`` and ``audio/fold1`` to ``audio/fold5`` inside.
        seed: random seed; the same seed and sizes give the same bytes.
        sources_per_fold: source recordings per class and fold.
        clips_per_source: clips cut from each source recording.
        progress: callback with the number of written sources and the total.

    Raises:
        DataError: ``root`` exists and contains other files.
    """
    if (root / METADATA).is_file():
        return
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise DataError(
            f"{root} exists, but {METADATA} is not in it: "
            "expected the demo data or nothing; remove it or give another root"
        )
    draft = root.with_name(f".{root.name}-{uuid.uuid4().hex}")
    try:
        _write_all(draft, seed, sources_per_fold, clips_per_source, progress)
        try:
            draft.rename(root)
        except OSError:
            if not (root / METADATA).is_file():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_all(
    root: Path,
    seed: int,
    sources_per_fold: int,
    clips_per_source: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    plan = [
        (fold, class_id, source)
        for fold in range(1, NUM_FOLDS + 1)
        for class_id in range(len(SUBJECTS))
        for source in range(sources_per_fold)
    ]
    # Shuffled, so that the number of a recording reveals neither its fold nor its class.
    fs_ids = 100_000 + np.random.default_rng(seed).permutation(len(plan))
    rows = []
    for done, ((fold, class_id, source), fs_id) in enumerate(zip(plan, fs_ids, strict=True), start=1):
        rng = np.random.default_rng([seed, fold, class_id, source])
        folder = root / "audio" / f"fold{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        for row in _write_source(folder, class_id, int(fs_id), clips_per_source, rng):
            rows.append({**row, "fold": fold, "classID": class_id, "class": CLASSES[class_id]})
        if progress is not None:
            progress(done, len(plan))
    (root / METADATA).parent.mkdir()
    with (root / METADATA).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_source(folder: Path, class_id: int, fs_id: int, num_clips: int, rng: Generator) -> list[dict[str, object]]:
    """Draw one source recording and write its clips; returns their rows without fold and class."""
    name = CLASSES[class_id]
    recorder = Recorder.draw(rng)
    event = SUBJECTS[name](rng, recorder.sample_rate)
    rows: list[dict[str, object]] = []
    start = 0.0
    for occurrence in range(num_clips):
        start += rng.uniform(0.0, 5.0)
        seconds = MAX_SECONDS if rng.random() < WHOLE.get(name, 0.7) else rng.uniform(*SHORT.get(name, (1.0, 4.0)))
        num_samples = round(seconds * recorder.sample_rate)
        clip = recorder.record(event(num_samples, rng), rng)
        file_name = f"{fs_id}-{class_id}-{occurrence}-0.wav"
        soundfile.write(folder / file_name, clip, recorder.sample_rate, subtype=recorder.subtype)
        end = start + num_samples / recorder.sample_rate
        rows.append(
            {
                "slice_file_name": file_name,
                "fsID": fs_id,
                "start": f"{start:.6f}",
                "end": f"{end:.6f}",
                "salience": 1 if recorder.snr > FOREGROUND else 2,
            }
        )
        start = end
    return rows


FOREGROUND = 15.0
"""Signal-to-noise ratio in dB above which a sound is in the foreground (``salience`` 1)."""


@dataclass(frozen=True)
class Recorder:
    """Recording chain from subject to file: format, frequency response, room, background noise and level.

    Attributes:
        sample_rate: sample rate in hertz.
        channels: number of channels.
        subtype: sample format of soundfile, such as ``"PCM_16"``.
        tilt: slope of the frequency response in dB per octave.
        ripple: deviations from that slope in dB at :data:`RIPPLE_KNOTS`.
        room: impulse responses of the room.
        noise_tilt: slope of the noise spectrum in dB per octave.
        snr: signal-to-noise ratio in dB.
        level: maximum peak level in dB of full scale.
    """

    sample_rate: int
    channels: int
    subtype: str
    tilt: float
    ripple: Float[np.ndarray, "knots"]
    room: Float[np.ndarray, "channels taps"]
    noise_tilt: float
    snr: float
    level: float

    @classmethod
    def draw(cls, rng: Generator) -> "Recorder":
        """Draw a recorder from the same distribution for every class."""
        sample_rate = int(rng.choice([16_000, 22_050, 44_100, 48_000], p=[0.72, 0.22, 0.03, 0.03]))
        channels = int(rng.choice([1, 2], p=[0.9, 0.1]))
        seconds = np.arange(round(0.25 * sample_rate)) / sample_rate
        room = rng.standard_normal((channels, len(seconds))) * np.exp(-seconds / rng.uniform(0.01, 0.06))
        room *= rng.uniform(0.02, 0.4) / np.sqrt(np.square(room).sum(axis=1, keepdims=True))
        room[:, 0] = rng.uniform(0.6, 1.0, channels)
        return cls(
            sample_rate,
            channels,
            subtype=str(rng.choice(["PCM_16", "PCM_24"], p=[0.9, 0.1])),
            tilt=rng.uniform(-3.5, 3.5),
            ripple=rng.uniform(-5.0, 5.0, len(RIPPLE_KNOTS)),
            room=room,
            noise_tilt=rng.uniform(-5.0, -1.0),
            snr=rng.uniform(9.0, 32.0),
            level=rng.uniform(-26.0, -1.0),
        )

    def record(self, sound: Samples, rng: Generator) -> Float[np.ndarray, "samples channels"]:
        """Return the samples of the file, with a peak at ``level`` dB of full scale or up to 2 dB below."""
        noise = coloured_noise((self.channels, len(sound)), self.sample_rate, self.noise_tilt, rng)
        noise *= 10 ** (-self.snr / 20) / noise.std()
        scene = sound / sound.std() + noise
        size = fft.next_fast_len(len(sound) + self.room.shape[1], real=True)
        octaves = octaves_above_1khz(fft.rfftfreq(size, 1 / self.sample_rate))
        response = 10 ** ((self.tilt * octaves + np.interp(octaves, RIPPLE_KNOTS, self.ripple)) / 20)
        clip = fft.irfft(fft.rfft(scene, size) * fft.rfft(self.room, size) * response, size)[:, : len(sound)]
        peak = 10 ** ((self.level - rng.uniform(0.0, 2.0)) / 20)
        return (clip * (peak / np.abs(clip).max())).T


RIPPLE_KNOTS = np.arange(-3.0, 5.0)
"""Frequencies of the ripple, in octaves above 1 kHz."""
