"""Runs accept only the data that they were trained on, also after it has moved."""

import csv
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import soundfile
import tiny
import torch
from running import resume

from audio_lightning.classifier.checkpoint import read_checkpoint, write_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.config import build, compose, quote_paths
from audio_lightning.core.errors import CheckpointError, DataError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.inference.evaluate import evaluate

TABLE = "metadata/UrbanSound8K.csv"


def rewrite(root: Path, change: Callable[[dict[str, str]], dict[str, str] | None]) -> None:
    with (root / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [row for row in map(change, rows) if row is not None]
    with (root / TABLE).open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(kept)


def rename_class(root: Path) -> None:
    rewrite(root, lambda row: row | {"class": row["class"].replace("noise", "alarm")})


def reorder_classes(root: Path) -> None:
    other = {"high_tone": "low_tone", "low_tone": "high_tone", "noise": "noise"}
    rewrite(root, lambda row: row | {"class": other[row["class"]]})


def lose_a_clip(root: Path) -> None:
    rewrite(root, lambda row: None if row["slice_file_name"] == "3000-0-0-0.wav" else row)


def relabel_a_group(root: Path) -> None:
    other = {"class": "low_tone", "classID": "1"}
    rewrite(root, lambda row: row | (other if row["fsID"] == "3000" else {}))


def exchange_a_recording(root: Path) -> None:
    path = root / "audio/fold3/3000-0-0-0.wav"
    soundfile.write(path, tiny.sound("noise", np.random.default_rng(5)), tiny.RATE)


def divide_otherwise(root: Path) -> None:
    """The same recordings, with some training clips moved to the validation split."""

    def moved(row: dict[str, str]) -> dict[str, str]:
        fold = {"2000": "3", "3000": "2"}.get(row["fsID"], row["fold"])
        if fold != row["fold"]:
            shutil.move(root / f"audio/fold{row['fold']}" / row["slice_file_name"], root / f"audio/fold{fold}")
        return row | {"fold": fold}

    rewrite(root, moved)


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "classes": (rename_class, r"the classes differ \(without: noise; new: alarm\)"),
    "clips": (lose_a_clip, "there are 17 train clips instead of 18"),
    "labels": (relabel_a_group, "there are 4 training clips of high_tone instead of 6"),
    "content": (exchange_a_recording, "recordings, labels or groups differ, for the same number of clips"),
    "splits": (divide_otherwise, "the same clips have other splits"),
}


@pytest.fixture
def data(tiny_urbansound8k: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_urbansound8k, tmp_path / "data"))


@pytest.fixture
def own_run(trained: Path, data: Path, tmp_path: Path) -> Path:
    """A run whose checkpoints say that it was trained on ``data``."""
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    for path in (run / "checkpoints").glob("*.ckpt"):
        checkpoint = read_checkpoint(path)
        checkpoint["hyper_parameters"]["config"]["data"]["root"] = str(data)
        write_checkpoint(path, checkpoint)
    return run


@pytest.mark.parametrize("what", CHANGES)
def test_changed_data_is_rejected_by_resume_and_evaluate(own_run: Path, data: Path, what: str) -> None:
    change, message = CHANGES[what]
    change(data)
    before = {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=rf"not what this run was trained on: .*{message}") as caught:
        resume(own_run, f"data.root={data}", "trainer.max_epochs=5")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=rf"the data has changed since the training: {message}"):
        evaluate(own_run)
    assert {path: path.read_bytes() for path in own_run.rglob("*") if path.is_file()} == before


def test_moved_data_is_accepted(own_run: Path, data: Path) -> None:
    data.rename(data.with_name("moved"))
    assert resume(own_run, f"data.root={data.with_name('moved')}", "trainer.max_epochs=5")["epochs"] == 5
    assert read_checkpoint(own_run / "checkpoints/last.ckpt")["audio_lightning"]["data"]["clips"] == {
        "train": 18,
        "validation": 9,
        "test": 9,
    }


def test_named_data_is_evaluated_by_class_names(own_run: Path, data: Path) -> None:
    as_trained = evaluate(own_run).metrics
    reorder_classes(data)
    swapped = evaluate(own_run, quote_paths([f"data.root={data}"])).metrics
    assert as_trained["test/accuracy"] > 0.6 > swapped["test/accuracy"]
    rename_class(data)
    assert evaluate(own_run, quote_paths([f"data.root={data}"])).unknown_classes == ["alarm"]


