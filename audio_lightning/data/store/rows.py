"""Files of cached rows: measurements of recordings, embeddings of clips."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from audio_lightning.core.files import write_bytes


def read_rows(file: Path, kind: np.dtype) -> Shaped[np.ndarray, "rows"]:
    """Read the rows of a file; none if it is missing, damaged or of another type."""
    try:
        with file.open("rb") as stored:
            known = np.load(stored, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return np.empty(0, kind)
    return known if known.dtype == kind and known.ndim == 1 else np.empty(0, kind)


def write_rows(file: Path, rows: Shaped[np.ndarray, "rows"]) -> None:
    """Write a file atomically, so that no process reads a part of it.

    Raises:
        OSError: the file cannot be written.
    """
    content = io.BytesIO()
    np.save(content, rows)
    write_bytes(file, content.getvalue())
