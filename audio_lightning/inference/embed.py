"""Embeddings of recordings, window by window: the inputs of a classifier's head."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from audio_lightning.classifier.base import Classifier
from audio_lightning.inference.windows import Part, batches, merged, not_finite, stacked


@dataclass(frozen=True)
class Embedding:
    """The embedding of one window of a recording, or an error.

    Attributes:
        path: the recording.
        start_seconds: start of the window in the recording.
        stop_seconds: end of the window.
        vector: input of the head.
        error: reason why the recording cannot be read; the other values are then None.
    """

    path: Path
    start_seconds: float | None = None
    stop_seconds: float | None = None
    vector: Float[np.ndarray, "embedding"] | None = None
    error: str | None = None


def embed(classifier: Classifier, recordings: Iterable[Path], **options: Any) -> Iterator[Embedding]:
    """Compute the embeddings of every recording, in order.

    Args:
        classifier: in evaluation mode.
        recordings: files; an unreadable one yields an error and does not stop the others.
        **options: window, hop and batch size, see :func:`audio_lightning.inference.windows.batches`.

    Raises:
        ConfigError: an invalid window or hop.
    """
    return _of_windows(classifier, batches(classifier, recordings, **options))


def _of_windows(classifier: Classifier, batched: Iterable[list[Part]]) -> Iterator[Embedding]:
    for parts in batched:
        vectors = iter(_vectors(classifier, parts))
        for part in parts:
            vector = None if part.samples is None else next(vectors)
            error = part.error if vector is None else not_finite(part, vector, "embedding")
            if error is not None:
                yield Embedding(part.path, error=error)
            else:
                yield Embedding(part.path, part.start_seconds, part.stop_seconds, vector)


@torch.inference_mode()
def _vectors(classifier: Classifier, parts: list[Part]) -> Float[np.ndarray, "vectors embedding"]:
    """Embed the readable windows; embeddings of several channels are averaged."""
    waveforms = stacked(parts)
    if waveforms is None:
        return np.empty((0, classifier.embedding_dim), np.float32)
    return merged(parts, classifier.embed(waveforms.to(classifier.device)).cpu()).numpy()
