"""Difficulty of the demo data: `python benchmarks/demo.py`.

Two classifiers on the demo's official split (test fold 5, validation fold 1): logistic regression on the log-mel
spectrogram averaged over time, which lacks all temporal information, and `cnn` on `logmel`, trained by `make train`
with its default options. The accuracy of the first should be at most 0.70, that of the second at least 0.90.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from audio_lightning.audio import load
from audio_lightning.data.sources.demo.source import demo_root
from audio_lightning.features.log_mel import LogMel

PROJECT = Path(__file__).resolve().parents[1]
SAMPLE_RATE = 22_050
TEST_FOLD, VALIDATION_FOLD = 5, 1


def average_spectra(root: Path, table: pd.DataFrame) -> np.ndarray:
    """Average each clip's own frames (no padding) over time; float array of shape [clips, mels]."""
    front_end = LogMel(sample_rate=SAMPLE_RATE, num_samples=4 * SAMPLE_RATE, normalize="none")
    spectra = []
    for fold, name in zip(table["fold"], table["slice_file_name"]):
        samples = load(root / f"audio/fold{fold}" / name, SAMPLE_RATE)
        spectra.append(front_end(torch.from_numpy(samples)[None]).mean(dim=-1).flatten().numpy())
    return np.stack(spectra)


def logistic_regression(root: Path) -> tuple[float, float]:
    """Return the test accuracy, and the regularisation chosen on the validation fold."""
    table = pd.read_csv(root / "metadata/UrbanSound8K.csv")
    spectra, labels, folds = average_spectra(root, table), table["class"].to_numpy(), table["fold"].to_numpy()
    train = ~np.isin(folds, (TEST_FOLD, VALIDATION_FOLD))
    fitted = {}
    for strength in (0.01, 0.1, 1.0, 10.0):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))
        model.fit(spectra[train], labels[train])
        fitted[strength] = model
    chosen = max(
        fitted, key=lambda c: fitted[c].score(spectra[folds == VALIDATION_FOLD], labels[folds == VALIDATION_FOLD])
    )
    return float(fitted[chosen].score(spectra[folds == TEST_FOLD], labels[folds == TEST_FOLD])), chosen


def network(seed: int) -> dict[str, float]:
    """Train, and return metrics.json."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", "data=demo", "feature=logmel", "model=cnn", f"seed={seed}"]
        subprocess.run([*command, f"hydra.run.dir={folder}/run"], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
        return json.loads((Path(folder) / "run/metrics.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of the network")
    seeds = parser.parse_args().seeds
    linear, strength = logistic_regression(demo_root())
    print(f"{'classifier':44} {'seed':>4} {'test accuracy':>13} {'seconds':>8}")
    print(f"{f'logistic regression, averaged log-mel, C={strength:g}':44} {'':>4} {linear:13.3f}")
    found = {}
    for seed in seeds:
        metrics = network(seed)
        found[seed] = metrics["test/accuracy"]
        print(f"{'cnn on logmel':44} {seed:4} {found[seed]:13.3f} {metrics['total_seconds']:8.0f}", flush=True)
    print(json.dumps({"logistic_regression": round(linear, 4), "cnn": {s: round(a, 4) for s, a in found.items()}}))


if __name__ == "__main__":
    main()
