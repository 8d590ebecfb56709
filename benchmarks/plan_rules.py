"""Value of each planning rule: trainings with the rule's choice, and with the usual value instead.

For each data set, the network of a fit's quick candidate (``--candidate`` selects another) is trained on the first
folds as planned, and once more for each rule whose choice differs from the usual value, with the same number of epochs.
A row is a rule on a data set: accuracy on the clips (or whole recordings) of the tested folds without and with the
rule, the gain with its 95 % interval, bootstrapped over groups on the same clips, and the ratio of training times. Each
fold is trained once; the interval does not include differences between seeds.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from audio_lightning.config import compose
from audio_lightning.config.automatic import automatic_keys
from audio_lightning.config.overrides import quote_paths
from audio_lightning.fit.out_of_fold import PREFIX
from audio_lightning.fit.settings import read_settings
from audio_lightning.planning.settle import build_data
from audio_lightning.run_folder import RunFolder

USUAL = {
    "sample_rate": ["data.sample_rate=22050"],
    "clips": ["data.clip_seconds=4.0", "data.hop_seconds=null"],
    "clip_seconds": ["data.clip_seconds=4.0", "data.hop_seconds=4.0"],
    "padding": ["data.padding=zero"],
    "batch_size": ["data.batch_size=32"],
    "sampling": ["data.sampling=uniform"],
    "frames": ["feature.hop_seconds=0.01", "feature.window_seconds=0.025"],
    "shift": ["augment.waveform.shift.max_seconds=0.1"],
}
"""Values without a rule: the defaults of data sources, front ends and augmentations that have no rules."""

TURNED = {"data.padding": ("repeat", "zero"), "data.batch_size": (16, 32), "data.sampling": ("balanced", "uniform")}
"""Keys for which the other value is tried, too, if a rule does not choose the usual one."""

BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Variant:
    """Trainings on a data set: ``""`` is the plan itself; ``lines`` replace a rule's choice."""

    name: str
    lines: tuple[str, ...]


SETS = ("urbansound8k", "speech_commands", "instruments")
"""Data sources, which are also the names of their folders."""


def variants(lines: list[str]) -> list[Variant]:
    """Yield the plan, and the plan without each rule that does not choose the usual value."""
    config = compose(lines)
    keys = automatic_keys(config)
    build_data(config)
    found = [Variant("", ())]
    for name, usual in USUAL.items():
        settled = {line.partition("=")[0]: line.partition("=")[2] for line in usual}
        now = {key: str(OmegaConf.select(config, key)).replace("None", "null") for key in settled}
        if not settled.keys() & {*keys}:
            continue
        if now != settled:
            found.append(Variant(name, tuple(usual)))
        else:
            for key in settled.keys() & TURNED.keys():
                other = next(value for value in TURNED[key] if str(value) != now[key])
                found.append(Variant(f"{name} turned", (f"{key}={other}",)))
    return found


def train(lines: Sequence[str], folder: Path) -> float:
    """Train unless the folder exists; return the processor time in seconds."""
    taken = folder.with_name(f"{folder.name}.seconds")
    if not taken.exists():
        taken.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "audio_lightning", "train", *lines, f"hydra.run.dir={folder}"]
        with folder.with_name(f"{folder.name}.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed; see {log.name}")
        taken.write_text(str(used.ru_utime + used.ru_stime))
    return float(taken.read_text())


def answers(folders: Sequence[Path]) -> pd.DataFrame:
    """Whether the mean prediction of each recording's clips is right, and the recording's group."""
    parts = []
    for folder in folders:
        run = RunFolder(folder)
        table = run.read_predictions(run.predictions)
        probabilities = [name for name in table if name.startswith(PREFIX)]
        by_path = table.groupby("path")
        mean = by_path[probabilities].mean()
        label, group = by_path["label"].first(), by_path["group"].first()
        right = mean.idxmax(axis=1).str.removeprefix(PREFIX) == label
        parts.append(pd.DataFrame({"right": right, "label": label, "group": group.where(group != "", group.index)}))
    return pd.concat(parts)


