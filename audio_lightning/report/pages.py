"""Shared parts of the HTML reports: templates, heat map colours, waveforms, spectrograms and embedded audio."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from markupsafe import Markup, escape

from audio_lightning import __version__
from audio_lightning.core.files import write_text
from audio_lightning.core.utf8 import as_utf8
from audio_lightning.figures.colours import shade, text_on

COLUMNS, HEIGHT = 240, 100
"""Size of a waveform picture in SVG units; the width is also the approximate number of frames of a spectrogram."""

MEL_BANDS, DECIBELS = 64, 80.0
"""Number of mel bands and dynamic range in dB of a spectrogram."""

FAINTEST_PEAK = -20.0
"""Lower bound of the top of a spectrogram's colour scale in dB; the top is the peak, and silence must stay dark."""


def write_page(file: Path, template: str, **values: Any) -> None:
    """Render a template of this folder and write the page atomically.

    Args:
        file: HTML file to write or replace.
        template: file name of the template.
        values: variables of the template, escaped unless they are ``Markup``.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": lambda value: f"{value:,}",
        "zip": zip,
        "heat": heat,
        "duration": duration,
        "breakable": breakable,
    }
    html = environment.get_template(template).render(version=__version__, **values)
    write_text(file, as_utf8(html))


def heat(share: float) -> str:
    """Return the CSS of a heat map cell and its text for a value from 0 to 1."""
    background = shade(share)
    return f"background: #{''.join(f'{round(255 * value):02x}' for value in background)}; color: {text_on(background)}"


def breakable(name: str) -> Markup:
    """Escape a name and allow line breaks after its underscores, dots, slashes and commas; browsers know hyphens."""
    return Markup("<wbr>").join(map(escape, re.split(r"(?<=[_./,=])(?=.)", name)))


def duration(seconds: float) -> str:
    """Format a duration in hours, minutes or seconds: the largest unit in which it is at least 1."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:,.1f} h" if hours >= 1 else f"{minutes:,.1f} min" if minutes >= 1 else f"{seconds:,.0f} s"


def waveform(samples: Float[np.ndarray, "samples"]) -> str:
    """Return the outline of a waveform within [-1, 1] as an SVG path."""
    columns = min(COLUMNS, len(samples))
    starts: Int64[np.ndarray, "columns"] = np.arange(columns) * len(samples) // columns
    x = np.rint(np.linspace(0, COLUMNS, columns + 1)).astype(int)[:-1]
    half = HEIGHT / 2
    upper = np.rint(half - (half - 1) * np.maximum.reduceat(samples, starts)).astype(int)
    lower = np.rint(half - (half - 1) * np.minimum.reduceat(samples, starts)).astype(int) + 1
    points = [*zip(x, upper), (COLUMNS, upper[-1]), (COLUMNS, lower[-1]), *zip(x[::-1], lower[::-1])]
    return "M" + "L".join(f"{across} {down}" for across, down in points) + "Z"


def log_mel(samples: Float[np.ndarray, "samples"], sample_rate: int) -> bytes:
    """Return the log-mel spectrogram as a PNG with a palette, low frequencies at the bottom."""
    import torch
    from matplotlib import colormaps
    from PIL import Image

    from audio_lightning.features.filters import MelSettings
    from audio_lightning.features.log_mel import LogMel

    front_end = LogMel(
        sample_rate=sample_rate,
        num_samples=len(samples),
        n_mels=MEL_BANDS,
        mel=MelSettings(hop_seconds=max(1, len(samples) // COLUMNS) / sample_rate),
        top_db=DECIBELS,
        normalize="none",
    )
    decibels = front_end(torch.from_numpy(np.array(samples, dtype=np.float32))[None])[0, 0].numpy()
    shares = 1 + (decibels[::-1] - max(decibels.max(), FAINTEST_PEAK)) / DECIBELS
    indices = np.rint(255 * shares.clip(0, 1)).astype(np.uint8)
    image = Image.frombytes("P", (indices.shape[1], indices.shape[0]), indices.tobytes())
    image.putpalette(colormaps["magma"](np.arange(256), bytes=True)[:, :3].tobytes())
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()


def flac(samples: Float[np.ndarray, "samples"], sample_rate: int) -> bytes:
    """Encode a waveform as a FLAC file of 16 bits."""
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, samples.clip(-1, 1), sample_rate, format="FLAC", subtype="PCM_16")
    return content.getvalue()


def as_base64(content: bytes) -> str:
    """Encode bytes in base64 for a data URI."""
    return base64.b64encode(content).decode("ascii")
