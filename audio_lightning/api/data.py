"""Access to the data of a training: manifest, splits and features."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_lightning.api.training import PathLike, compose

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from audio_lightning.data.datamodule import AudioDataModule


def read_data(*overrides: str, config_dir: PathLike | None = None) -> "AudioDataModule":
    """Read labelled recordings, split them and check the splits for leakage, as a training does.

    Args:
        *overrides: such as ``"data=folder"`` and ``"data.root=DIR"``.
        config_dir: see :func:`compose`.

    Returns:
        A LightningDataModule after its setup; ``manifest.table`` has one row per clip.

    Raises:
        ConfigError: an invalid override.
        DataError: recordings that cannot be used.

    Example:
        >>> import audio_lightning as al
        >>> data = al.read_data("data=folder", "data.root=recordings")  # doctest: +SKIP
        >>> data.manifest.table.groupby(["split", "label"]).size()  # doctest: +SKIP
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
    """Compute the feature of a whole recording, before normalization.

    Args:
        recording: the file; it is resampled to ``data.sample_rate``.
        *overrides: such as ``"feature=mfcc"``.
        config_dir: see :func:`compose`.

    Returns:
        Features ``[channels, bins, frames]``; a waveform has ``[channels, samples]``.

    Raises:
        AudioError: a recording that cannot be read.
        ConfigError: an invalid override.

    Example:
        >>> import tempfile
        >>> import numpy, soundfile
        >>> import audio_lightning as al
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     soundfile.write(f"{folder}/street.wav", numpy.zeros(16000), 16000)
        ...     features = al.compute_features(f"{folder}/street.wav", "data=demo", "feature=mfcc", "feature.n_mfcc=20")
        >>> features.shape[:2]
        (1, 20)
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
    pieces = windows(Path(recording).expanduser(), rate, **options)
    waveform = torch.from_numpy(np.concatenate([piece.samples for piece in pieces]))
    with user_extensions(overrides, config_dir), torch.no_grad():
        front_end = build_front_end(as_plain(config), AudioTask(("a", "b"), rate, clip, datamodule.padding))
        return front_end.compute(waveform[None])[0].numpy()
