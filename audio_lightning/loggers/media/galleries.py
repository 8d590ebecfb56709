"""Galleries of clips: the worst mistakes, and augmented training clips."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TRAIN
from audio_lightning.features.filters import MelSettings
from audio_lightning.features.log_mel import LogMel
from audio_lightning.figures import evaluation as figures
from audio_lightning.loggers.media.items import Cell, Clip, Gallery
from audio_lightning.loggers.media.per_class import Outputs
from audio_lightning.losses.objective import shares

MEL_BANDS, FRAMES, DECIBELS = 64, 240, 80.0


def mistakes(classifier: AudioClassifier, datamodule: AudioDataModule, outputs: Outputs, most: int) -> Gallery | None:
    """Return the wrongly predicted clips with the highest losses; None if all predictions are right.

    For multi-label tasks, a prediction is wrong if any label is missing or additional.

    Args:
        classifier: classifier that made the predictions.
        datamodule: data of the clips.
        outputs: predictions for all clips of a split.
        most: maximum number of clips to show.
    """
    task, part, targets, probabilities = classifier.task, outputs.part, outputs.targets, outputs.probabilities
    predicted = classifier.decide(probabilities)
    table = datamodule.manifest.table.iloc[outputs.row]
    labels = [datamodule.manifest.labels(label) for label in table["label"]]
    if task.multilabel:
        losses = -(probabilities * targets + (1 - probabilities) * (1 - targets)).clamp(min=1e-12).log().mean(dim=1)
        wrong = [set(guess) != set(label) for guess, label in zip(predicted, labels)]
    else:
        losses = -probabilities.gather(1, targets[:, None])[:, 0].clamp(min=1e-12).log()
        wrong = [guess != label for guess, label in zip(predicted, labels)]
    losses = losses.masked_fill(~torch.tensor(wrong), -1.0)
    worst = losses.argsort(descending=True, stable=True)[: min(most, sum(wrong))].numpy()
    if not len(worst):
        return None
    waveforms = datamodule.batch(part, outputs.position[worst])["waveform"].cpu()
    spectrograms = _log_mel(waveforms, task.sample_rate)
    offsets = datamodule.clips.offset[datamodule.numbers(part)[outputs.position]] / task.sample_rate
    clips, captions = list[Clip](), list[str]()
    for index, waveform, spectrogram in zip(worst.tolist(), waveforms, spectrograms):
        label, guess = LABEL_SEPARATOR.join(labels[index]), LABEL_SEPARATOR.join(predicted[index])
        facts: dict[str, Cell] = {"label": label, "predicted": guess}
        if not task.multilabel:
            facts["probability"] = round(float(probabilities[index].max()), 4)
        loss = round(float(losses[index]), 4)
        facts |= {"loss": loss, "path": table["path"].iloc[index], "start_seconds": round(float(offsets[index]), 3)}
        caption = f"{label or 'no label'} predicted as {guess or 'no label'}"
        clips.append(Clip(caption, facts, waveform.numpy(), figures.picture(spectrogram)))
        captions.append(f"{_short(label)}\npredicted as {_short(guess)}\nloss {loss:.2f}")
    title = f"{part}: the {len(clips)} worst of {sum(wrong)} mistakes, log-mel"
    figure = figures.sheet([[spectrogram] for spectrogram in spectrograms], captions, task.clip_seconds, title)
    return Gallery(f"{part}/mistakes", figures.png(figure), task.sample_rate, clips)


@torch.no_grad()
def augmented(classifier: AudioClassifier, datamodule: AudioDataModule, most: int) -> Gallery | None:
    """Return the input features of augmented training clips, below the features of the original clips.

    The states of all random generators and modules are unchanged afterwards.

    Args:
        classifier: classifier before the first step of its training.
        datamodule: data of the training.
        most: maximum number of clips to show; an augmentation that mixes clips only mixes these clips.
    """
    task, augmentation = classifier.task, classifier.augmentation
    chosen = np.random.RandomState(datamodule.seed).permutation(len(datamodule.numbers(TRAIN)))[:most]
    with _undisturbed(classifier):
        batch = datamodule.batch(TRAIN, chosen)
        waveform, target = batch["waveform"].to(classifier.device), batch["target"].to(classifier.device)
        before = _drawable(classifier.front_end(waveform))
        if augmentation.mixes_targets:
            target = shares(target, task.num_classes)
        changed, target = augmentation.on_waveforms(waveform.clone(), target)
        features, target = augmentation.on_features(classifier.front_end(changed), target)
        after, changed, target = _drawable(features), changed.cpu(), target.cpu()
    labels = [_labels(row, task.classes) for row in target]
    clips = [
        Clip(label, {"label": label}, samples.numpy().clip(-1, 1), figures.picture(picture))
        for label, samples, picture in zip(labels, changed, after)
    ]
    changes = augmentation.changes_waveforms or augmentation.changes_features
    names = ("original", "augmented") if changes else ("",)
    pictures = [list(kinds) for kinds in (zip(before, after) if changes else zip(after))]
    title = f"training clips, {'' if changes else 'not '}augmented"
    figure = figures.sheet(pictures, [_short(label) for label in labels], task.clip_seconds, title, names)
    return Gallery("train/augmented", figures.png(figure), task.sample_rate, clips)


@contextmanager
def _undisturbed(classifier: AudioClassifier) -> Iterator[None]:
    """Augment as in training; restore the random generators and the modes of all modules at the end."""
    modes = {module: module.training for module in classifier.modules()}
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - libraries draw from the legacy generator
    device = classifier.device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002
            torch.manual_seed(0)
            classifier.front_end.eval()
            classifier.augmentation.train()
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        for module, mode in modes.items():
            module.training = mode


def _drawable(features: Tensor) -> list[Float[np.ndarray, "..."]]:
    """Return the first channel of every clip: a spectrogram ``[bins, frames]``, or a waveform ``[samples]``."""
    features = features.float().cpu()
    if features.dim() == 3 and features.shape[1] > 1:
        return list(features.numpy())
    return list(features[:, 0].numpy())


def _log_mel(waveforms: Float[Tensor, "clips samples"], sample_rate: int) -> list[Float[np.ndarray, "bands frames"]]:
    samples = waveforms.shape[1]
    front_end = LogMel(
        sample_rate=sample_rate,
        num_samples=samples,
        n_mels=MEL_BANDS,
        mel=MelSettings(hop_seconds=max(1, samples // FRAMES) / sample_rate),
        top_db=DECIBELS,
        normalize="none",
    )
    return list(front_end(waveforms)[:, 0].numpy())


def _labels(target: Tensor, classes: tuple[str, ...]) -> str:
    """Return the class of a clip, or the shares of the classes of a mixed clip."""
    if target.dim() == 0:
        return classes[int(target)]
    parts = [(float(share), name) for share, name in zip(target, classes) if share > 0]
    if all(share == 1 for share, _ in parts):
        return LABEL_SEPARATOR.join(name for _, name in parts)
    return " + ".join(f"{share:.2f} {name}" for share, name in sorted(parts, reverse=True))


def _short(label: Cell, most: int = 34) -> str:
    text = str(label) or "no label"
    return figures.legible(text if len(text) <= most else f"{text[: most - 1]}…")
