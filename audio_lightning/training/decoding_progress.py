"""What is shown while recordings are decoded."""

import contextlib
from collections.abc import Iterator

from audio_lightning.core.messages import print_and_log
from audio_lightning.core.progress import progress_shown
from audio_lightning.data.datamodule import AudioDataModule


@contextlib.contextmanager
def decoding_shown(datamodule: AudioDataModule, what: str = "preparing recordings") -> Iterator[None]:
    """A bar on a terminal, a line now and then elsewhere; nothing where everything is decoded already.

    What patterns find in the names of recordings comes before it.
    """
    datamodule.say = print_and_log
    with progress_shown(what) as datamodule.progress:
        yield