def gain(before: pd.DataFrame, after: pd.DataFrame, *, balanced: bool) -> tuple[float, float, float]:
    """Gain in accuracy, or in balanced accuracy, and its 95 % interval."""
    after = after.loc[before.index]
    groups = pd.factorize(before["group"])[0]
    labels = pd.factorize(before["label"])[0]
    change = after["right"].to_numpy(float) - before["right"].to_numpy(float)
    rng, number = np.random.default_rng(0), groups.max() + 1
    weights = rng.multinomial(number, np.full(number, 1 / number), size=BOOTSTRAPS)[:, groups]

    def mean(weight: np.ndarray) -> np.ndarray:
        if not balanced:
            return (weight * change).sum(axis=-1) / weight.sum(axis=-1)
        each = [
            np.where(
                (size := weight[..., labels == label].sum(axis=-1)) > 0,
                (weight * change)[..., labels == label].sum(axis=-1) / np.maximum(size, 1),
                np.nan,
            )
            for label in range(labels.max() + 1)
        ]
        return np.nanmean(each, axis=0)

    low, high = np.quantile(mean(weights), (0.025, 0.975))
    return float(mean(np.ones(len(change)))), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with speech_commands, urbansound8k and instruments")
    parser.add_argument("out", type=Path, help="folder for the trainings; existing ones are not repeated")
    parser.add_argument("--candidate", default="quick", help="candidate of a fit to train")
    parser.add_argument("--folds", type=int, default=8, help="number of folds")
    parser.add_argument("--tested", type=int, default=2, help="number of folds to test")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--rules", nargs="+", choices=USUAL, default=[*USUAL], help="rules to train without")
    parser.add_argument("--workers", type=int, default=1, help="trainings at once, with a thread each")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    own = read_settings(["fit=good"]).candidates[arguments.candidate]
    fixed = [*own, f"trainer.max_epochs={arguments.epochs}", f"data.folds={arguments.folds}", "trainer=cpu"]
    fixed += ["data.train_on_validation=true", "plots=false", "data.bad_recordings=skip"]
    planned = {}
    for name in arguments.sets:
        lines = quote_paths([f"data={name}", f"data.root={arguments.data / name}", *fixed])
        plan, *others = variants([*lines, "data.test_fold=1"])
        kept = [one for one in others if one.name.removesuffix(" turned") in arguments.rules]
        planned[name] = (lines, [plan, *kept])
    jobs = [
        (name, variant, fold)
        for fold in range(1, arguments.tested + 1)
        for name, (_, found) in planned.items()
        for variant in found
    ]

    def run(job: tuple[str, Variant, int]) -> float:
        name, variant, fold = job
        lines = [*planned[name][0], f"data.test_fold={fold}", *variant.lines]
        return train(lines, arguments.out / name / f"{variant.name or 'plan'} {fold}".replace(" ", "-"))

    with ThreadPoolExecutor(arguments.workers) as pool:
        seconds = dict(zip(jobs, pool.map(run, jobs)))
    print("| data | rule | planned | without | accuracy without | with | gain | of the mean recall | time |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (lines, found) in planned.items():
        config = compose([*lines, "data.test_fold=1"])
        build_data(config)
        folds = range(1, arguments.tested + 1)
        by_variant = {
            one: answers([arguments.out / name / f"{one.name or 'plan'} {fold}".replace(" ", "-") for fold in folds])
            for one in found
        }
        plan, *others = found
        for one in others:
            keys = [line.partition("=")[0] for line in one.lines]
            chose = ", ".join(str(OmegaConf.select(config, key)) for key in keys)
            usual = ", ".join(line.partition("=")[2] for line in one.lines)
            before, after = by_variant[one], by_variant[plan]
            gains = [gain(before, after, balanced=balanced) for balanced in (False, True)]
            shown = " | ".join(
                f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})" for mean, low, high in gains
            )
            ratio = sum(seconds[name, plan, fold] for fold in folds) / sum(seconds[name, one, fold] for fold in folds)
            print(
                f"| {name} | {one.name} | {chose} | {usual} | {before['right'].mean():.3f} | "
                f"{after['right'].mean():.3f} | {shown} | {ratio:.2f} |"
            )


if __name__ == "__main__":
    main()
