"""What a GPU is used for: `python benchmarks/gpu.py [--clips 105000] [--models bcresnet,resnet,ast]`.

A data set of the size of Speech Commands (35 words, clips of 1 s at 16 kHz) is generated, and every network trains on
its log-mel spectrograms in float32, in bfloat16 and compiled. Clips per second of training, each in the same run:

(a) what people write: a DataLoader with 16 workers, soundfile and torchaudio a clip at a time
(b) ours: `train.py`, whatever it does between two steps included; the fastest epoch but the first
(c) the network alone: forward, backward and optimizer over batches of finished spectrograms that lie on the device

(b) / (c) is the share of the network's own rate that a training reaches. Then, for the first network, the time from the
start of the training to a stated accuracy on the validation clips. Without a GPU it runs on the CPU, on fewer clips.

`python benchmarks/gpu.py --check` checks in less than ten minutes everything that only a GPU can show, and ends in a
verdict: see docs/gpu.md.
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
    parser.add_argument("--workers", type=int, help="of the DataLoader (a); default: 16 on a GPU")
    parser.add_argument("--batches", type=int, help="steps of (a) and (c); default: 200 on a GPU")
    parser.add_argument("--accuracy", type=float, default=0.95)
    parser.add_argument("--no-accuracy", action="store_true", help="leave out the time to an accuracy")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--check", action="store_true", help="a verdict on all that only a GPU can show")
    parser.add_argument("--epochs", type=int, default=6, help="of a training of --check")
    parser.add_argument("--only", help="checks of --check, separated by commas")
    arguments = parser.parse_args()
    # Late: an interpreter that lacks packages is told which by the check.
    if arguments.check:
        from gpu_check import check

        sys.exit(check(arguments.clips, arguments.epochs, arguments.only, arguments.json))
    from gpu_rates import rates

    rates(arguments)


if __name__ == "__main__":
    main()
