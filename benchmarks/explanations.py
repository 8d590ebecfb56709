"""Test of explanations: does the marked tenth matter more than other tenths? On the test clips of runs.

For every clip, the predicted class is explained. Its probability is computed without the marked tenth of the
time-frequency plane, without a random tenth, and without the loudest tenth. A random tenth is as blocky as an
explanation: the highest values of noise on a coarse grid. The output has mean drops of the probability, and means of
the paired differences to the random and the loudest tenth, with 95 % intervals over groups of clips.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from audio_lightning.classifier.base import Classifier
from audio_lightning.data.manifest import TEST
from audio_lightning.inference.evaluate import labelled_clips
from audio_lightning.inference.explain import explain, mark
from audio_lightning.inference.grad_cam import NotConvolutional
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.time_frequency import BANDS, TimeFrequencyPlane
from audio_lightning.training.intervals import difference_interval
from audio_lightning.training.results import groups_of

GRID = (8, 10)
"""Numbers of bands and times of the noise for random tenths, similar to the number of blocks of an occlusion."""


def random_tenth(plane: TimeFrequencyPlane, frames: int, generator: torch.Generator) -> Tensor:
    """Choose a tenth of the cells before the padding, in blocks."""
    noise = torch.rand(1, 1, *GRID, generator=generator)
    values = torch.zeros(BANDS, plane.frames)
    values[:, :frames] = functional.interpolate(noise, (BANDS, frames), mode="bilinear", align_corners=False)[0, 0]
    return mark(values, frames)


def drops(classifier: Classifier, waveform: Tensor, method: str, generator: torch.Generator) -> tuple[float, ...]:
    """Drops of the predicted class's probability without the marked, a random and the loudest tenth."""
    number = int(classifier.probabilities(waveform[None]).cpu()[0].argmax())
    found = explain(classifier, waveform, number, method=method)  # type: ignore[arg-type]
    frames = found.plane.sounding_frames(waveform)
    others = [random_tenth(found.plane, frames, generator), mark(found.plane.levels(waveform), frames)]
    without = classifier.probabilities(found.plane.keep(waveform, ~torch.stack(others))).cpu()[:, number]
    return tuple(found.probability - value for value in (found.probability_without, *without.tolist()))


def main() -> None:
    """Explain test clips of each run, and print a row for each run and method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--clips", type=int, default=100, help="number of random test clips of each run")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| run | method | clips | marked | random | loudest | marked - random | marked - loudest | s a clip |")
    print("|---|---|---|---|---|---|---|---|---|")
    for run in options.runs:
        classifier = load_classifier(run)
        datamodule = labelled_clips(classifier).datamodule
        numbers = datamodule.numbers(TEST)
        position = np.random.default_rng(options.seed).permutation(len(numbers))[: options.clips]
        waveforms = datamodule.batch(TEST, position)["waveform"]
        group = groups_of(datamodule)[datamodule.clips.row[numbers[position]]]
        for method in ("gradcam", "occlusion"):
            generator = torch.Generator().manual_seed(options.seed)
            started = time.perf_counter()
            try:
                found = np.array([drops(classifier, waveform, method, generator) for waveform in waveforms])
            except NotConvolutional:
                continue
            seconds = (time.perf_counter() - started) / len(waveforms)
            gains = []
            for other in (1, 2):
                gain = found[:, 0] - found[:, other]
                interval = difference_interval(gain, group)
                assert interval is not None, "an interval needs more than one group of clips"
                gains.append(f"{gain.mean():+.3f} ({interval.low:+.3f} to {interval.high:+.3f})")
            means = " | ".join(f"{value:.3f}" for value in found.mean(axis=0))
            print(
                f"| {run.name} | {method} | {len(found)} | {means} | {' | '.join(gains)} | {seconds:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
