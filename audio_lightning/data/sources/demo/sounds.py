"""Generated city sounds in the layout of UrbanSound8K: what ``data=demo`` trains on when there is nothing to download.

Every *source recording* draws its own subject (pitch, rhythm, timbre) and its own recorder (sample rate, channels, bit
depth, frequency response, room, background noise, level), and lends several clips. Two clips of one source therefore
resemble each other far more than two sources of one class: a random split would leak. The frequency response and the
noise are drawn alike for all classes, so that the average spectrum says little and the course in time decides.

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
# Share of the clips that have full length, and the range of the others in seconds, where they are not as usual.
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
    """Write the demo data set to ``root`` unless it is there already.

    The files are written to a folder beside ``root`` that is renamed at the end: ``root`` is whole or absent, and of
    two processes at once the later one drops its copy.

    Args:
        root: folder to make, with ``metadata/UrbanSound8K.csv`` and ``audio/fold1`` to ``audio/fold5`` inside.
        seed: the same seed and sizes give the same bytes.
        sources_per_fold: source recordings per class and fold.
        clips_per_source: clips cut from each of them.
        progress: called as ``progress(sources_written, sources_in_all)``.

    Raises:
        DataError: ``root`` exists and is something else.
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
    # Shuffled, so that neither fold nor class can be read from the number of a recording.
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


@dataclass(frozen=True)
class Recorder:
    """What stands between a subject and the file: format, response, room, background noise and level."""

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
        """Return the file's samples, peaking at ``level`` dB below full scale or up to 2 dB below that."""
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
