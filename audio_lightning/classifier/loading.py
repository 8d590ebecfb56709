"""Classifiers from checkpoints."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch

from audio_lightning.classifier.checkpoint import read_checkpoint
from audio_lightning.classifier.factory import check_size, without_pretrained
from audio_lightning.classifier.provenance import described_data, unpacked
from audio_lightning.config import trusting
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.task import AudioTask

Module = TypeVar("Module", bound=pl.LightningModule)


def load(cls: type[Module], path: Path, *, trust: str | Iterable[str] | None) -> Module:
    """Build a classifier from a checkpoint's hyperparameters, as :meth:`AudioClassifier.load_from_checkpoint` does."""
    checkpoint = read_checkpoint(path)
    parameters = checkpoint["hyper_parameters"]
    try:
        # Nothing is trained, and a stage may have had another name when the file was written.
        config = {**without_pretrained(parameters["config"]), "finetune": None}
        with trusting(trust):
            check_size(config, AudioTask.from_dict(parameters["task"]), checkpoint["state_dict"])
            classifier: Any = cls(**{**parameters, "config": config})
        classifier.load_state_dict(checkpoint["state_dict"])
        for name, weights in classifier.named_parameters():
            if not torch.isfinite(weights).all():
                raise CheckpointError(
                    f"{path}: {name} holds NaN or infinite weights; the training diverged or the file is damaged, use "
                    "another checkpoint"
                )
        classifier.data, classifier.trained_on = described_data(checkpoint), unpacked(checkpoint)
    except ConfigError as error:
        raise CheckpointError(f"{path}: refused: {error}") from error
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} does not fit the classifier it describes: {reason}") from error
    loaded: Module = classifier
    return loaded
