"""Local web page (Gradio) to try a classifier on uploaded and recorded sounds."""

import socket
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from audio_lightning.audio import windows
from audio_lightning.classifier.base import Classifier
from audio_lightning.core.errors import AudioError, ConfigError
from audio_lightning.core.task import LABEL_SEPARATOR
from audio_lightning.inference.predict import Prediction, predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SECONDS = 60
"""Longest spectrogram in seconds; the prediction covers the whole recording."""

MOST_BYTES = "200mb"
"""Largest upload."""

MOST_CLASSES = 8
"""Maximum number of classes with a bar, the most probable ones."""

MOST_ROWS = 500
"""Largest number of windows in the table."""

NARROW = 320
"""Minimum width of a column in pixels."""

SECONDS_KEPT = 3600
"""Time after which uploads are deleted, in seconds."""

FONTS = ["system-ui", "Helvetica", "Arial", "sans-serif"]
"""Installed fonts: the page loads nothing from the internet."""

Answer = tuple[dict[str, float] | None, "Figure | None", list[list[str]]]
"""Probabilities by class, the spectrogram, and one row per window."""


def require_gradio() -> None:
    """Check that Gradio is installed.

    Raises:
        ConfigError: Gradio is not installed.
    """
    if find_spec("gradio") is None:
        raise ConfigError("demo: gradio is not installed; pip install 'audio-lightning[demo]'")


def predict_upload(classifier: Classifier, file: str | None) -> Answer:
    """Predict a recording and draw its spectrogram; return an empty result without a recording.

    Args:
        classifier: in evaluation mode.
        file: a recording of any length, sample rate and number of channels; None for no recording.

    Raises:
        AudioError: the recording cannot be read.
    """
    if file is None:
        return None, None, []
    path = Path(file)
    found = list(predict(classifier, [path]))
    for window in found:
        if window.error is not None:
            raise AudioError(window.error.replace(str(path), path.name))
    shares = np.average([window.probabilities for window in found], axis=0, weights=[one.duration for one in found])
    rows = [_row(window) for window in found[:MOST_ROWS]]
    return dict(zip(classifier.task.classes, shares.tolist())), _picture(classifier, path), rows


def make_page(classifier: Classifier) -> Any:
    """Build the page as ``gradio.Blocks``, without serving it.

    Raises:
        ConfigError: gradio is not installed.
    """
    require_gradio()
    gradio: Any = import_module("gradio")
    task = classifier.task

    def shown(file: str | None) -> Answer:
        try:
            return predict_upload(classifier, file)
        except AudioError as error:
            raise gradio.Error(str(error), print_exception=False) from error

    labels = "any number" if task.multilabel else "one"
    about = f"{task.num_classes} classes, {labels} for each clip of {task.clip_seconds:g} s at {task.sample_rate:,} Hz."
    with gradio.Blocks(
        title="audio-lightning", analytics_enabled=False, delete_cache=(SECONDS_KEPT, SECONDS_KEPT)
    ) as page:
        gradio.Markdown(
            f"# Which sound is it?\n\n{about} Longer recordings are classified window by window; "
            f"the spectrogram shows the first {MOST_SECONDS} s."
        )
        with gradio.Row():  # columns are stacked in a narrow window
            with gradio.Column(min_width=NARROW):
                # The default buttons include one that uploads the sound to another site.
                sound = gradio.Audio(
                    sources=["upload", "microphone"], type="filepath", label="Sound", buttons=["download"]
                )
            with gradio.Column(min_width=NARROW):
                shares = gradio.Label(label="Probability in the recording", num_top_classes=MOST_CLASSES)
        picture = gradio.Plot(show_label=False)
        rows = gradio.Dataframe(
            headers=["start (s)", "end (s)", "predicted", "probability"],
            label=f"Windows, up to {MOST_ROWS}",
            interactive=False,
        )
        sound.change(shown, sound, [shares, picture, rows])
    return page


def serve(classifier: Classifier, *, host: str = "127.0.0.1", port: int = 7860, browser: bool = True) -> None:
    """Serve the page until Ctrl-C.

    Args:
        classifier: in evaluation mode.
        host: address to bind; the default allows connections from this machine only.
        port: port of the page; 0 for any free port.
        browser: open the page in a browser.

    Raises:
        ConfigError: Gradio is not installed, or the port is not available.
    """
    page = make_page(classifier)
    gradio: Any = import_module("gradio")
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port or _free_port(host),
            inbrowser=browser,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MOST_BYTES,
            footer_links=[],
            theme=gradio.themes.Default(font=FONTS, font_mono=FONTS),
        )
    except OSError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"--host {host} --port {port}: not available ({reason}); choose another --port") from error
    print(f"the page is at {url}; stop it with Ctrl-C", flush=True)
    page.block_thread()


def _free_port(host: str) -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


def _row(window: Prediction) -> list[str]:
    shares = window.probabilities if window.probabilities is not None else np.zeros(1)
    predicted = LABEL_SEPARATOR.join(window.labels or []) or "none of the classes"
    return [f"{window.start_seconds:.2f}", f"{window.stop_seconds:.2f}", predicted, f"{float(shares.max()):.3f}"]


def _picture(classifier: Classifier, path: Path) -> "Figure":
    from audio_lightning.figures.spectrogram import draw_spectrogram

    rate = classifier.task.sample_rate
    most = MOST_SECONDS * rate
    first = next(windows(path, rate, window_samples=most, hop_samples=most))
    with torch.inference_mode():
        return draw_spectrogram(first.samples, rate)
