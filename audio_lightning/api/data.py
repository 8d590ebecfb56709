"""Recordings as a training gets them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_lightning.api.training import PathLike, compose

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from audio_lightning.data.datamodule import AudioDataModule


def read_data(*overrides: str, config_dir: PathLike | None = None) -> "AudioDataModule":
    """Labelled recordings, read, divided and checked for leaks, as a training gets them.

    Args:
        *overrides: such as ``"data=folder"`` and ``"data.root=DIR"``.
        config_dir: see :func:`audio_lightning.api.training.compose`.

    Returns:
        A LightningDataModule; ``manifest.table`` has one row a clip.

    Raises:
        ConfigError: a mistake in what was asked for.
        DataError: recordings that cannot be used.
    """
    from audio_lightning.config import user_extensions
    from audio_lightning.training.setup import settled_data

    config = compose(*overrides, config_dir=config_dir)
    with user_extensions(overrides, config_dir):
        datamodule = settled_data(config)
        datamodule.setup()
    return datamodule


def compute_features(
    recording: PathLike, *overrides: str, config_dir: PathLike | None = None
) -> 'Float[np.ndarray, "channels ..."]':
    """The features of a whole recording, before they are normalized: ``[channels, bins, frames]``.

    Args:
        recording: the file; it is resampled to ``data.sample_rate``.
        *overrides: such as ``"feature=mfcc"``.
        config_dir: see :func:`audio_lightning.api.training.compose`.

    Raises:
        AudioError: a recording that cannot be read.
        ConfigError: a mistake in what was asked for.
    """
    import numpy as np
    import torch

    from audio_lightning.audio import windows
    from audio_lightning.classifier.factory import build_front_end
    from audio_lightning.config import as_plain, user_extensions
    from audio_lightning.core.task import AudioTask
    from audio_lightning.training.setup import settled_data

    config = compose(*overrides, config_dir=config_dir)
    with user_extensions(overrides, config_dir):
        datamodule = settled_data(config)
    rate, clip = datamodule.sample_rate, datamodule.num_samples
    channel = "mean" if config.data.channel == "each" else config.data.channel
    options: dict[str, Any] = {"window_samples": clip, "hop_samples": clip, "tail_samples": 1, "channel": channel}
    parts = windows(Path(recording).expanduser(), rate, **options)
    waveform = torch.from_numpy(np.concatenate([part.samples for part in parts]))
    with user_extensions(overrides, config_dir), torch.no_grad():
        front_end = build_front_end(as_plain(config), AudioTask(("a", "b"), rate, clip, datamodule.padding))
        return front_end.compute(waveform[None])[0].numpy()
