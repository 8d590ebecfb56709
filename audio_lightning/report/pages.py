"""What the pages have in common: one file that asks for nothing from anywhere, with pictures and sound inside it."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from audio_lightning import __version__
from audio_lightning.core.files import write_text
from audio_lightning.figures.colours import shade, text_on

COLUMNS, HEIGHT = 240, 100
"""Size of a waveform's picture in its own units, and about the number of frames in a spectrogram."""

MEL_BANDS, DECIBELS = 64, 80.0
FAINTEST_PEAK = -20.0
"""Decibels of the loudest mel band up to which a clip is drawn as if it were this loud, so that silence stays dark."""


def write_page(file: Path, template: str, **values: Any) -> None:
    """Render a template of this folder and write it as a whole.

    Everything in ``values`` is escaped, unless it says that it is markup.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": lambda value: f"{value:,}", "zip": zip, "heat": heat, "duration": duration}
    html = environment.get_template(template).render(version=__version__, **values)
    # Names of files that are not text cannot be written in UTF-8.
    write_text(file, html.encode("utf-8", "backslashreplace").decode("utf-8"))


def heat(share: float) -> str:
    """The style of a cell of a heat map, and of the text in it, for a share from 0 to 1."""
    background = shade(share)
    return f"background: #{''.join(f'{round(255 * value):02x}' for value in background)}; color: {text_on(background)}"


def duration(seconds: float) -> str:
    """Seconds in hours, minutes or seconds, whichever is readable."""
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:,.1f} h" if hours >= 1 else f"{minutes:,.1f} min" if minutes >= 1 else f"{seconds:,.0f} s"


def waveform(samples: Float[np.ndarray, "samples"]) -> str:
    """The outline of a waveform within [-1, 1], as the path of an SVG."""
    columns = min(COLUMNS, len(samples))
    starts: Int64[np.ndarray, "columns"] = np.arange(columns) * len(samples) // columns
    x = np.rint(np.linspace(0, COLUMNS, columns + 1)).astype(int)[:-1]
    half = HEIGHT / 2
    upper = np.rint(half - (half - 1) * np.maximum.reduceat(samples, starts)).astype(int)
    lower = np.rint(half - (half - 1) * np.minimum.reduceat(samples, starts)).astype(int) + 1
    points = [*zip(x, upper), (COLUMNS, upper[-1]), (COLUMNS, lower[-1]), *zip(x[::-1], lower[::-1])]
    return "M" + "L".join(f"{across} {down}" for across, down in points) + "Z"


def log_mel(samples: Float[np.ndarray, "samples"], sample_rate: int) -> bytes:
    """The log-mel spectrogram as a PNG with a palette, low frequencies at the bottom."""
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
    """Sound in 16 bits without loss; every browser plays it."""
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, samples.clip(-1, 1), sample_rate, format="FLAC", subtype="PCM_16")
    return content.getvalue()


def as_base64(content: bytes) -> str:
    """Bytes as they stand in a data URI."""
    return base64.b64encode(content).decode("ascii")
