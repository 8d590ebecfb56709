"""Normalization of features to a scale that networks learn from easily, one class per mode."""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from audio_lightning.core.checks import require_positive
from audio_lightning.core.errors import ConfigError

NormalizeMode = Literal["none", "clip", "minmax", "statistics"] | tuple[float, float]
"""Name of a mode, or the mean and the standard deviation to normalize by."""


class Normalization(nn.Module):
    """Mode ``none``: identity. Base class of the other modes.

    Attributes:
        needs_statistics: whether :meth:`fit` must run on training data first.
        leaves_padding_out: whether :meth:`forward` has a second argument, a mask of the frames that are not padding.
    """

    needs_statistics: ClassVar[bool] = False
    leaves_padding_out: ClassVar[bool] = False

    @property
    def is_fitted(self) -> bool:
        """Whether :meth:`forward` is ready to use."""
        return True

    def fit(self, features: Iterable[Float[Tensor, "batch ..."]]) -> None:
        """Compute statistics from batches of raw training features; modes without statistics read nothing."""

    def forward(self, features: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Normalize features; the shape stays the same."""
        return features


class ClipNormalization(Normalization):
    """Mode ``clip``: every channel of a clip has mean 0 and standard deviation 1 over all its values.

    Padding is ignored and becomes 0, as in the feature extractor of wav2vec 2.0 (``Wav2Vec2FeatureExtractor`` of
    transformers). So the scale of a sound does not depend on the amount of silence that fills up its clip. A constant
    clip (digital silence) becomes zeros.
    """

    leaves_padding_out = True

    def forward(
        self, features: Float[Tensor, "batch ... time"], sound: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch ... time"]:
        """Normalize features; the shape stays the same. ``sound`` is False for frames of padding."""
        dims, counts = _within_channels(features), _counting(features, sound)
        number = counts.expand_as(features[:, :1]).sum(dims, keepdim=True)
        mean = (features * counts).sum(dims, keepdim=True) / number
        centred = (features - mean) * counts
        std = (centred.square().sum(dims, keepdim=True) / number).sqrt()
        # This minimum lies above the rounding error of a constant clip and below half a step of 16-bit audio.
        return centred / torch.maximum(std, 1e-5 * (1 + mean.abs()))


class MinMaxNormalization(Normalization):
    """Mode ``minmax``: the values of every channel of a clip range from 0 to 1; a constant clip becomes zeros.

    Padding is ignored and becomes 0, see :class:`ClipNormalization`.
    """

    leaves_padding_out = True

    def forward(
        self, features: Float[Tensor, "batch ... time"], sound: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch ... time"]:
        """Normalize features; the shape stays the same. ``sound`` is False for frames of padding."""
        dims, counts = _within_channels(features), _counting(features, sound)
        lowest = torch.where(counts > 0, features, torch.inf).amin(dims, keepdim=True)
        highest = torch.where(counts > 0, features, -torch.inf).amax(dims, keepdim=True)
        span = highest - lowest
        return (features - lowest) / torch.where(span > 0, span, 1.0) * counts


class FixedNormalization(Normalization):
    """Mode ``[mean, std]``: all values minus a given mean, divided by a given standard deviation.

    Pretrained networks expect the values that they were trained with.

    Args:
        mean: value to subtract.
        std: value to divide by afterwards.

    Raises:
        ConfigError: ``std`` is not positive.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        require_positive("std in normalize=[mean, std]", std)
        self.mean, self.std = mean, std

    def forward(self, features: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Normalize features; the shape stays the same."""
        return (features - self.mean) / self.std


class StatisticsNormalization(Normalization):
    """Mode ``statistics``: every bin has mean 0 and standard deviation 1 over the clips and frames of the training set.

    The last dimension is time; each element of the dimensions between batch and time (channels, bins) has its own
    statistics. The buffers ``mean`` and ``std`` are empty until they are computed or loaded, which sets their sizes.
    """

    needs_statistics = True
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("std", torch.empty(0))

    @property
    def is_fitted(self) -> bool:
        """Whether the statistics are computed or loaded."""
        return self.mean.numel() > 0

    @torch.no_grad()
    def fit(self, features: Iterable[Float[Tensor, "batch ... time"]]) -> None:
        """Compute mean and standard deviation, merging the batches in float64 (Chan, Golub & LeVeque 1983).

        Raises:
            ValueError: there are no batches.
        """
        count, mean, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for batch in features:
            # The moments of one batch may be float32, for devices without float64 (MPS); only the merging is sensitive.
            moments = torch.var_mean(batch, dim=(0, -1), correction=0, keepdim=True)
            batch_variance, batch_mean = (moment[0].double().cpu() for moment in moments)
            batch_count = batch.shape[0] * batch.shape[-1]
            total = count + batch_count
            shift = batch_mean - mean
            mean = mean + shift * (batch_count / total)
            squares = squares + batch_variance * batch_count + shift.square() * (count * batch_count / total)
            count = total
        if count == 0:
            raise ValueError(
                "no training features to compute statistics from, the iterable of batches is empty; pass one or more"
            )
        self.mean, self.std = (
            value.to(self.mean.device, torch.float32) for value in (mean, _usable(squares / count, mean))
        )

    def forward(self, features: Float[Tensor, "batch ... time"]) -> Float[Tensor, "batch ... time"]:
        """Normalize features; the shape stays the same.

        Raises:
            RuntimeError: the statistics are neither computed nor loaded.
        """
        if not self.is_fitted:
            raise RuntimeError(
                'normalize="statistics" has no statistics yet; call the front end\'s fit() with training '
                "waveforms first, or load a state_dict that holds them"
            )
        return (features - self.mean) / self.std

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in ("mean", "std"):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(stored, device=self.mean.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


MODES: dict[str, type[Normalization]] = {
    "none": Normalization,
    "clip": ClipNormalization,
    "minmax": MinMaxNormalization,
    "statistics": StatisticsNormalization,
}


def make_normalization(mode: NormalizeMode) -> Normalization:
    """Build the normalization for the name of a mode, or for a mean and a standard deviation.

    Raises:
        ConfigError: there is no such mode, or the numbers are not a mean and a standard deviation.
    """
    if isinstance(mode, str) and mode in MODES:
        return MODES[mode]()
    if isinstance(mode, (list, tuple)) and len(mode) == 2:
        return FixedNormalization(*mode)
    raise ConfigError(f"normalize is {mode!r}, expected one of: {', '.join(MODES)}, [mean, std] (two numbers)")


def _within_channels(features: Float[Tensor, "batch channels ..."]) -> tuple[int, ...]:
    """Return the dimensions after the channels; channels are normalized separately, because their units may differ."""
    return tuple(range(2, features.ndim))


def _counting(
    features: Float[Tensor, "batch channels ... time"], sound: Bool[Tensor, "batch time"] | None
) -> Float[Tensor, "..."]:
    """Weights that broadcast over the features: 1 for sound, 0 for padding; a single 1 if there is no mask."""
    if sound is None:
        return features.new_ones(())
    return sound.to(features.dtype).reshape(sound.shape[0], *[1] * (features.ndim - 2), sound.shape[1])


def _usable(variance: Float[Tensor, "..."], mean: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Standard deviation to divide by: for constant bins (up to rounding errors), the largest one of all bins.

    Divided by (almost) zero, the first sound in a bin that was silent throughout training would exceed all other
    values.
    """
    std = variance.sqrt()
    largest = std.amax()
    rounding = torch.maximum(1e-6 * mean.abs(), 1e-8 * largest)
    std = torch.where(std > rounding, std, largest)
    return torch.where(std > 0, std, 1.0)