def test_old_checkpoints_without_fingerprints_are_compared_by_classes(own_run: Path, data: Path) -> None:
    for path in (own_run / "checkpoints").glob("*.ckpt"):
        checkpoint = read_checkpoint(path)
        del checkpoint["audio_lightning"]["data"], checkpoint["audio_lightning"]["classes_sha256"]
        torch.save(checkpoint, path)
    assert resume(own_run, f"data.root={data}", "trainer.max_epochs=5")["epochs"] == 5
    rename_class(data)
    with pytest.raises(DataError, match="the classes differ"):
        resume(own_run, f"data.root={data}", "trainer.max_epochs=6")


@pytest.mark.parametrize("names", [["noise", "low_tone", "high_tone"], ["a", "b"]])
def test_exchanged_class_names_are_detected(own_run: Path, names: list[str]) -> None:
    path = own_run / "checkpoints/best.ckpt"
    checkpoint = read_checkpoint(path)
    checkpoint["hyper_parameters"]["task"]["classes"] = names
    write_checkpoint(path, checkpoint)
    with pytest.raises(CheckpointError, match="does not fit the classifier it describes"):
        AudioClassifier.load_from_checkpoint(path)


def datamodule(root: Path, *overrides: str) -> AudioDataModule:
    line = ["data=urbansound8k", f"data.root={root}", *tiny.TRAIN_OVERRIDES, *overrides]
    return build(compose(quote_paths(line)).data, AudioDataModule, where="data")


def trainer(folder: Path) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return pl.Trainer(max_epochs=1, accelerator="cpu", num_sanity_val_steps=0, default_root_dir=folder, **quiet)


@pytest.mark.parametrize(
    "change", [rename_class, lambda root: rewrite(root, lambda row: row | {"class": "x" + row["classID"]})]
)
def test_lightning_trainer_rejects_other_classes(
    trained: Path, data: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(data)
    classifier = AudioClassifier.load_from_checkpoint(trained / "checkpoints/best.ckpt")
    for begin in (trainer(tmp_path).fit, trainer(tmp_path).test):
        with pytest.raises(DataError, match="the classifier has the classes high_tone, low_tone, noise, and the data"):
            begin(classifier, datamodule=datamodule(data))


def test_lightning_trainer_rejects_another_class_order(trained: Path, data: Path, tmp_path: Path) -> None:
    classifier = AudioClassifier.load_from_checkpoint(trained / "checkpoints/best.ckpt")
    other = datamodule(data)
    other.setup()
    other.match_classes(["noise", "low_tone", "high_tone"])
    with pytest.raises(DataError, match="match them by name"):
        trainer(tmp_path).test(classifier, datamodule=other)
    other.match_classes(classifier.task.classes)
    trainer(tmp_path).test(classifier, datamodule=other, verbose=False)
    with pytest.raises(DataError, match="needs 8000 Hz, and the data has 16000 Hz"):
        trainer(tmp_path).test(classifier, datamodule=datamodule(data, "data.sample_rate=16000"))


def test_lightning_trainer_does_not_resume_on_other_data(trained: Path, data: Path, tmp_path: Path) -> None:
    classifier = AudioClassifier.load_from_checkpoint(trained / "checkpoints/best.ckpt")
    lose_a_clip(data)
    with pytest.raises(DataError, match="there are 17 train clips instead of 18"):
        trainer(tmp_path).fit(
            classifier,
            datamodule=datamodule(data),
            ckpt_path=trained / "checkpoints/last.ckpt",
            weights_only=True,
        )


def test_lightning_trainer_tests_a_checkpoint_on_other_data(trained: Path, data: Path, tmp_path: Path) -> None:
    best = trained / "checkpoints/best.ckpt"
    classifier = AudioClassifier.load_from_checkpoint(best)
    lose_a_clip(data)
    (found,) = trainer(tmp_path).test(
        classifier, datamodule=datamodule(data), ckpt_path=best, weights_only=True, verbose=False
    )
    assert 0 <= found["test/accuracy"] <= 1


def test_a_loaded_classifier_trains(trained: Path, data: Path, tmp_path: Path) -> None:
    classifier = AudioClassifier.load_from_checkpoint(trained / "checkpoints/best.ckpt")
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path).fit(classifier, datamodule=datamodule(data))
    assert not [warning for warning in caught if "eval mode" in str(warning.message)]
    assert all(module.training for module in classifier.network.modules())
    means = [name for name in before if name.endswith("running_mean")]
    assert means
    assert not any(torch.equal(before[name], classifier.state_dict()[name]) for name in means)
