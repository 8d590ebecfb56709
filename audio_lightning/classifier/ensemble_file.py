"""File format of :class:`CheckpointEnsemble`: several checkpoints with their weights.

It is a dictionary of tensors and plain containers, which ``torch.load(path, weights_only=True)`` opens::

    audio_lightning  ensemble_format, version (of the program that wrote it), notes
    members          the parts of each checkpoint for prediction: hyper_parameters, state_dict, audio_lightning
    weights          weight of each member, positive, sum 1
    thresholds       [classes] float32 if clips may have several labels, else None
    calibration      scale and bias, each [classes] float32, of the members' mean; None if it is not calibrated
    validated        logits of the mean, and targets, of clips that no member was trained on; None if there are none
    sounding_seconds [classes] float32, typical durations of the sounds; None for the mean over the members
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning import __version__
from audio_lightning.classifier.checkpoint import check_checkpoint, read_checkpoint, read_contents, write_checkpoint
from audio_lightning.classifier.sounding_seconds import SOUNDING
from audio_lightning.classifier.validated import VALIDATED, ValidatedClips
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.task import AudioTask

ENSEMBLE_VERSION = 1

MOST_MEMBERS = 256
"""Maximum number of members: ten candidates with five folds, repeated five times."""

KEPT = ("hyper_parameters", "state_dict", "audio_lightning")
"""Parts of a checkpoint for prediction; the others are for resuming a training."""


@dataclass(frozen=True)
class EnsembleContents:
    """Contents of a file.

    Attributes:
        members: the checkpoints.
        weights: weights of the members, with the sum 1.
        thresholds: probability threshold of every class; None for the weighted mean of the members' thresholds.
        notes: notes of the writer.
        calibration: scale and bias of the members' mean; None if it is not calibrated.
        validated: plain values of :class:`~audio_lightning.classifier.validated.ValidatedClips`, unchecked, or None.
        sounding_seconds: typical durations of the classes, unchecked; None for the mean over the members.
    """

    members: list[dict[str, Any]]
    weights: list[float]
    thresholds: Float[Tensor, "classes"] | None
    notes: dict[str, Any]
    calibration: tuple[Tensor, Tensor] | None = None
    validated: Any = None
    sounding_seconds: Any = None


def write_ensemble(
    path: Path,
    members: Sequence[Path],
    weights: Sequence[float],
    *,
    thresholds: Sequence[float] | None = None,
    notes: Mapping[str, Any] | None = None,
    calibration: tuple[Tensor, Tensor] | None = None,
    validated: ValidatedClips | None = None,
    sounding_seconds: Float[Tensor, "classes"] | None = None,
) -> None:
    """Write a file that predicts the weighted mean of the probabilities of several checkpoints.

    States of optimizers and trainings are omitted. The file is written atomically.

    Args:
        path: the file.
        members: checkpoints with the same classes, sample rate, clips, windows and channel.
        weights: positive weights of the members; they are divided by their sum.
        thresholds: if clips may have several labels, the probability threshold of every class; None for the weighted
            mean of the members' thresholds.
        notes: plain values to keep in the file, such as the names of the members.
        calibration: scale and bias, each ``[classes]``, of the members' mean.
        validated: clips that no member was trained on, with logits of the mean.
        sounding_seconds: typical duration of the sound of every class in seconds, NaN if not known; None for the mean
            over the members that know it.

    Raises:
        ConfigError: no members, a wrong number of weights or thresholds, or members that do not fit together.
        CheckpointError: see :func:`audio_lightning.classifier.checkpoint.read_checkpoint`.
        OSError: the file cannot be written.
    """
    shares = _shares(weights, len(members))
    checkpoints = [read_checkpoint(member) for member in members]
    parts: list[tuple[str, AudioTask, Mapping[str, Any]]] = []
    for member, checkpoint in zip(members, checkpoints):
        parameters = checkpoint["hyper_parameters"]
        try:
            parts.append((str(member), AudioTask.from_dict(parameters["task"]), parameters["config"]["data"]))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{member} does not describe its predictions ({type(error).__name__}); use another checkpoint"
            ) from error
    check_members(parts)
    task = parts[0][1]
    if thresholds is not None:
        _check_thresholds(thresholds, task)
    contents = {
        "audio_lightning": {"ensemble_format": ENSEMBLE_VERSION, "version": __version__, "notes": dict(notes or {})},
        "members": [{name: checkpoint[name] for name in KEPT} for checkpoint in checkpoints],
        "weights": shares,
        SOUNDING: None if sounding_seconds is None else sounding_seconds.detach().float().cpu(),
        **_decisions(thresholds, calibration, validated),
    }
    write_checkpoint(path, contents)


def add_decisions(
    path: Path,
    *,
    thresholds: Sequence[float] | None = None,
    calibration: tuple[Tensor, Tensor] | None = None,
    validated: ValidatedClips | None = None,
) -> None:
    """Add thresholds, calibration and validated clips to a file that :func:`write_ensemble` wrote without them.

    Raises:
        CheckpointError: see :func:`audio_lightning.classifier.checkpoint.read_contents`.
        OSError: the file cannot be written.
    """
    contents = read_contents(path)
    write_checkpoint(path, {**contents, **_decisions(thresholds, calibration, validated)})


def _decisions(
    thresholds: Sequence[float] | None, calibration: tuple[Tensor, Tensor] | None, validated: ValidatedClips | None
) -> dict[str, Any]:
    return {
        "thresholds": None if thresholds is None else torch.tensor(thresholds, dtype=torch.float32),
        "calibration": None if calibration is None else [value.float() for value in calibration],
        VALIDATED: None if validated is None else validated.to_plain(),
    }


def check_contents(contents: Mapping[str, Any], *, where: str) -> EnsembleContents:
    """Validate the contents of an ensemble file.

    Args:
        contents: contents of a file, see :func:`audio_lightning.classifier.checkpoint.read_contents`.
        where: the file, for messages.

    Raises:
        CheckpointError: another version of the format, inconsistent parts, or an invalid checkpoint among the members.
    """
    written = contents["audio_lightning"]
    if written["ensemble_format"] != ENSEMBLE_VERSION:
        raise CheckpointError(
            f"{where} has format {written['ensemble_format']} of ensembles (written by version "
            f"{written.get('version')}); version {__version__} reads format {ENSEMBLE_VERSION}"
        )
    members, weights, thresholds = (contents.get(name) for name in ("members", "weights", "thresholds"))
    notes = written.get("notes", {})
    if not isinstance(members, list) or not isinstance(weights, list) or not isinstance(notes, dict):
        raise CheckpointError(f"{where} is damaged: expected lists of members and weights; use another file")
    if thresholds is not None and not (isinstance(thresholds, Tensor) and thresholds.dtype == torch.float32):
        raise CheckpointError(f"{where} is damaged: expected thresholds of type float32, or none; use another file")
    calibration = contents.get("calibration")
    pair = isinstance(calibration, list) and len(calibration) == 2
    if calibration is not None and not (pair and all(isinstance(value, Tensor) for value in calibration)):
        raise CheckpointError(
            f"{where} is damaged: expected scale and bias of a calibration, or none; use another file"
        )
    try:
        shares = _shares(weights, len(members))
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from error
    checked = [check_checkpoint(member, where=of_member(where, number)) for number, member in enumerate(members)]
    _check_apart(checked, where)
    fitted = None if calibration is None else (calibration[0], calibration[1])
    return EnsembleContents(checked, shares, thresholds, notes, fitted, contents.get(VALIDATED), contents.get(SOUNDING))


def of_member(where: str, number: int) -> str:
    """Return the name of a member in messages; ``number`` counts from 0."""
    return f"{where}, member {number + 1}"


def check_members(members: Sequence[tuple[str, AudioTask, Mapping[str, Any]]]) -> None:
    """Check that members have the same classes and need the same clips.

    Args:
        members: name, task, and ``data`` of the configuration of each.

    Raises:
        ConfigError: two members differ; the message names them and the difference.
    """
    first, *others = [(name, required_clips(task, data)) for name, task, data in members]
    for name, values in others:
        for key, value in values.items():
            if value != (expected := first[1][key]):
                raise ConfigError(
                    f"members of an ensemble need the same {key}: {_text(expected)} in {first[0]}, {_text(value)} in "
                    f"{name}; leave one of them out"
                )


def check_thresholds(thresholds: Float[Tensor, "..."], task: AudioTask) -> None:
    """Check that thresholds are one probability for each class of a task with several labels.

    Raises:
        ConfigError: they are not.
    """
    _check_thresholds(thresholds.tolist(), task)


def _check_thresholds(thresholds: Any, task: AudioTask) -> None:
    if not task.multilabel:
        raise ConfigError("thresholds are for clips that may have several labels, and these have one; omit them")
    numbers = thresholds if isinstance(thresholds, Sequence) else [thresholds]
    if len(numbers) != task.num_classes or not all(isinstance(value, float) and 0 <= value <= 1 for value in numbers):
        raise ConfigError(
            f"thresholds: not one probability for each class; give {task.num_classes} numbers from 0.0 to 1.0"
        )


def required_clips(task: AudioTask, data: Mapping[str, Any]) -> dict[str, Any]:
    """Values that all members must share, by their names in messages."""
    return {
        "classes": task.classes,
        "number of labels of a clip": "several" if task.multilabel else "one",
        "data.sample_rate": task.sample_rate,
        "data.clip_seconds": f"{task.clip_seconds:g} ({task.num_samples} samples)",
        "data.padding": task.padding,
        "data.hop_seconds": data.get("hop_seconds"),
        "data.channel": data.get("channel", "mean"),
    }


def _text(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _shares(weights: Sequence[float], count: int) -> list[float]:
    if not 1 <= count <= MOST_MEMBERS:
        raise ConfigError(f"an ensemble cannot have {count} members; give 1 to {MOST_MEMBERS}")
    if len(weights) != count:
        raise ConfigError(
            f"an ensemble of {count} members cannot have {len(weights)} weights; give one for each member"
        )
    for weight in weights:
        # so that no share vanishes in float32
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 1e-6 <= weight <= 1e6:
            raise ConfigError(f"weight {weight}: expected a number from 1e-6 to 1e6; omit members without weight")
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _check_apart(members: Sequence[Mapping[str, Any]], where: str) -> None:
    """Refuse members that share tensors: each member is built, so a small file could allocate all memory."""
    taken = set[int]()
    for member in members:
        state = member["state_dict"]
        tensors = [value for value in state.values() if isinstance(value, Tensor)] if isinstance(state, dict) else []
        own = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}
        if own & taken:
            raise CheckpointError(f"{where}: refused: its members share their weights; use another file")
        taken |= own
