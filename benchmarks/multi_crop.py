"""Predictions from several crops: `python benchmarks/multi_crop.py RUN [RUN ...] [--crops 5]`.

For each run, accuracy on its test clips with one prediction a clip, and with the mean of the logits of several crops of
the clip: shifted by up to a tenth of its length in both directions, as ``augment=auto`` shifts clips in training.
The network has as many times more work as there are crops. Clips are windows where the run has windows.
"""

import argparse
from pathlib import Path

import torch

import audio_lightning as al
from audio_lightning.inference.evaluate import run_data

SHIFT = 0.1


@torch.no_grad()
def accuracies(run: Path, crops: int) -> tuple[float, float, int]:
    """Accuracy with one crop and with all of them, and the number of clips."""
    classifier = al.load(run)
    data = run_data(classifier)
    data.setup("test")
    right = torch.zeros(2)
    clips = 0
    for batch in data.test_dataloader():
        waveform, target = batch["waveform"], batch["target"]
        shifts = torch.linspace(-SHIFT, SHIFT, crops) * waveform.shape[1]
        each = [classifier(waveform.roll(round(shift), 1)) for shift in shifts.tolist()]
        for place, logits in enumerate((classifier(waveform), torch.stack(each).mean(0))):
            right[place] += (logits.argmax(1) == target).sum()
        clips += len(target)
    one, several = (right / clips).tolist()
    return one, several, clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs with a test split")
    parser.add_argument("--crops", type=int, default=5)
    arguments = parser.parse_args()
    for run in arguments.runs:
        one, several, clips = accuracies(run, arguments.crops)
        print(f"{run}: {one:.3f} with one crop, {several:.3f} with {arguments.crops}; {clips} clips", flush=True)


if __name__ == "__main__":
    main()
