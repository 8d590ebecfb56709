"""Clips with several labels: from the loss through the thresholds to the prediction."""

import csv
import errno
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import lightning.pytorch as pl
import numpy as np
import pytest
import soundfile
import tiny
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf, open_dict
from sklearn.metrics import f1_score
from torch import Tensor
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from audio_lightning.classifier.checkpoint import read_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.cli.main import app
from audio_lightning.config import check_config, compose
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import MULTILABEL_METRICS, AudioTask
from audio_lightning.losses.objective import BinaryCrossEntropy, CrossEntropy, class_weights
from audio_lightning.losses.training_loss import TrainingLoss
from audio_lightning.metrics.multilabel import MultilabelMetrics, best_thresholds
from audio_lightning.training.callbacks import BestCheckpoint
from audio_lightning.training.results import cross_fitted_thresholds
from audio_lightning.training.trainer import silence_lightning

TASK = AudioTask(tiny.CLASSES, tiny.RATE, num_samples=2000, multilabel=True)


def composed(*overrides: str, separator: str | None = "|") -> DictConfig:
    """A configuration of the demo data, whose clips have several labels where there is a separator."""
    config = compose(["data=demo", *tiny.TRAIN_OVERRIDES, *overrides])
    with open_dict(config):
        config.data.label_separator = separator
    check_config(config)
    return config


def plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def batches(count: int, seed: int) -> list[dict[str, Tensor]]:
    """Mixtures of the tiny sounds, a third of them of each class, some of none; uneven batches."""
    rng = np.random.default_rng(seed)
    found, clip = [], 0
    for size in (16 + index % 3 for index in range(count)):
        target = rng.random((size, 3)) < 0.4
        waveform = [
            sum((tiny.sound(name, rng) for name, yes in zip(tiny.CLASSES, row) if yes), np.zeros(2000, np.float32))
            for row in target
        ]
        found.append(
            {
                "waveform": torch.from_numpy(np.stack(waveform)),
                "target": torch.from_numpy(target.astype(np.float32)),
                "length": torch.full((size,), 2000),
                "clip": torch.arange(clip, clip + size),
            }
        )
        clip += size
    return found


def loader(data: list[dict[str, Tensor]]) -> DataLoader:
    return DataLoader(data, batch_size=None)  # type: ignore[arg-type]  # they are batches already


