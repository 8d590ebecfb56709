"""Contents of ``metrics.json``: metrics and costs of a training and its test."""

import lightning.pytorch as pl

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.costs import costs
from audio_lightning.classifier.trainer_state import callbacks_of
from audio_lightning.core.errors import FileError
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import SPLITS, TRAIN, VALIDATION
from audio_lightning.training.callbacks import BestCheckpoint
from audio_lightning.training.history import History
from audio_lightning.training.results import division, measured, warnings_of

Metrics = dict[str, float | int | str | bool | None]


def summarize(
    classifier: AudioClassifier,
    datamodule: AudioDataModule,
    trainer: pl.Trainer,
    history: History,
    *,
    best_epoch: int,
) -> Metrics:
    """Collect the metrics of the best epoch and of the test, the costs, and the facts that a comparison needs.

    Args:
        classifier: classifier after its test, if there are test clips.
        datamodule: data module that has been set up.
        trainer: trainer of the run.
        history: history of all epochs.
        best_epoch: number of the best epoch, from 1.

    Raises:
        FileError: the history lacks the best epoch.
    """
    best = next((row for row in history.rows if int(row["epoch"]) == best_epoch), None)
    if best is None:
        raise FileError(f"{history.path} has no epoch {best_epoch}, the epoch of checkpoints/best.ckpt; restore a copy")
    training_seconds = sum(float(row["training_seconds"]) for row in history.rows)
    clips = {f"num_clips/{split}": len(datamodule.numbers(split)) for split in SPLITS}
    part = VALIDATION if clips["num_clips/validation"] else TRAIN
    tested = measured(classifier, datamodule) if clips["num_clips/test"] else {}
    if tested:  # fewer clips if a debug setting limits the batches
        clips["num_clips/test"] = len(classifier.last_predictions()[0])
    learned = {name: float(value) for name, value in best.items() if name.startswith(f"{part}/") and value}
    return {
        **tested,
        **learned,
        **costs(classifier),
        "epochs": len(history.rows),
        "best_epoch": best_epoch,
        "chosen_by": callbacks_of(trainer, BestCheckpoint)[0].chosen_by,
        "seconds": round(sum(float(row["seconds"]) for row in history.rows), 3),
        "clips_per_second": round(clips["num_clips/train"] * len(history.rows) / training_seconds, 1),
        **clips,
        **division(datamodule),
        **warnings_of(datamodule),
        "precision": str(trainer.precision),
        **({"lower_is_better": " ".join(lower)} if (lower := classifier.configured.lower_is_better) else {}),
        **({"float32_layers": " ".join(classifier.float32_layers)} if classifier.float32_layers else {}),
        "device": str(trainer.strategy.root_device),
        "devices": trainer.world_size,
    }
