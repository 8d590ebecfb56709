"""Utilization of a GPU: `python benchmarks/gpu.py [--clips 105000] [--models bcresnet,resnet,ast]`.

A data set of the size of Speech Commands (35 words, clips of 1 s at 16 kHz) is generated. Every network trains on its
log-mel spectrograms in float32, in bfloat16 and compiled. Clips per second of training, measured in the same run:

(a) a usual script: a DataLoader with 16 workers, soundfile and torchaudio, clip by clip
(b) ours: `train.py`, including all work between steps; the fastest epoch except the first
(c) only the network: forward, backward and optimizer over batches of spectrograms in the device's memory

(b) / (c) is the fraction of the network's own rate that a training reaches. For the first network, the time from the
start of the training to a given validation accuracy is measured, too. Without a GPU, the CPU trains on fewer clips.

`python benchmarks/gpu.py --check` checks in less than ten minutes everything that can only be tested on a GPU, and
prints a verdict: see the documentation on GPUs.

`python benchmarks/gpu.py --fused --models cnn` measures trials an hour on the demo data: 1, 4, 16 and 64 of them
fused, and several processes on the GPU (`benchmarks/fused.py`).
"""

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, help="default: 105,000 on a GPU, or 7,000 with --check")
    parser.add_argument("--models", default="bcresnet,resnet,ast")
    parser.add_argument("--ways", default="fp32,bf16,bf16 compiled", help="of fp32, bf16, bf16 compiled")
    parser.add_argument("--batch-size", type=int, help="default: 256 on a GPU")
    parser.add_argument("--workers", type=int, help="workers of the DataLoader in (a); default: 16 on a GPU")
    parser.add_argument("--batches", type=int, help="number of steps of (a) and (c); default: 200 on a GPU")
    parser.add_argument("--accuracy", type=float, default=0.95)
    parser.add_argument("--no-accuracy", action="store_true", help="skip the time to an accuracy")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--check", action="store_true", help="check everything that can only be tested on a GPU")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of a training of --check or --fused")
    parser.add_argument("--fused", action="store_true", help="trials per hour, fused and in several processes")
    parser.add_argument("--only", help="names of checks for --check, separated by commas")
    arguments = parser.parse_args()
    # Imported late, so that the check can name the packages that the interpreter lacks.
    if arguments.check:
        from gpu_check import check

        sys.exit(check(arguments.clips, arguments.epochs, arguments.only, arguments.json))
    if arguments.fused:
        from fused import on_gpu

        for model in arguments.models.split(","):
            on_gpu(model, arguments.epochs, arguments.json)
        return
    from gpu_rates import rates

    rates(arguments)


if __name__ == "__main__":
    main()
