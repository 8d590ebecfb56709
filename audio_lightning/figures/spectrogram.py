"""Log-mel spectrogram of a recording with axes in seconds and Hz."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from audio_lightning.features.filters import MelSettings
from audio_lightning.features.log_mel import LogMel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEL_BANDS, COLUMNS, DECIBELS = 96, 600, 80.0
"""Number of mel bands, approximate number of frames, and dynamic range in dB below the maximum."""

TICKS = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000)
"""Frequencies of the tick labels in Hz."""


def draw_spectrogram(samples: Float[np.ndarray, "samples"], sample_rate: int, *, width: float = 9.0) -> "Figure":
    """Draw a log-mel spectrogram over seconds and Hz.

    Args:
        samples: waveform within [-1, 1].
        sample_rate: sample rate in Hz.
        width: width of the figure in inches.
    """
    from matplotlib.figure import Figure

    hop = max(1, len(samples) // COLUMNS)
    mel = MelSettings(hop_seconds=hop / sample_rate)
    front_end = LogMel(
        sample_rate=sample_rate,
        num_samples=len(samples),
        n_mels=MEL_BANDS,
        mel=mel,
        top_db=DECIBELS,
        normalize="none",
    )
    decibels = front_end(torch.from_numpy(np.array(samples, dtype=np.float32))[None])[0, 0].numpy()
    figure = Figure(figsize=(width, 3.0), layout="constrained")
    axes = figure.add_subplot()
    seconds = len(samples) / sample_rate
    axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=float(decibels.max()) - DECIBELS,
        extent=(0.0, seconds, 0.0, MEL_BANDS),
    )
    top = sample_rate / 2
    ticks = [0.0, *(hertz for hertz in TICKS if hertz <= top)]
    axes.set_yticks([MEL_BANDS * _mel(hertz) / _mel(top) for hertz in ticks], [f"{hertz:,.0f}" for hertz in ticks])
    axes.set_xlabel("seconds")
    axes.set_ylabel("Hz")
    return figure


def _mel(hertz: float) -> float:
    """Mel scale of O'Shaughnessy (1987), as in the front end."""
    return 2595 * math.log10(1 + hertz / 700)
