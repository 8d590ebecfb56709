"""Detection of swapped labels by rankings of out-of-fold predictions, on real clips with cheap models.

5 % of the labels are swapped at random, each for another class. Models of scikit-learn get statistics of log-mel frames
and are cross-validated by group (speaker, source recording, note); each ranking gets their out-of-fold probabilities. A
value is the fraction of swapped labels among the first N clips of the ranking, where N is the number of swapped labels;
averaged over the seeds of the swaps.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from audio_lightning.audio import fit_length, read, resample, to_mono
from audio_lightning.features.log_mel import LogMel

RATE, SECONDS = 22_050, 4.0
SWAPPED = 0.05
FOLDS = 5
LEAST_CLIPS = 100
"""Minimum number of clips of a class in Speech Commands."""


def clips(data: Path) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield data sets with the columns ``path``, ``label`` and ``group``."""
    words = [
        (path, path.parent.name, path.name.partition("_")[0]) for path in data.glob("speech_commands/*/*_nohash_*")
    ]
    table = pd.DataFrame(words, columns=["path", "label", "group"])
    yield "speech", table[table.groupby("label")["path"].transform("size") >= LEAST_CLIPS]
    sounds = pd.read_csv(data / "urbansound8k/metadata/UrbanSound8K.csv")
    root = data / "urbansound8k/audio"
    paths = [root / f"fold{fold}" / name for fold, name in zip(sounds["fold"], sounds["slice_file_name"])]
    yield "UrbanSound8K", pd.DataFrame({"path": paths, "label": sounds["class"], "group": sounds["fsID"]})
    notes = [(path, path.parent.name, "_".join(path.name.split("_")[:2])) for path in data.glob("instruments/*/*.mp3")]
    yield "instruments", pd.DataFrame(notes, columns=["path", "label", "group"])


