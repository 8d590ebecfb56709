"""Ablation of `experiment=fast`, one change at a time: `python benchmarks/ablation.py DATA OUT [--workers 2]`.

DATA is a folder with speech_commands, urbansound8k and instruments. Each variant is `experiment=fast` with one change,
trained on grouped splits (by speaker, source recording or note) without a validation split; seeds from 10 on, which no
other table uses, because settings were chosen on these splits. All variants have the same number of optimizer steps;
processor seconds are those of the whole command, on one thread each. A variant is compared with `experiment=fast` on
the same seeds: mean difference of the test accuracy, and its smallest and largest value.

What OUT already has is not trained again. ``OUT/ablation.csv`` has a row for each variant and set. Variants with
optimizers of `pytorch-optimizer` are left out without that package, and listed.
"""

import argparse
import csv
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from time_to_accuracy import SETS, DataSet, Job, Program, Result, ours, processor, run

BASE = "experiment=fast"
MASKS = "audio_lightning.augment.spec_augment.SpecAugment"
OWN = "benchmarks.ablation_models"


def model(name: str) -> list[str]:
    return [f"model._target_={OWN}.{name}", f"trusted_modules=[{OWN}]"]


def library(name: str, rate: float) -> list[str]:
    """An optimizer of pytorch-optimizer."""
    chosen = ["optimizer=adamw", "~optimizer.amsgrad", f"optimizer._target_=pytorch_optimizer.{name}"]
    return [*chosen, f"optimizer.lr={rate}", "optimizer.weight_decay=0.02", "trusted_modules=[pytorch_optimizer]"]


VARIANTS: dict[str, list[str]] = {
    BASE: [],
    "AdamW": ["optimizer=adamw", "optimizer.lr=2e-3", "optimizer.weight_decay=0.02"],
    "SOAP": library("SOAP", 3e-3),
    "schedule-free AdamW": [*library("ScheduleFreeAdamW", 5e-3), "scheduler=none"],
    "one-cycle schedule": ["scheduler=onecycle"],
    "EMA of the weights": ["callbacks=ema", "callbacks.ema.decay=0.98"],
    "mean of the last weights (SWA)": ["callbacks=swa"],
    "Dirac initialization": model("DiracPANNs"),
    "orthogonal initialization": model("OrthogonalPANNs"),
    "fixed first convolution": model("WhitenedPANNs"),
    "`panns`: full resolution, fewer channels": ["model=panns"],
    "half as many channels": ["model.channels=[12,24,48,96]"],
    "1.5 times as many channels": ["model.channels=[36,72,144,288]"],
    "log-mel alone, one network": ["feature=logmel", "ensemble.num_members=1"],
    "four networks": ["ensemble.num_members=4"],
    "batches of half the size": ["data.batch_size=16"],
    "batches of 64": ["data.batch_size=64"],
    "no mixup": ["augment.pairs.mixup.p=0"],
    "no change of speed": ["augment.waveform.speed.p=0"],
    "no augmentation": ["augment=none"],
    "spectrogram masks": [f"+augment.spectrogram.masks={{_target_: {MASKS}}}"],
    "no label smoothing": ["loss.label_smoothing=0"],
    "a frame every 20 ms": ["feature.hop_seconds=0.02"],
    "80 bands, windows of 64 ms, a frame every 25 ms": [
        "feature.n_mels=80", "feature.window_seconds=0.064", "feature.hop_seconds=0.025"
    ],
    "bfloat16": ["trainer.precision=bf16-mixed"],
    "`torch.compile`": ["compile=true"],
}  # fmt: skip
"""Overrides of each variant."""


def compare(name: str, variant: str, found: Sequence[Result], base: Sequence[Result]) -> dict[str, str]:
    """Row of the table for a variant on a set, given its results and those of the base, of the same seeds."""
    gains = [100 * (one.accuracy - other.accuracy) for one, other in zip(found, base, strict=True)]
    spread = f" ({min(gains):+.1f} to {max(gains):+.1f})" if len(gains) > 1 else ""
    return {
        "variant": variant,
        "data": name,
        "accuracy": f"{statistics.mean(one.accuracy for one in found):.3f}",
        "gain in points": "" if variant == BASE else f"{statistics.mean(gains):+.1f}{spread}",
        "processor seconds": f"{statistics.median(one.processor_seconds for one in found):.0f}",
        "seed": ", ".join(str(one.seed) for one in found),
        "split": next(line for line in SPLITS[name].lines if line.startswith("data.split")),
        "hardware": f"one thread of {processor()}",
        "command": "`python benchmarks/ablation.py DATA OUT`",
    }


SPLITS: Mapping[str, DataSet] = {
    **SETS,
    "urbansound8k": replace(SETS["urbansound8k"], lines=("data=urbansound8k", "data.split=grouped")),
}


def program(variant: str, data: Path) -> Program:
    lines = [BASE, *VARIANTS[variant], "data.train_on_validation=true", "trainer=cpu"]
    if not any(line.startswith("trainer.precision") for line in lines):
        lines.append("trainer.precision=32-true")
    return ours(lambda _: lines, None, data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with speech_commands, urbansound8k and instruments")
    parser.add_argument("out", type=Path, help="folder of the trainings and results")
    parser.add_argument("--sets", nargs="+", choices=SPLITS, default=[*SPLITS])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[10, 11])
    parser.add_argument("--workers", type=int, default=1, help="number of trainings at the same time")
    arguments = parser.parse_args()
    out, data = arguments.out.resolve(), arguments.data.resolve()
    missing = [] if find_spec("pytorch_optimizer") else ["SOAP", "schedule-free AdamW"]
    chosen = dict.fromkeys([BASE, *(name for name in arguments.variants if name not in missing)])
    rows = []
    with ThreadPoolExecutor(arguments.workers) as pool:
        jobs = {
            (name, variant, seed): pool.submit(
                run,
                Job(variant, name, seed, 1.0, out / name / folder_name(variant) / f"seed-{seed}"),
                program(variant, data),
                SPLITS[name],
                1,
            )
            for variant in chosen
            for name in arguments.sets
            for seed in arguments.seeds
        }
        for variant in chosen:
            for name in arguments.sets:
                found = [[jobs[name, one, seed].result() for seed in arguments.seeds] for one in (variant, BASE)]
                rows.append(compare(name, variant, *found))
                print(" | ".join(rows[-1].values()), flush=True)
    with (out / "ablation.csv").open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    if missing:
        print(f"not here: {', '.join(missing)} (pip install pytorch-optimizer)")


def folder_name(variant: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in variant).strip("-")


if __name__ == "__main__":
    main()
