"""Relevance maps of the model of a fit, for the clips of its report."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from audio_lightning.audio import fit_length, resample
from audio_lightning.core.errors import FileError
from audio_lightning.core.files import shortened
from audio_lightning.figures.relevance import relevance_picture
from audio_lightning.inference.explain import explain
from audio_lightning.inference.load import load_classifier
from audio_lightning.report.mistakes import Explain
from audio_lightning.report.pages import as_base64


def relevance_of_model(file: Path, trust: str | Iterable[str] | None = None) -> Explain:
    """Return a function that computes relevance maps of clips.

    Args:
        file: checkpoint of the model.
        trust: modules of the user's own whose classes the model may name.

    Raises:
        CheckpointError: see :func:`audio_lightning.inference.load.load_classifier`.
    """
    classifier = load_classifier(file, trust=trust)
    task = classifier.task

    def explained(sound: Float[np.ndarray, "samples"], sample_rate: int, class_name: str) -> dict[str, Any]:
        if class_name not in task.classes:
            raise FileError(
                f"{file}: no class {shortened(class_name)}, which was predicted out of fold; run the fit again"
            )
        needed = math.ceil(task.clip_seconds * sample_rate) + 1
        samples = fit_length(resample(sound[:needed], sample_rate, task.sample_rate), task.num_samples, task.padding)
        found = explain(classifier, torch.from_numpy(samples), task.classes.index(class_name))
        levels = found.plane.levels(torch.from_numpy(samples)).numpy()
        frames = found.plane.sounding_frames(torch.from_numpy(samples))  # without the padding, as in the other picture
        return {
            "picture": as_base64(relevance_picture(levels[:, :frames], found.marked[:, :frames])),
            "class_name": class_name,
            "probability": found.probability,
            "probability_without": found.probability_without,
        }

    return explained