@dataclass
class Run:
    """A training with everything that follows it."""

    classifier: AudioClassifier
    best: Path
    history: dict[str, Tensor]
    validation: list[dict[str, Tensor]]
    test: list[dict[str, Tensor]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("multilabel")
    train, validation, test = batches(8, seed=0), batches(4, seed=1), batches(3, seed=2)
    clips = torch.cat([batch["target"] for batch in train])
    silence_lightning()
    pl.seed_everything(0, verbose=False)
    config = plain(composed("loss.class_weights=balanced", "loss.label_smoothing=0.1", "scheduler=none"))
    classifier = AudioClassifier(config, TASK.to_dict(), clips.sum(0).int().tolist(), train_clips=len(clips))
    classifier.front_end.fit(batch["waveform"] for batch in train)
    callback = BestCheckpoint(config["monitor"])
    trainer = pl.Trainer(
        max_epochs=10,
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(classifier, loader(train), loader(validation))
    history = dict(trainer.callback_metrics)
    best = folder / "checkpoints/best.ckpt"
    classifier.load_state_dict(read_checkpoint(best)["state_dict"])
    trainer.validate(classifier, loader(validation), verbose=False)
    targets = torch.cat([batch["target"] for batch in validation])
    classifier.calibrate(targets, "temperature")
    classifier.choose_thresholds(targets)
    classifier.store_decisions(best)
    trainer.test(classifier, loader(test), verbose=False)
    return Run(classifier, best, history, validation, test)


def answers(run: Run, data: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Probabilities and targets of all clips, worked out batch by batch."""
    loaded = AudioClassifier.load_from_checkpoint(run.best)
    return (
        torch.cat([loaded.probabilities(batch["waveform"]) for batch in data]),
        torch.cat([batch["target"] for batch in data]),
    )


def test_a_training_learns_and_logs_what_can_be_monitored(finished: Run) -> None:
    assert {f"validation/{name}" for name in MULTILABEL_METRICS} < finished.history.keys()
    assert {"train/loss", "train/mean_average_precision"} < finished.history.keys()
    assert "train/accuracy" not in finished.history
    assert float(finished.classifier.test_metrics.compute()["mean_average_precision"]) > 0.9
    assert BestCheckpoint(composed().monitor).mode == "max"


def test_thresholds_are_the_best_on_validation_and_travel_in_the_checkpoint(finished: Run) -> None:
    loaded = AudioClassifier.load_from_checkpoint(finished.best)
    thresholds = finished.classifier.thresholds
    torch.testing.assert_close(loaded.thresholds, thresholds, rtol=0, atol=0)
    assert (thresholds != 0.5).all()
    probabilities, target = answers(finished, finished.validation)
    for scores, labels, threshold in zip(probabilities.T, target.T, thresholds):
        reached = f1_score(labels, scores >= threshold)
        assert reached == max(f1_score(labels, scores >= other) for other in scores)
        assert reached >= f1_score(labels, scores >= 0.5)
    assert [path.name for path in finished.best.parent.iterdir()] == ["best.ckpt"]


def test_the_test_goes_by_the_chosen_thresholds(finished: Run) -> None:
    clips, probabilities = finished.classifier.last_predictions()
    expected, target = answers(finished, finished.test)
    assert clips.tolist() == list(range(len(expected)))
    torch.testing.assert_close(probabilities, expected)
    guesses = probabilities >= finished.classifier.thresholds
    found = finished.classifier.test_metrics.compute()
    assert float(found["f1_macro"]) == pytest.approx(f1_score(target, guesses, average="macro"))
    assert float(found["accuracy"]) == pytest.approx(float((guesses == target.bool()).all(1).float().mean()))
    assert float(found["loss"]) == pytest.approx(float(F.binary_cross_entropy(probabilities, target)), rel=1e-4)
    named = finished.classifier.decide(probabilities)
    assert named == [[tiny.CLASSES[index] for index in row.nonzero().flatten().tolist()] for row in guesses]
    assert {len(names) for names in named} >= {0, 1, 2}


@pytest.fixture(scope="module")
def recordings(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for index, samples in enumerate(finished.test[0]["waveform"].numpy()):
        soundfile.write(folder / f"{index:02}.wav", samples, tiny.RATE, subtype="FLOAT")
    return folder


def predicted(run: Run, recordings: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["predict", str(run.best), str(recordings), *options])
    assert result.exit_code == 0
    return result.stdout


def test_predictions_name_every_label(finished: Run, recordings: Path) -> None:
    _, probabilities = finished.classifier.last_predictions()
    expected = finished.classifier.decide(probabilities)[:16]
    table = list(csv.DictReader(predicted(finished, recordings).splitlines()))
    assert [row["predicted"] for row in table] == ["|".join(names) for names in expected]
    shares = [[float(row[f"probability {name}"]) for name in tiny.CLASSES] for row in table]
    np.testing.assert_allclose(shares, probabilities[:16], atol=1e-5)
    entries = json.loads(predicted(finished, recordings, "--format", "json"))
    assert [entry["predicted"] for entry in entries] == expected


def test_the_most_probable_are_written_beside_the_prediction(finished: Run, recordings: Path) -> None:
    table = list(csv.DictReader(predicted(finished, recordings, "--top-k", "2").splitlines()))
    expected = list(csv.DictReader(predicted(finished, recordings).splitlines()))
    assert [row["predicted"] for row in table] == [row["predicted"] for row in expected]
    assert all(float(row["probability_1"]) >= float(row["probability_2"]) for row in table)


# Thresholds and checkpoints


def test_only_several_labels_bring_thresholds() -> None:
    config = plain(composed(separator=None))
    single = AudioClassifier(config, AudioTask(tiny.CLASSES, tiny.RATE, 2000).to_dict(), [1, 1, 1])
    assert "thresholds" not in single.state_dict()
    with pytest.raises(AssertionError, match="needs no thresholds"):
        single.choose_thresholds(torch.zeros(0, 3))


def test_old_checkpoints_load(tmp_path: Path) -> None:
    """It has no train_clips, no thresholds, and a task without the entry multilabel."""
    task = AudioTask(tiny.CLASSES, tiny.RATE, 2000).to_dict()
    del task["multilabel"]
    parameters = {"config": plain(composed(separator=None)), "task": task, "class_counts": [5, 3, 2]}
    classifier = AudioClassifier(**parameters)
    classifier.front_end.fit(batch["waveform"] for batch in batches(1, seed=0))
    contents = {"hyper_parameters": parameters, "state_dict": classifier.state_dict(), "audio_lightning": {"format": 1}}
    torch.save(contents, tmp_path / "old.ckpt")
    loaded = AudioClassifier.load_from_checkpoint(tmp_path / "old.ckpt")
    waveform = batches(1, seed=0)[0]["waveform"]
    shares = loaded.probabilities(waveform)
    torch.testing.assert_close(shares.sum(1), torch.ones(len(waveform)))
    assert loaded.decide(shares) == [[tiny.CLASSES[index]] for index in shares.argmax(1)]


def test_a_checkpoint_survives_a_full_disk(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(finished.best, tmp_path / "best.ckpt")

    def save(checkpoint: dict[str, Any], file: IO[bytes]) -> None:
        file.write(b"the first bytes")
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(OSError, match="no space left"):
        finished.classifier.store_decisions(tmp_path / "best.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    assert (tmp_path / "best.ckpt").read_bytes() == finished.best.read_bytes()


# Loss


def test_training_weighs_and_smooths_and_evaluation_does_not(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = finished.validation[0]
    classifier = AudioClassifier.load_from_checkpoint(finished.best)
    weights = classifier.class_weights
    assert (weights > 1).all(), "fewer clips have a label than have not"
    classifier.trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    logits, target = classifier(batch["waveform"]), batch["target"]
    found = classifier.training_step(batch, 0)
    expected = F.binary_cross_entropy_with_logits(logits, 0.9 * target + 0.05, pos_weight=weights)
    torch.testing.assert_close(found, expected)
    assert float(classifier.train_epoch_metrics()["train/loss"]) == pytest.approx(float(expected.detach()))
    classifier.validation_step(batch, 0)
    plain_loss = float(F.binary_cross_entropy_with_logits(classifier.calibration(logits).detach(), target))
    assert float(classifier.validation_metrics.compute()["loss"]) == pytest.approx(plain_loss)


def test_the_loss_is_the_mean_binary_cross_entropy_of_a_clip() -> None:
    logits, target = torch.randn(5, 3), torch.randint(2, (5, 3)).float()
    shares = logits.double().sigmoid()
    weights = torch.tensor([1.0, 4.0, 0.5])
    smoothed = torch.where(target > 0, 0.95, 0.05)
    expected = -(weights * smoothed * shares.log() + (1 - smoothed) * (1 - shares).log()).mean(1)
    node = {"_target_": None, "class_weights": "balanced", "label_smoothing": 0.1}
    found = TrainingLoss(node, TASK)(logits, target, weights)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    plain_loss = -(target * shares.log() + (1 - target) * (1 - shares).log()).mean(1)
    torch.testing.assert_close(BinaryCrossEntropy().per_clip(logits, target).double(), plain_loss, rtol=1e-5, atol=1e-6)


def test_weights_balance_a_label_against_its_absence() -> None:
    objective = BinaryCrossEntropy()
    counts = [10, 50, 0, 100]
    assert class_weights("balanced", objective, counts, 100).tolist() == pytest.approx([9, 1, 100, 0.01])
    assert class_weights("none", objective, counts, 100).tolist() == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="99 training clips cannot hold 100"):
        class_weights("balanced", objective, counts, 99)
    assert class_weights("balanced", CrossEntropy(), [1, 3, 0], 0).tolist() == pytest.approx([5 / 3, 5 / 9, 5 / 3])


# The metric to choose by


@pytest.mark.parametrize(
    ("separator", "override", "expected"),
    [
        (None, "seed=0", "validation/accuracy"),
        ("|", "seed=0", "validation/mean_average_precision"),
        ("|", "monitor=null", "validation/mean_average_precision"),
        ("|", "monitor=validation/loss", "validation/loss"),
        ("|", "monitor=train/mean_average_precision", "train/mean_average_precision"),
        (None, "monitor=validation/f1_macro", "validation/f1_macro"),
    ],
)
def test_the_monitor_follows_from_the_data(separator: str | None, override: str, expected: str) -> None:
    config = composed(override, "callbacks=early_stopping", "scheduler=plateau", separator=separator)
    nodes = (config, config.callbacks.best, config.callbacks.early_stopping, config.scheduler)
    assert {node.monitor for node in nodes} == {expected}
    assert plain(config)["monitor"] == expected


@pytest.mark.parametrize(
    ("separator", "metric", "meant"),
    [
        ("|", "validation/balanced_accuracy", "validation/accuracy"),
        (None, "validation/mean_average_precision", "logged metrics"),
        ("|", "train/accuracy", "validation/accuracy"),
    ],
)
def test_metrics_of_the_other_task_are_rejected(separator: str | None, metric: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"monitor={metric}: this metric is not logged.*{meant}"):
        composed(f"monitor={metric}", separator=separator)


def test_unknown_monitors_are_reported() -> None:
    with pytest.raises(ConfigError, match=r"monitor: Interpolation key 'nowhere' not found"):
        composed("monitor=${nowhere}")


def test_validation_thresholds_are_fitted_on_other_groups() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(60, 4, generator=generator)
    targets = torch.rand(60, 4, generator=generator) < 0.3  # nothing to be learned
    group = np.repeat(np.arange(20), 3)
    found = cross_fitted_thresholds(probabilities, targets, group)
    changed = targets.clone()
    changed[group == 7] = ~changed[group == 7]
    again = cross_fitted_thresholds(probabilities, changed, group)
    assert torch.equal(again[group == 7], found[group == 7])
    assert not torch.equal(again, found)
    fitted, crossed = (MultilabelMetrics(4) for _ in range(2))
    fitted.thresholds, crossed.thresholds = best_thresholds(probabilities, targets), found
    for metrics in (fitted, crossed):
        metrics.update(torch.logit(probabilities), targets.float(), torch.zeros(60))
    assert crossed.compute()["f1_macro"] < fitted.compute()["f1_macro"] - 0.02
    assert torch.equal(cross_fitted_thresholds(probabilities, targets, np.zeros(60)), torch.full((60, 4), 0.5))
