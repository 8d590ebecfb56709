"""Does the marked tenth of an explanation matter more than any other tenth? On the test clips of runs.

Of every clip, the predicted class is explained, and its probability is computed once without the marked tenth of the
time-frequency plane, once without a random tenth and once without the loudest tenth. A random tenth is as blocky as an
explanation: the highest values of noise on a coarse grid. Printed are mean drops of the probability, and means of the
paired difference to the random and to the loudest tenth, with 95 % intervals over groups of clips.
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
"""Bands and times of the noise that random tenths are made of, about as many as an occlusion has blocks."""


def random_tenth(plane: TimeFrequencyPlane, frames: int, generator: torch.Generator) -> Tensor:
    """A tenth of the cells before the padding, in blobs."""
    noise = torch.rand(1, 1, *GRID, generator=generator)
    values = torch.zeros(BANDS, plane.frames)
    values[:, :frames] = functional.interpolate(noise, (BANDS, frames), mode="bilinear", align_corners=False)[0, 0]
    return mark(values, frames)


def drops(classifier: Classifier, waveform: Tensor, method: str, generator: torch.Generator) -> tuple[float, ...]:
    """By how much the probability of the predicted class falls: marked, random and loudest tenth removed."""
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
    parser.add_argument("--clips", type=int, default=100, help="test clips of each run, drawn at random")
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
                assert interval is not None, "one group of clips says nothing about others"
                gains.append(f"{gain.mean():+.3f} ({interval.low:+.3f} to {interval.high:+.3f})")
            means = " | ".join(f"{value:.3f}" for value in found.mean(axis=0))
            print(
                f"| {run.name} | {method} | {len(found)} | {means} | {' | '.join(gains)} | {seconds:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
