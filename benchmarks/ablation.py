"""Ablation of `experiment=fast`, one change at a time: `python benchmarks/ablation.py DATA OUT [--workers 2]`.

DATA is a folder with speech_commands, urbansound8k and instruments. Each variant is `experiment=fast` with one change,
trained on grouped splits (by speaker, source recording or note) without a validation split; seeds from 10 on, which no
other table uses, because settings were chosen on these splits. Variants have the same number of optimizer steps unless
they say otherwise. A variant is compared with `experiment=fast` on the same seeds: the mean difference of the test
accuracy in points, and its cost, the ratio of the processor seconds of the whole commands, on one thread each.

What OUT already has is not trained again, nor what benchmarks/ablation.csv has. ``--publish`` writes all results to
that file, and a table of them for the docs. Variants with optimizers of `pytorch-optimizer` are left out without that
package, and listed.
"""

import argparse
import statistics
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

from publishing import PROJECT, publish
from time_to_accuracy import SETS, DataSet, Job, Program, Result, ours, read_results, run, write_rows

KNOWN = PROJECT / "benchmarks" / "ablation.csv"
BASE = "experiment=fast"
MASKS = "audio_lightning.augment.spec_augment.SpecAugment"
OWN = "benchmarks.ablation_models"

Results = Mapping[tuple[str, str, int], Result]
"""By variant, set and seed."""


def model(name: str) -> list[str]:
    return [f"model._target_={OWN}.{name}", f"trusted_modules=[{OWN}]"]


def callback(name: str) -> list[str]:
    return [f"+callbacks.tried._target_={OWN}.{name}", f"trusted_modules=[{OWN}]"]


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
    "lookahead": callback("Lookahead"),
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
    "no mixup in the last quarter": callback("NoMixupAtTheEnd"),
    "no change of speed": ["augment.waveform.speed.p=0"],
    "no augmentation": ["augment=none"],
    "spectrogram masks": [f"+augment.spectrogram.masks={{_target_: {MASKS}}}"],
    "no label smoothing": ["loss.label_smoothing=0"],
    "focal loss": ["loss=focal"],
    "1,000 steps": ["target_steps=1000"],
    "2,000 steps (`experiment=good`)": ["target_steps=2000"],
    "four networks, 1,000 steps": ["ensemble.num_members=4", "target_steps=1000"],
    "half as many channels, 600 steps": ["model.channels=[12,24,48,96]", "target_steps=600"],
    "a frame every 20 ms": ["feature.hop_seconds=0.02"],
    "80 bands, windows of 64 ms, a frame every 25 ms": [
        "feature.n_mels=80", "feature.window_seconds=0.064", "feature.hop_seconds=0.025"
    ],
    "bfloat16": ["trainer.precision=bf16-mixed"],
    "`torch.compile`": ["compile=true"],
    "classes sampled evenly": ["data.sampling=balanced"],
    "clips sampled evenly": ["data.sampling=uniform"],
}  # fmt: skip
"""Overrides of each variant."""


def points(gain: float) -> str:
    """A difference with its sign, without a negative zero."""
    return f"{round(gain, 1) + 0.0:+.1f}"


def seeds_of(variant: str, results: Results) -> list[int]:
    """Seeds that a variant has been trained with on all sets."""
    seeds = sorted({seed for program, _, seed in results if program == variant})
    return [seed for seed in seeds if all((variant, name, seed) in results for name in SPLITS)]


def row(variant: str, results: Results) -> dict[str, str]:
    """Row of the table for a variant: its results, and what it gains and costs on the same seeds."""
    seeds = seeds_of(variant, results)
    found, base = ({name: [results[one, name, seed] for seed in seeds] for name in SPLITS} for one in (variant, BASE))
    cells = {name: f"{statistics.mean(one.accuracy for one in found[name]):.3f}" for name in SPLITS}
    gains = [
        statistics.mean(100 * (one.accuracy - other.accuracy) for one, other in zip(found[name], base[name]))
        for name in SPLITS
    ]
    if variant != BASE:
        cells = {name: f"{cell} ({points(gain)})" for (name, cell), gain in zip(cells.items(), gains)}
    seconds = [sum(one.processor_seconds for each in some.values() for one in each) for some in (found, base)]
    return {
        "change": variant,
        **cells,
        "mean gain": "" if variant == BASE else points(statistics.mean(gains)),
        "cost": f"{seconds[0] / seconds[1]:.2f}",
        "seed": ", ".join(map(str, seeds)),
        "data": "13 words of Speech Commands, UrbanSound8K, instruments",
        "split": "`data.split=speaker` for words, `grouped` for the others",
        "hardware": f"one thread of {next(iter(results.values())).machine}",
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
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[10])
    parser.add_argument("--publish", action="store_true", help="write the results into this repository")
    parser.add_argument("--workers", type=int, default=1, help="number of trainings at the same time")
    arguments = parser.parse_args()
    out, data = arguments.out.resolve(), arguments.data.resolve()
    missing = [] if find_spec("pytorch_optimizer") else ["SOAP", "schedule-free AdamW"]
    results = {(one.program, one.set, one.seed): one for one in (read_results(KNOWN) if KNOWN.is_file() else [])}
    with ThreadPoolExecutor(arguments.workers) as pool:
        waiting = [
            pool.submit(
                run,
                Job(variant, name, seed, 1.0, out / name / folder_name(variant) / f"seed-{seed}"),
                program(variant, data),
                SPLITS[name],
                1,
            )
            for seed in arguments.seeds
            for variant in dict.fromkeys([BASE, *arguments.variants])
            for name in SPLITS
            if variant not in missing and (variant, name, seed) not in results
        ]
        for one in waiting:
            found = one.result()
            results[found.program, found.set, found.seed] = found
            print("{set} {program} seed {seed}: {accuracy:.3f}".format(**asdict(found)), flush=True)
            write_rows(list(results.values()), out / "results.csv")
    rows = [row(variant, results) for variant in VARIANTS if seeds_of(variant, results)]
    for one in rows:
        print(" | ".join([*one.values()][:7]))
    if arguments.publish:
        write_rows(list(results.values()), KNOWN)
        publish("ablation", rows)
    if missing:
        print(f"not here: {', '.join(missing)} (pip install pytorch-optimizer)")


def folder_name(variant: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in variant).strip("-")


if __name__ == "__main__":
    main()