def features(path: Path, front_end: LogMel) -> np.ndarray:
    """Means, standard deviations, and means of the three thirds of a recording's log-mel frames."""
    samples, info = read(path)
    mono = resample(to_mono(samples), info.sample_rate, RATE)[: round(RATE * SECONDS)]
    frames = front_end(
        torch.from_numpy(np.ascontiguousarray(fit_length(mono, max(len(mono), RATE // 4), "zero")))[None]
    )
    found = frames[0, 0].numpy()
    thirds = [part.mean(axis=1) for part in np.array_split(found, 3, axis=1)]
    change = np.diff(found, axis=1)
    return np.concatenate([found.mean(axis=1), found.std(axis=1), change.std(axis=1), *thirds])


def models(seed: int) -> dict[str, Any]:
    """Models from underconfident to overconfident."""
    scaled = StandardScaler()
    return {
        "logistic regression, C 0.01": make_pipeline(scaled, LogisticRegression(C=0.01, max_iter=300)),
        "logistic regression, C 1": make_pipeline(scaled, PCA(100), LogisticRegression(C=1.0, max_iter=300)),
        "extra trees": ExtraTreesClassifier(300, min_samples_leaf=2, random_state=seed),
        "SVM": make_pipeline(scaled, SVC(C=3.0, decision_function_shape="ovr")),
        "perceptron": make_pipeline(scaled, MLPClassifier((128,), alpha=1.0, max_iter=40, random_state=seed)),
    }


def out_of_fold(model: Any, inputs: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Predict every clip by models that were not fitted to its group."""
    found = np.zeros((len(labels), labels.max() + 1))
    with np.errstate(all="ignore"):
        for train, test in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(inputs, labels, groups):
            model.fit(inputs[train], labels[train])
            soft = hasattr(model, "predict_proba")
            scores = (model.predict_proba if soft else model.decision_function)(inputs[test])
            found[test] = scores if soft else np.exp(2 * scores) / np.exp(2 * scores).sum(axis=1, keepdims=True)
    return np.clip(found, 1e-9, 1) / np.clip(found, 1e-9, 1).sum(axis=1, keepdims=True)


def calibrated(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Calibrate with the temperature that minimizes the cross-entropy of the given labels."""
    logits = np.log(probabilities)

    def softmax(inverse: float) -> np.ndarray:
        scaled = np.exp(inverse * (logits - logits.max(axis=1, keepdims=True)))
        return scaled / scaled.sum(axis=1, keepdims=True)

    rows = np.arange(len(labels))
    best = minimize_scalar(lambda inverse: -np.log(softmax(inverse)[rows, labels] + 1e-12).mean(), bounds=(0.1, 10))
    return softmax(best.x)


def margin_of_logs(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Log ratio of the label's and the highest other probability; the temperature does not change its ranking."""
    rows, others = np.arange(len(labels)), probabilities.copy()
    others[rows, labels] = 0
    return np.log(probabilities[rows, labels]) - np.log(others.max(axis=1))


def pruned_first(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Self-confidence; clips pruned by confident learning come first."""
    pruned = find_label_issues(labels, probabilities, filter_by="prune_by_noise_rate", n_jobs=1)
    return get_label_quality_scores(labels, probabilities, method="self_confidence") - pruned


def of_cleanlab(method: str, **options: bool) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda labels, probabilities: get_label_quality_scores(labels, probabilities, method=method, **options)


RANKINGS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "self-confidence": of_cleanlab("self_confidence"),
    "calibrated": lambda labels, found: of_cleanlab("self_confidence")(labels, calibrated(labels, found)),
    "adjusted": of_cleanlab("self_confidence", adjust_pred_probs=True),
    "pruned first": pruned_first,
    "margin": of_cleanlab("normalized_margin"),
    "adjusted margin": of_cleanlab("normalized_margin", adjust_pred_probs=True),
    "margin of logs": margin_of_logs,
    "both ranks": lambda labels, found: (
        rankdata(of_cleanlab("self_confidence")(labels, found)) + rankdata(margin_of_logs(labels, found))
    ),
    "entropy": of_cleanlab("confidence_weighted_entropy"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with speech_commands, urbansound8k and instruments")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--save", type=Path, help="folder for the out-of-fold predictions")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # convergence warnings: the models are meant to be cheap
    front_end = LogMel(sample_rate=RATE, num_samples=round(RATE * SECONDS), normalize="none")
    sums: dict[str, list[float]] = {name: [] for name in RANKINGS}
    print(f"{'':<44}{'accuracy':>10}" + "".join(f"{name:>17}" for name in RANKINGS), flush=True)
    for name, table in clips(arguments.data):
        right, classes = pd.factorize(table["label"], sort=True)
        groups = pd.factorize(table["group"])[0]
        with torch.inference_mode():
            inputs = np.stack([features(Path(path), front_end) for path in table["path"]])
        found: dict[str, list[tuple[float, list[float]]]] = {}
        for seed in range(arguments.seeds):
            rng = np.random.default_rng(seed)
            swapped = rng.choice(len(right), round(SWAPPED * len(right)), replace=False)
            labels = right.copy()
            labels[swapped] = (labels[swapped] + rng.integers(1, len(classes), len(swapped))) % len(classes)
            every = {title: out_of_fold(one, inputs, labels, groups, seed) for title, one in models(seed).items()}
            best = sorted(every.values(), key=lambda one: -(one.argmax(axis=1) == labels).mean())
            every["mean of the best three"] = np.mean(best[:3], axis=0)
            every["mean of all"] = np.mean(best, axis=0)
            for title, probabilities in every.items():
                worst = [
                    np.argsort(rank(labels, probabilities), kind="stable")[: len(swapped)] for rank in RANKINGS.values()
                ]
                shares = [float(np.isin(first, swapped).mean()) for first in worst]
                found.setdefault(title, []).append((float((probabilities.argmax(axis=1) == right).mean()), shares))
            if arguments.save:
                arguments.save.mkdir(parents=True, exist_ok=True)
                np.savez(arguments.save / f"{name}-{seed}.npz", right=right, labels=labels, groups=groups, **every)
        for title, results in found.items():
            shares = np.mean([shares for _, shares in results], axis=0)
            accuracy = np.mean([value for value, _ in results])
            print(
                f"{name}, {title:<{42 - len(name)}}{accuracy:>10.3f}" + "".join(f"{share:>17.3f}" for share in shares),
                flush=True,
            )
            for ranking, share in zip(RANKINGS, shares):
                sums[ranking].append(float(share))
    print(f"{'mean':<54}" + "".join(f"{np.mean(values):>17.3f}" for values in sums.values()))


if __name__ == "__main__":
    main()
