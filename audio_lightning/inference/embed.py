"""Embeddings of recordings: what a classifier's head sees of each window."""

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
    """The embedding of one window of a recording, or why there is none.

    Attributes:
        path: the recording, as it was named or found.
        start_seconds: where the window begins.
        stop_seconds: where it ends.
        vector: what the head sees.
        error: what is wrong with the recording; then the other values are None.
    """

    path: Path
    start_seconds: float | None = None
    stop_seconds: float | None = None
    vector: Float[np.ndarray, "embedding"] | None = None
    error: str | None = None


def embed(classifier: Classifier, recordings: Iterable[Path], **options: Any) -> Iterator[Embedding]:
    """Embeddings of every recording, in order.

    Args:
        classifier: in evaluation mode.
        recordings: files; one that cannot be read gives an error and does not stop the others.
        **options: window, hop and batch size, see :func:`audio_lightning.inference.windows.batches`.

    Raises:
        ConfigError: a window or hop that cannot be used.
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
    """The embeddings of the parts that can be read, of several channels their mean."""
    waveforms = stacked(parts)
    if waveforms is None:
        return np.empty((0, classifier.embedding_dim), np.float32)
    return merged(parts, classifier.embed(waveforms.to(classifier.device)).cpu()).numpy()
