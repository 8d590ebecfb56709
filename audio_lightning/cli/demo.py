"""``audio-lightning demo``: a page on this machine where a classifier can be tried."""

from typing import Annotated

import typer

from audio_lightning.cli.exit_codes import exits
from audio_lightning.cli.inference import Checkpoint, Device, Trust, find_existing


@exits
def demo_command(
    checkpoint: Checkpoint,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the page; 0: a free one.")] = 7860,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    device: Device = "cpu",
    trust: Trust = None,
) -> None:
    """Open a web page on this machine: upload or record a sound, see its spectrogram and the probabilities.

    Needs `pip install 'audio-lightning[demo]'`. Ctrl-C ends it.
    """
    path = find_existing(checkpoint)
    from audio_lightning.inference.demo import require_gradio, serve
    from audio_lightning.inference.load import load_classifier

    require_gradio()  # before seconds of imports
    serve(load_classifier(path, device, trust=trust), host=host, port=port, browser=browser)
