"""How raw features are brought to a scale that networks learn from easily; one class a mode."""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from audio_lightning.core.checks import require_positive
from audio_lightning.core.errors import ConfigError

NormalizeMode = Literal["none", "clip", "minmax", "statistics"] | tuple[float, float]
"""The name of a mode, or the mean and the standard deviation to normalize by."""


class Normalization(nn.Module):
    """Mode ``none``: features stay as they are. The other modes override what they do differently."""

    needs_statistics: ClassVar[bool] = False
    leaves_padding_out: ClassVar[bool] = False

    @property
    def is_fitted(self) -> bool:
        """Whether :meth:`forward` has all that it needs."""
        return True

    def fit(self, features: Iterable[Float[Tensor, "batch ..."]]) -> None:
        """Learn from batches of raw training features what the mode needs to know."""

    def forward(self, features: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Normalized features of the same shape."""
        return features


class ClipNormalization(Normalization):
    """Mode ``clip``: every clip has mean 0 and standard deviation 1 over all values, of each channel.

    Padding is left out and becomes 0, as in the feature extractor of wav2vec 2.0 (``Wav2Vec2FeatureExtractor`` of
    transformers): a sound is scaled alike, however much silence fills up its clip. A clip without any variation
    (digital silence) becomes zeros.
    """

    leaves_padding_out = True

    def forward(
        self, features: Float[Tensor, "batch ... time"], sound: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch ... time"]:
        """Normalized features of the same shape; ``sound`` is False for frames of padding."""
        dims, counts = _within_channels(features), _counting(features, sound)
        number = counts.expand_as(features[:, :1]).sum(dims, keepdim=True)
        mean = (features * counts).sum(dims, keepdim=True) / number
        centred = (features - mean) * counts
        std = (centred.square().sum(dims, keepdim=True) / number).sqrt()
        # The floor lies above the rounding error of a constant clip and below half a step of 16-bit audio.
        return centred / torch.maximum(std, 1e-5 * (1 + mean.abs()))


class MinMaxNormalization(Normalization):
    """Mode ``minmax``: the values of every clip reach from 0 to 1, in each channel; a constant clip becomes zeros.

    Padding is left out and becomes 0, see :class:`ClipNormalization`.
    """

    leaves_padding_out = True

    def forward(
        self, features: Float[Tensor, "batch ... time"], sound: Bool[Tensor, "batch time"] | None = None
    ) -> Float[Tensor, "batch ... time"]:
        """Normalized features of the same shape; ``sound`` is False for frames of padding."""
        dims, counts = _within_channels(features), _counting(features, sound)
        lowest = torch.where(counts > 0, features, torch.inf).amin(dims, keepdim=True)
        highest = torch.where(counts > 0, features, -torch.inf).amax(dims, keepdim=True)
        span = highest - lowest
        return (features - lowest) / torch.where(span > 0, span, 1.0) * counts


class FixedNormalization(Normalization):
    """Two numbers in place of a mode's name: one mean and one standard deviation for all values, known beforehand.

    Pretrained networks ask for the numbers that they were trained with.

    Args:
        mean: what is subtracted.
        std: what is divided by afterwards.

    Raises:
        ConfigError: ``std`` is not positive.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        require_positive("std in normalize=[mean, std]", std)
        self.mean, self.std = mean, std

    def forward(self, features: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Normalized features of the same shape."""
        return (features - self.mean) / self.std


class StatisticsNormalization(Normalization):
    """Mode ``statistics``: every bin has mean 0 and standard deviation 1 over the clips and frames of training.

    The last dimension is time; all those between batch and time (channels, bins) have numbers of their own. The
    buffers ``mean`` and ``std`` are empty until they are learned or loaded, and take their sizes from there.
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
        """Whether the statistics are there."""
        return self.mean.numel() > 0

    @torch.no_grad()
    def fit(self, features: Iterable[Float[Tensor, "batch ... time"]]) -> None:
        """Learn mean and standard deviation, merging the batches in float64 (Chan, Golub & LeVeque 1983)."""
        count, mean, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for batch in features:
            # A device without float64 (MPS) finds the numbers of one batch; only the merging is sensitive.
            moments = torch.var_mean(batch, dim=(0, -1), correction=0, keepdim=True)
            batch_variance, batch_mean = (moment[0].double().cpu() for moment in moments)
            batch_count = batch.shape[0] * batch.shape[-1]
            total = count + batch_count
            shift = batch_mean - mean
            mean = mean + shift * (batch_count / total)
            squares = squares + batch_variance * batch_count + shift.square() * (count * batch_count / total)
            count = total
        if count == 0:
            raise ValueError("no training features to learn statistics from: the iterable of batches is empty")
        self.mean, self.std = (
            value.to(self.mean.device, torch.float32) for value in (mean, _usable(squares / count, mean))
        )

    def forward(self, features: Float[Tensor, "batch ... time"]) -> Float[Tensor, "batch ... time"]:
        """Normalized features of the same shape.

        Raises:
            RuntimeError: the statistics are neither learned nor loaded.
        """
        if not self.is_fitted:
            raise RuntimeError(
                'normalize="statistics" has no statistics yet: call the front end\'s fit() with training '
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
    """The module behind the name of a mode, or behind two numbers.

    Raises:
        ConfigError: there is no such mode, or the numbers are not a mean and a standard deviation.
    """
    if isinstance(mode, str) and mode in MODES:
        return MODES[mode]()
    if isinstance(mode, (list, tuple)) and len(mode) == 2:
        return FixedNormalization(*mode)
    raise ConfigError(f"normalize is {mode!r}, expected one of: {', '.join(MODES)}, [mean, std] (two numbers)")


def _within_channels(features: Float[Tensor, "batch channels ..."]) -> tuple[int, ...]:
    """The dimensions behind the channels, which may differ in what they measure."""
    return tuple(range(2, features.ndim))


def _counting(
    features: Float[Tensor, "batch channels ... time"], sound: Bool[Tensor, "batch time"] | None
) -> Float[Tensor, "..."]:
    """1 for what counts and 0 for padding, of as many dimensions as the features; a single 1 where all counts."""
    if sound is None:
        return features.new_ones(())
    return sound.to(features.dtype).reshape(sound.shape[0], *[1] * (features.ndim - 2), sound.shape[1])


def _usable(variance: Float[Tensor, "..."], mean: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Standard deviation to divide by: the largest of all bins for those that only rounding errors moved.

    Divided by (almost) nothing, the first sound in a bin that was silent throughout training would dwarf all others.
    """
    std = variance.sqrt()
    largest = std.amax()
    rounding = torch.maximum(1e-6 * mean.abs(), 1e-8 * largest)
    std = torch.where(std > rounding, std, largest)
    return torch.where(std > 0, std, 1.0)
