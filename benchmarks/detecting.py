"""Detection in a composed recording: `python benchmarks/detecting.py RUN_DIR BACKGROUND OUT [--minutes 10]`.

The test clips of the run, in random order, are added to clips of the folder BACKGROUND that follow one another, also in
random order, with gaps of 1 to 4 s between the test clips. Of each clip, the loud part is used (from the first to the
last 20 ms within 25 dB of the loudest), and annotated; its level is ``--snr`` dB over the background that it is added
to. OUT gets the recording, the annotations and the detected events.

`audio-lightning detect` runs once for each ``--threshold``, with a hop of a tenth of a window. The table shows the
metrics of :func:`audio_lightning.evaluate_events` and the onset errors as a share of the window. Then the recording is
repeated to ``--hours``, and the peak memory and the real-time factor of `detect` are measured with the default hop for
both lengths.
"""

import argparse
import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

import audio_lightning as al
from audio_lightning.audio import describe
from audio_lightning.audio.decode import load
from audio_lightning.audio.find import find_recordings
from audio_lightning.run_folder import RunFolder

FRAME_SECONDS, LOUD_DB = 0.02, 25.0
GAP_SECONDS = (1.0, 4.0)


@dataclass(frozen=True)
class Used:
    """Wall-clock seconds and peak memory of a command."""

    seconds: float
    megabytes: float


def loud_part(samples: np.ndarray, rate: int) -> np.ndarray:
    """Samples from the first to the last frame within 25 dB of the loudest."""
    size = round(FRAME_SECONDS * rate)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    if not len(frames):
        return samples
    levels = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(levels >= levels.max() * 10 ** (-LOUD_DB / 20))
    return samples[loud[0] * size : (loud[-1] + 1) * size]


def test_clips(run: RunFolder, root: Path, rate: int, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Labels and loud parts of the test clips, in random order."""
    table = run.read_predictions(run.predictions).sample(frac=1, random_state=rng)
    for path, start, stop, label in table[["path", "start_seconds", "end_seconds", "label"]].itertuples(index=False):
        stop = min(float(stop), describe(root / path).duration_seconds)  # the table has milliseconds
        samples = load(root / path, rate, start_seconds=float(start), stop_seconds=stop)
        if np.abs(samples).max(initial=0) > 1e-4:
            yield label, loud_part(samples, rate)


def background(folder: Path, rate: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Clips of a folder one after the other, each brought to the same level."""
    paths = find_recordings([folder])
    parts, total = [], 0
    for number in rng.permutation(len(paths)):
        samples = load(paths[number], rate)
        level = np.sqrt((samples**2).mean()) if len(samples) else 0.0
        if level > 1e-4:
            parts.append(0.03 * samples / level)
            total += len(samples)
        if total >= length:
            return np.concatenate(parts)[:length]
    raise SystemExit(f"{folder}: {total / rate:.0f} s of sound; the recording needs {length / rate:.0f} s")


def compose(run: RunFolder, options: argparse.Namespace) -> tuple[Path, Path]:
    """Write the recording and its annotations."""
    config = run.read_config()
    rate, rng = int(config.data.sample_rate), np.random.default_rng(options.seed)
    root = Path(config.data.root)
    sound = background(options.background, rate, round(options.minutes * 60 * rate), rng)
    rows, place = [], 0
    for label, samples in test_clips(run, root, rate, rng):
        place += round(rng.uniform(*GAP_SECONDS) * rate)
        stop = place + len(samples)
        if stop > len(sound):
            break
        under = np.sqrt((sound[place:stop] ** 2).mean())
        gain = max(under, 1e-3) * 10 ** (options.snr / 20) / np.sqrt((samples**2).mean())
        sound[place:stop] += gain * samples
        rows.append((round(place / rate, 4), round(stop / rate, 4), label))
        place = stop
    recording, reference = options.out / "recording.wav", options.out / "events.csv"
    options.out.mkdir(parents=True, exist_ok=True)
    soundfile.write(recording, 0.9 * sound / np.abs(sound).max(), rate, subtype="PCM_16")
    pd.DataFrame(rows, columns=["start_seconds", "end_seconds", "label"]).assign(path=str(recording)).to_csv(
        reference, index=False
    )
    return recording, reference


def detect(run: Path, recording: Path, output: Path, *options: str) -> Used:
    """Run `audio-lightning detect` in a process of its own."""
    command = [sys.executable, "-m", "audio_lightning", "detect", str(run), str(recording), "--output", str(output)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return Used(time.perf_counter() - started, used.ru_maxrss / 1024)


def repeated(recording: Path, hours: float, output: Path) -> Path:
    """Write the recording again and again, to a length in hours."""
    samples, rate = soundfile.read(recording, dtype="int16")
    with soundfile.SoundFile(output, "w", rate, 1, subtype="PCM_16") as target:
        left = round(hours * 3600 * rate)
        while left > 0:
            target.write(samples[:left])
            left -= len(samples)
    return output


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder with predictions of test clips")
    parser.add_argument("background", type=Path, help="folder of recordings without the classes")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--snr", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--thresholds", nargs="+", default=["auto", "0.5", "0.7", "0.9"])
    options = parser.parse_args()
    options.out = options.out.resolve()
    run = RunFolder(options.run)
    recording, reference = compose(run, options)
    truth = pd.read_csv(reference)
    window = float(run.read_config().data.clip_seconds)
    lengths = truth["end_seconds"] - truth["start_seconds"]
    print(f"{len(truth)} events, median length {lengths.median():.2f} s; window {window:g} s", flush=True)
    rows = []
    for threshold in options.thresholds:
        output = options.out / f"detected {threshold}.csv"
        detect(options.run, recording, output, "--threshold", threshold, "--hop", f"{window / 10:g}")
        found = pd.read_csv(output)
        metrics = al.evaluate_events(found, truth, recording)
        rows.append(
            {
                "threshold": threshold,
                "events": str(len(found)),
                "event-based F1": f"{metrics['event_f1']:.3f}",
                "precision": f"{metrics['event_precision']:.3f}",
                "recall": f"{metrics['event_recall']:.3f}",
                "segment-based F1": f"{metrics['segment_f1']:.3f}",
                "median onset error": f"{metrics['onset_error_median']:+.3f} s",
                "in windows": f"{metrics['onset_error_median'] / window:+.2f}",
                "its median size": f"{metrics['onset_error_absolute_median']:.3f} s",
                "matched": f"{metrics['events_matched']:.0f}",
            }
        )
        print(" | ".join(rows[-1].values()), flush=True)
    with (options.out / "detecting.csv").open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    long = repeated(recording, options.hours, options.out / "long.wav")
    for name, hours in ((recording, options.minutes / 60), (long, options.hours)):
        used = detect(options.run, name, options.out / "memory.csv")
        share = used.seconds / (hours * 3600)
        print(f"{hours:.2f} h: {used.seconds:.0f} s, real-time factor {share:.4f}, peak {used.megabytes:.0f} MiB")
    long.unlink()


if __name__ == "__main__":
    main()
