"""Explanations of predictions: relevance over time and frequency, and the sound with and without the relevant part."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from audio_lightning.classifier.base import Classifier
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import AudioError, CheckpointError, ConfigError
from audio_lightning.core.files import write_bytes, write_json
from audio_lightning.figures.evaluation import png
from audio_lightning.figures.relevance import draw_relevance
from audio_lightning.inference.grad_cam import NotConvolutional, grad_cam
from audio_lightning.inference.nearest import Neighbour
from audio_lightning.inference.time_frequency import BANDS, TimeFrequencyPlane
from audio_lightning.inference.windows import BATCH_SIZE, batches

Method = Literal["gradcam", "occlusion"]

FILES = ("relevance.png", "marked.wav", "without.wav", "explanation.json", "relevance.npz")
"""Files of :func:`write_explanation`."""

MARKED_SHARE = 0.1
"""Share of the cells before the padding that is marked as most relevant."""

BLOCK_BANDS = 4
BLOCKS_IN_TIME = 10
"""Height of an occluded block in bands, and its length as a share of the sound; blocks overlap by half."""


@dataclass(frozen=True)
class Explanation:
    """Explanation of the probability of a class.

    Attributes:
        class_name: the class.
        method: ``gradcam`` or ``occlusion``.
        plane: bands and frames of the time-frequency plane.
        samples: the input clip of the classifier.
        relevance: relevance of every cell, positive where it is evidence for the class.
        marked: mask of the tenth of the cells before the padding with the highest relevance.
        probability: probability of the class for the clip.
        probability_without: its probability for the clip without the marked tenth.
        probability_of_marked: its probability for the marked tenth alone.
        without: the clip without the marked tenth.
        of_marked: the marked tenth alone.
        start_seconds, stop_seconds: position of the clip in its recording.
    """

    class_name: str
    method: Method
    plane: TimeFrequencyPlane
    samples: Float[np.ndarray, "samples"]
    relevance: Float[np.ndarray, "bands frames"]
    marked: Bool[np.ndarray, "bands frames"]
    probability: float
    probability_without: float
    probability_of_marked: float
    without: Float[np.ndarray, "samples"]
    of_marked: Float[np.ndarray, "samples"]
    start_seconds: float = 0.0
    stop_seconds: float = 0.0


@dataclass(frozen=True)
class ExplainedWindow:
    """A window of a recording, and the class to explain in it.

    Attributes:
        samples: one channel of the window.
        class_index: index of the class to explain.
        start_seconds, stop_seconds: position of the window in the recording.
    """

    samples: Float[Tensor, "samples"]
    class_index: int
    start_seconds: float
    stop_seconds: float


def explain_recording(
    classifier: Classifier, path: Path, *, class_name: str | None = None, method: Method | None = None
) -> Explanation:
    """Explain the window of a recording in which a class is most probable.

    Args:
        classifier: in evaluation mode.
        path: a recording of any length and sample rate.
        class_name: the class; None for the most probable class of any window.
        method: see :func:`explain`.

    Raises:
        AudioError: the recording cannot be read.
        ConfigError: an unknown class; see also :func:`explain`.
    """
    window = find_window(classifier, path, _index(classifier, class_name))
    return explain(
        classifier,
        window.samples,
        window.class_index,
        method=method,
        where=(window.start_seconds, window.stop_seconds),
    )


def explain(
    classifier: Classifier,
    waveform: Float[Tensor, "samples"],
    class_index: int,
    *,
    method: Method | None = None,
    where: tuple[float, float] = (0.0, 0.0),
) -> Explanation:
    """Explain a clip.

    Args:
        classifier: in evaluation mode.
        waveform: a clip of ``classifier.task.num_samples`` samples, on the CPU.
        class_index: index of the class to explain.
        method: ``gradcam`` or ``occlusion``; None for Grad-CAM if the network is convolutional and its features have a
            frequency axis, else occlusion.
        where: start and end of the clip in its recording, in seconds.

    Raises:
        ConfigError: the method does not support the classifier.
        CheckpointError: probabilities that are NaN or infinite.
    """
    plane = TimeFrequencyPlane(classifier.task.sample_rate, len(waveform))
    relevance, method = _relevance(classifier, plane, waveform, class_index, method)
    marked = mark(relevance, plane.sounding_frames(waveform))
    without, of_marked = plane.keep(waveform, torch.stack([~marked, marked]))
    probabilities = classifier.probabilities(torch.stack([waveform, without, of_marked])).cpu()[:, class_index]
    if not bool(probabilities.isfinite().all()):
        raise CheckpointError(
            "the probabilities of the clip hold NaN or infinite values; the checkpoint may be damaged, restore it"
        )
    before, after, alone = probabilities.tolist()
    return Explanation(
        classifier.task.classes[class_index],
        method,
        plane,
        waveform.numpy(),
        relevance.numpy(),
        marked.numpy(),
        before,
        after,
        alone,
        without.numpy(),
        of_marked.numpy(),
        *where,
    )


def mark(relevance: Float[Tensor, "bands frames"], frames: int) -> Bool[Tensor, "bands frames"]:
    """Return a mask of the cells with the highest relevance: the share :data:`MARKED_SHARE` of the first ``frames``."""
    found = torch.zeros(relevance.shape, dtype=torch.bool)
    part = relevance[:, :frames]
    best = part.flatten().argsort(descending=True, stable=True)[: max(1, round(MARKED_SHARE * part.numel()))]
    found[best // frames, best % frames] = True
    return found


def occlusion(
    classifier: Classifier, plane: TimeFrequencyPlane, waveform: Float[Tensor, "samples"], class_index: int
) -> Float[Tensor, "bands frames"]:
    """Compute the relevance of cells by occlusion: the mean drop of the log-odds if blocks with the cell are removed.

    Blocks are removed from the waveform, which works with any front end and network; Zeiler and Fergus 2014 (arXiv
    1311.2901) remove them from an image.
    """
    frames = plane.sounding_frames(waveform)
    blocks = list(_blocks(frames))
    drops = torch.zeros(BANDS, plane.frames, dtype=torch.float64)
    counts = torch.zeros(BANDS, plane.frames, dtype=torch.float64)
    whole = log_odds(classifier, classifier.logits(waveform[None]).cpu(), class_index)
    for start in range(0, len(blocks), BATCH_SIZE):
        some = blocks[start : start + BATCH_SIZE]
        kept = torch.ones(len(some), BANDS, plane.frames, dtype=torch.bool)
        for mask, block in zip(kept, some):
            mask[block] = False
        logits = classifier.logits(plane.keep(waveform, kept)).cpu()
        for block, drop in zip(some, (whole - log_odds(classifier, logits, class_index)).tolist()):
            drops[block] += drop
            counts[block] += 1
    return (drops / counts.clamp(min=1)).float()


def log_odds(
    classifier: Classifier, logits: Float[Tensor, "clips classes"], class_index: int
) -> Float[Tensor, "clips"]:
    """Return the log-odds ``log(p / (1 - p))`` of a class, after calibration; they do not saturate like ``p``."""
    calibrated = classifier.calibration(logits.float())
    own = calibrated[:, class_index]
    if classifier.task.multilabel or classifier.task.num_classes == 1:
        return own
    others = torch.cat([calibrated[:, :class_index], calibrated[:, class_index + 1 :]], dim=1)
    return own - others.logsumexp(dim=1)


def find_window(classifier: Classifier, path: Path, class_index: int | None) -> ExplainedWindow:
    """Find the window and channel in which a class is most probable; for None, the most probable class of any window.

    Raises:
        AudioError: the recording cannot be read.
    """
    best: tuple[float, ExplainedWindow] | None = None
    for parts in batches(classifier, [path]):
        for part in parts:
            if part.samples is None:
                raise AudioError(str(part.error))
            samples = torch.from_numpy(part.samples)
            probabilities = classifier.probabilities(samples).cpu()
            wanted = probabilities if class_index is None else probabilities[:, class_index : class_index + 1]
            row, column = divmod(int(wanted.argmax()), wanted.shape[1])
            value = float(wanted[row, column])
            if best is None or value > best[0]:
                number = column if class_index is None else class_index
                assert part.start_seconds is not None
                assert part.stop_seconds is not None
                best = value, ExplainedWindow(samples[row].clone(), number, part.start_seconds, part.stop_seconds)
    assert best is not None, "a recording has a window"
    return best[1]


def write_explanation(folder: Path, found: Explanation, neighbours: list[Neighbour]) -> list[Path]:
    """Write a figure, the sound with and without the marked tenth, a JSON file and the arrays; return the paths."""
    plane, rate = found.plane, found.plane.sample_rate
    files = [folder / name for name in FILES]
    levels = plane.levels(torch.from_numpy(found.samples)).numpy()
    title = (
        f"{found.class_name}: probability {found.probability:.3f}, without the marked tenth "
        f"{found.probability_without:.3f} ({found.method})"
    )
    seconds = plane.num_samples / rate
    figure = draw_relevance(levels, found.relevance, found.marked, plane.edges.numpy(), seconds, title)
    write_bytes(files[0], png(figure))
    for file, samples in zip(files[1:3], (found.of_marked, found.without)):
        soundfile.write(file, samples.clip(-1, 1), rate, subtype="PCM_16")
    write_json(
        files[3],
        {
            "class": found.class_name,
            "method": found.method,
            "start_seconds": round(found.start_seconds, 3),
            "end_seconds": round(found.stop_seconds, 3),
            "probability": found.probability,
            "probability_without_marked": found.probability_without,
            "probability_of_marked": found.probability_of_marked,
            "nearest_training_clips": [vars(neighbour) for neighbour in neighbours],
        },
    )
    arrays = io.BytesIO()
    np.savez_compressed(
        arrays,
        relevance=found.relevance,
        marked=found.marked,
        band_edges_hz=plane.edges.numpy(),
        frame_seconds=np.array(plane.hop_length / rate),
    )
    write_bytes(files[4], arrays.getvalue())
    return files


def _index(classifier: Classifier, class_name: str | None) -> int | None:
    classes = classifier.task.classes
    if class_name is None:
        return None
    if class_name not in classes:
        raise ConfigError(
            f"--class {class_name}: the classifier has no such class"
            + did_you_mean(class_name, classes, listing="classes")
        )
    return classes.index(class_name)


def _relevance(
    classifier: Classifier,
    plane: TimeFrequencyPlane,
    waveform: Float[Tensor, "samples"],
    class_index: int,
    method: Method | None,
) -> tuple[Float[Tensor, "bands frames"], Method]:
    if method != "occlusion":
        try:
            return grad_cam(classifier, plane, waveform, class_index), "gradcam"
        except NotConvolutional:
            if method == "gradcam":
                raise
    return occlusion(classifier, plane, waveform, class_index), "occlusion"


def _blocks(frames: int) -> Iterator[tuple[slice, slice]]:
    """Yield overlapping blocks that cover the first frames of the plane."""
    length = max(2, math.ceil(frames / BLOCKS_IN_TIME))
    for low in range(0, BANDS - BLOCK_BANDS + 1, BLOCK_BANDS // 2):
        for start in range(0, max(1, frames - length // 2), length // 2):
            yield slice(low, low + BLOCK_BANDS), slice(start, min(frames, start + length))
