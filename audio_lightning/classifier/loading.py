"""Loading of classifiers from checkpoints and from ensembles of checkpoints."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch

from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.checkpoint import check_checkpoint, is_ensemble, read_contents
from audio_lightning.classifier.checkpoint_ensemble import CheckpointEnsemble
from audio_lightning.classifier.ensemble_file import check_contents, of_member
from audio_lightning.classifier.factory import check_size, without_pretrained
from audio_lightning.classifier.lora import saved_adapters
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.classifier.provenance import described_data, unpacked
from audio_lightning.classifier.sounding_seconds import SOUNDING, check_sounding_seconds
from audio_lightning.classifier.validated import VALIDATED, ValidatedClips
from audio_lightning.config import trusting
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.task import AudioTask

Network = TypeVar("Network", bound=ClassifierNetwork)


def load(cls: type[ClassifierNetwork], path: Path, *, trust: str | Iterable[str] | None) -> Classifier:
    """Load a classifier from a file, see :meth:`AudioClassifier.load_from_checkpoint`."""
    contents = read_contents(path)
    with trusting(trust):
        if is_ensemble(contents):
            return _load_ensemble(cls, contents, str(path))
        return _build(cls, check_checkpoint(contents, where=str(path)), str(path))


def _load_ensemble(cls: type[ClassifierNetwork], contents: dict[str, Any], where: str) -> CheckpointEnsemble:
    found = check_contents(contents, where=where)
    names = [of_member(where, number) for number in range(len(found.members))]
    members = []
    contents.clear()
    for name in names:
        members.append(_build(cls, found.members.pop(0), name))  # pop, so that its weights are not in memory twice
    try:
        ensemble = CheckpointEnsemble(
            members,
            found.weights,
            thresholds=found.thresholds,
            names=names,
            notes=found.notes,
            calibration=found.calibration,
        )
        ensemble.validated_clips = _validated(ensemble, found.validated)
        if found.sounding_seconds is not None:
            ensemble.sounding_seconds = check_sounding_seconds(found.sounding_seconds, ensemble.task)
        return ensemble
    except (ConfigError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{where}: refused: {error}") from error


def _build(cls: type[Network], checkpoint: dict[str, Any], where: str) -> Network:
    """Build a classifier from a checkpoint's hyperparameters, and load its weights."""
    parameters = checkpoint["hyper_parameters"]
    try:
        # Fine-tuning options are not needed, and the names of stages may have changed since the file was written.
        finetune = saved_adapters(parameters["config"].get("finetune"), checkpoint["state_dict"])
        config = {**without_pretrained(parameters["config"]), "finetune": finetune}
        check_size(config, AudioTask.from_dict(parameters["task"]), checkpoint["state_dict"])
        classifier = cls(**{**parameters, "config": config})
        classifier.load_state_dict(checkpoint["state_dict"])
        for name, weights in classifier.named_parameters():
            if not torch.isfinite(weights).all():
                raise CheckpointError(
                    f"{where}: {name} holds NaN or infinite weights; the training diverged or the file is damaged, use "
                    "another checkpoint"
                )
        classifier.initial_config = dict(parameters["config"])
        classifier.data, classifier.trained_on = described_data(checkpoint), unpacked(checkpoint)
        classifier.validated_clips = _validated(classifier, checkpoint["audio_lightning"].get(VALIDATED))
        classifier.sounding_seconds = check_sounding_seconds(
            checkpoint["audio_lightning"].get(SOUNDING), classifier.task
        )
    except ConfigError as error:
        raise CheckpointError(f"{where}: refused: {error}") from error
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{where} does not fit the classifier it describes: {reason}; use another checkpoint"
        ) from error
    return classifier


def _validated(classifier: Classifier, values: Any) -> ValidatedClips | None:
    task = classifier.task
    return ValidatedClips.from_plain(values, num_classes=task.num_classes, multilabel=task.multilabel)
