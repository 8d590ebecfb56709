"""``audio-lightning demo``: local web page to try a classifier."""

from typing import Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import Checkpoint, Device, Trust, find_existing


@exits
def demo_command(
    checkpoint: Checkpoint,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the page; 0: any free port.")] = 7860,
    host: Annotated[str, typer.Option(help="Address to bind; 0.0.0.0 gives other machines access.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    device: Device = "cpu",
    trust: Trust = None,
) -> None:
    r"""Serve a local web page: upload or record a sound, view its spectrogram and the class probabilities.

    It needs `pip install 'audio-lightning\[demo]'`. Stop it with Ctrl-C.
    """
    path = find_existing(checkpoint)
    from audio_lightning.inference.demo import require_gradio, serve
    from audio_lightning.inference.load import load_classifier

    require_gradio()  # fails before the classifier is loaded, which takes seconds
    serve(load_classifier(path, device, trust=trust), host=host, port=port, browser=browser)
