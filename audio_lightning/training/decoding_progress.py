"""Progress display while recordings are decoded."""

import contextlib
from collections.abc import Iterator

from audio_lightning.core.messages import print_and_log
from audio_lightning.core.progress import progress_shown
from audio_lightning.data.datamodule import AudioDataModule


@contextlib.contextmanager
def decoding_shown(datamodule: AudioDataModule, what: str = "preparing recordings") -> Iterator[None]:
    """Show the progress of decoding: a bar on a terminal, otherwise occasional lines; nothing if all is cached.

    Messages about name patterns of the recordings are printed before it.
    """
    datamodule.say = print_and_log
    with progress_shown(what) as datamodule.progress:
        yield
