"""Files of rows that are found again on a machine: measurements of recordings, embeddings of clips."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from audio_lightning.core.files import write_bytes


def read_rows(file: Path, kind: np.dtype) -> Shaped[np.ndarray, "rows"]:
    """The rows of a file; none where there is no such file yet, or where it is damaged or of another kind."""
    try:
        with file.open("rb") as stored:
            known = np.load(stored, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return np.empty(0, kind)
    return known if known.dtype == kind and known.ndim == 1 else np.empty(0, kind)


def write_rows(file: Path, rows: Shaped[np.ndarray, "rows"]) -> None:
    """Put a file in place at once, so that nobody reads half of it.

    Raises:
        OSError: nothing can be written there.
    """
    content = io.BytesIO()
    np.save(content, rows)
    write_bytes(file, content.getvalue())
