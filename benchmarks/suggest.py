"""Accuracy for a number of labels: clips chosen by `audio-lightning suggest`, compared with random ones, on real clips.

Embeddings of a published network are computed once. Each round adds labelled clips, fits logistic regression to all
labelled clips, and measures the accuracy on test clips of other groups (source recordings, speakers, notes). `badge` is
the strategy of `suggest`; `margin` takes the most uncertain clips. For a seed, all strategies start with the same
random clips.

    python benchmarks/suggest.py data=urbansound8k data.root=DIR data.split=grouped --seeds 0 1 2 3 4
"""

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from audio_lightning.config import check_config, compose, quote_paths
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST, TRAIN, VALIDATION
from audio_lightning.inference.suggest import choose, uncertainty
from audio_lightning.models.pretrained.embedding import Embedding
from audio_lightning.planning.settle import build_data

BATCH = 64

Choice = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]

CHOICES: dict[str, Choice] = {
    "random": lambda shares, vectors, number, seed: np.random.default_rng(seed).permutation(len(shares))[:number],
    "margin": lambda shares, vectors, number, seed: np.argsort(-uncertainty(shares), kind="stable")[:number],
    "badge": lambda shares, vectors, number, seed: choose(shares, vectors, number, seed=seed),
}
"""Selects clips to label: indices, given probabilities and embeddings of all unlabelled clips."""


def embedded(data: AudioDataModule, front_end: Embedding, *splits: str) -> tuple[np.ndarray, np.ndarray]:
    """Compute embeddings ``[clips, values]`` and targets of the clips of some splits."""
    vectors, targets = [], []
    for split in splits:
        for start in range(0, len(data.numbers(split)), BATCH):
            places = np.arange(start, min(start + BATCH, len(data.numbers(split))))
            batch = data.batch(split, places)
            vectors.append(front_end.embed(batch["waveform"]).flatten(1).numpy())
            targets.append(batch["target"].numpy())
    return np.concatenate(vectors), np.concatenate(targets)


def probabilities(labelled: np.ndarray, targets: np.ndarray, others: np.ndarray, classes: int) -> np.ndarray:
    """Predict with a linear head; 0 for classes without a labelled clip."""
    head = LogisticRegression(C=0.1, max_iter=500).fit(labelled, targets)
    shares = np.zeros((len(others), classes))
    shares[:, head.classes_] = head.predict_proba(others)
    return shares


def loop(
    choice: Choice,
    pool: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    options: argparse.Namespace,
) -> Iterator[list[float]]:
    """Test accuracy after each round, for each seed."""
    vectors, targets = pool
    classes = int(max(targets.max(), test[1].max())) + 1
    for seed in options.seeds:
        labelled = np.random.default_rng(seed).permutation(len(targets))[: options.number]
        accuracies = []
        for round_ in range(options.rounds + 1):
            known = vectors[labelled], targets[labelled]
            shares = probabilities(*known, test[0], classes)
            accuracies.append(float((shares.argmax(axis=1) == test[1]).mean()))
            rest = np.setdiff1d(np.arange(len(targets)), labelled)
            found = choice(
                probabilities(*known, vectors[rest], classes), vectors[rest], options.number, 1000 * seed + round_
            )
            labelled = np.concatenate([labelled, rest[found]])
        yield accuracies


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", help="data=NAME data.root=DIR [KEY=VALUE]...")
    parser.add_argument("--backbone", default="aisfx")
    parser.add_argument("--number", type=int, default=20, help="number of labels of a round")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    config = compose(quote_paths(["experiment=frozen", f"feature.backbone={options.backbone}", *options.overrides]))
    check_config(config)
    data, _ = build_data(config)
    data.setup()
    front_end = Embedding(
        sample_rate=data.sample_rate,
        num_samples=data.num_samples,
        backbone=options.backbone,
        resample=True,
        normalize="none",
    ).eval()
    started = time.perf_counter()
    pool, test = embedded(data, front_end, TRAIN, VALIDATION), embedded(data, front_end, TEST)
    mean, std = pool[0].mean(axis=0), pool[0].std(axis=0) + 1e-6
    pool, test = (((vectors - mean) / std, targets) for vectors, targets in (pool, test))
    seconds = time.perf_counter() - started
    print(f"{len(pool[1])} clips to label from, {len(test[1])} to test on, embedded in {seconds:.0f} s")
    found = {}
    for name, choice in CHOICES.items():
        started = time.perf_counter()
        found[name] = np.array(list(loop(choice, pool, test, options)))
        seconds = (time.perf_counter() - started) / found[name].size
        print(f"{name}: {seconds:.2f} s a round")
    print(f"\n| labels | {' | '.join(found)} | badge - random |\n|---|{'---|' * (len(found) + 1)}")
    for round_ in range(options.rounds + 1):
        cells = [f"{values[:, round_].mean():.3f} ± {values[:, round_].std(ddof=1):.3f}" for values in found.values()]
        gain = found["badge"][:, round_] - found["random"][:, round_]
        error = gain.std(ddof=1) / np.sqrt(len(gain))
        print(f"| {(round_ + 1) * options.number} | {' | '.join(cells)} | {gain.mean():+.3f} ± {error:.3f} |")


if __name__ == "__main__":
    main()
