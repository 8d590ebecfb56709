"""A web page on this machine where a classifier can be tried on uploaded and recorded sounds."""

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
"""Of the picture; the answers are of the whole recording."""

MOST_BYTES = "200mb"
"""Of an upload."""

MOST_CLASSES = 8
"""Classes with a bar, the most probable ones."""

MOST_ROWS = 500
"""Windows in the table."""

NARROW = 320
"""Least width of a column in pixels."""

SECONDS_KEPT = 3600
"""How long uploads stay on the disk."""

FONTS = ["system-ui", "Helvetica", "Arial", "sans-serif"]
"""Of this machine: the page asks for nothing from anywhere."""

Answer = tuple[dict[str, float] | None, "Figure | None", list[list[str]]]
"""Probabilities by class, the spectrogram, and a row for each window."""


def require_gradio() -> None:
    """Refuse to start without the library of the page.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("gradio") is None:
        raise ConfigError("the demo needs a package that is not installed: pip install 'audio-lightning[demo]'")


def answer(classifier: Classifier, file: str | None) -> Answer:
    """What the page shows of a sound; nothing where there is none.

    Args:
        classifier: in evaluation mode.
        file: a recording of any length, rate and number of channels.

    Raises:
        AudioError: it cannot be read.
    """
    if file is None:
        return None, None, []
    path = Path(file)
    found = list(predict(classifier, [path]))
    for window in found:
        if window.error is not None:
            raise AudioError(window.error.replace(str(path), path.name))
    shares = np.mean([window.probabilities for window in found if window.probabilities is not None], axis=0)
    rows = [_row(window) for window in found[:MOST_ROWS]]
    return dict(zip(classifier.task.classes, shares.tolist())), _picture(classifier, path), rows


def make_page(classifier: Classifier) -> Any:
    """The page, a ``gradio.Blocks`` that is not served yet.

    Raises:
        ConfigError: gradio is not installed.
    """
    require_gradio()
    gradio: Any = import_module("gradio")
    task = classifier.task

    def answered(file: str | None) -> Answer:
        try:
            return answer(classifier, file)
        except AudioError as error:
            raise gradio.Error(str(error), print_exception=False) from error

    labels = "any number" if task.multilabel else "one"
    about = f"{task.num_classes} classes, {labels} for each clip of {task.clip_seconds:g} s at {task.sample_rate:,} Hz."
    with gradio.Blocks(
        title="audio-lightning", analytics_enabled=False, delete_cache=(SECONDS_KEPT, SECONDS_KEPT)
    ) as page:
        gradio.Markdown(
            f"# Which sound is it?\n\n{about} Longer recordings are answered window by window; "
            f"the spectrogram shows the first {MOST_SECONDS} s."
        )
        with gradio.Row():  # one below the other in a narrow window
            with gradio.Column(min_width=NARROW):
                # Without a button that shares the sound elsewhere.
                sound = gradio.Audio(
                    sources=["upload", "microphone"], type="filepath", label="Sound", buttons=["download"]
                )
            with gradio.Column(min_width=NARROW):
                shares = gradio.Label(label="Probability, mean of all windows", num_top_classes=MOST_CLASSES)
        picture = gradio.Plot(show_label=False)
        rows = gradio.Dataframe(
            headers=["start (s)", "end (s)", "predicted", "probability"],
            label=f"Windows, up to {MOST_ROWS}",
            interactive=False,
        )
        sound.change(answered, sound, [shares, picture, rows])
    return page


def serve(classifier: Classifier, *, host: str = "127.0.0.1", port: int = 7860, browser: bool = True) -> None:
    """Serve the page until Ctrl-C.

    Args:
        classifier: in evaluation mode.
        host: address to listen on; the default is reached from this machine alone.
        port: of the page; 0: a free one.
        browser: open the page.

    Raises:
        ConfigError: gradio is not installed, or the port cannot be had.
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
        raise ConfigError(f"--host {host} --port {port} cannot be used ({reason}); choose another --port") from error
    print(f"the page is at {url}; Ctrl-C ends it", flush=True)
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
