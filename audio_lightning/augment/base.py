"""Base classes of augmentations: modules that change some clips of a batch in training, and none in evaluation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from audio_lightning.core.checks import require_choice
from audio_lightning.core.errors import ConfigError

# Maximum number of values that a CPU processes at once, so that intermediate results stay in its caches: about twice
# as fast as a whole batch of four-second clips at once.
VALUES_AT_ONCE = 2**17

Domain = Literal["waveform", "features"]


class _Random(nn.Module):
    """Base of all augmentations: the random choice of the clips to change.

    All random numbers come from PyTorch's global generators, so that a seed reproduces a batch. There are no
    parameters, and nothing is stored in a checkpoint.

    Args:
        sample_rate: sample rate of the waveforms in hertz.
        p: probability that a clip is changed.

    Raises:
        ConfigError: ``p`` is not a probability.
    """

    def __init__(self, *, sample_rate: int, p: float) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ConfigError(f"p is {p}, expected a probability from 0 to 1")
        self.sample_rate = sample_rate
        self.p = p

    def extra_repr(self) -> str:
        """Show the probability in the module's representation."""
        return f"p={self.p}"

    def _drawn(self, clips: int, device: torch.device) -> Int64[Tensor, "drawn"]:
        # Drawn on the CPU: reading a result from the GPU would wait for all work queued there.
        return torch.nonzero(torch.rand(clips) < self.p).flatten().to(device)


class _ClipAugmentation(_Random, ABC):
    """Changes each clip on its own; subclasses implement :meth:`augment`."""

    @abstractmethod
    def augment(self, x: Float[Tensor, "drawn ..."]) -> Float[Tensor, "drawn ..."]:
        """Return changed copies of all given float32 clips; ``x`` itself must not be modified."""

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """Change some clips of a batch; in evaluation mode, return the batch itself."""
        if not self.training or self.p == 0:
            return x
        drawn = self._drawn(len(x), x.device)
        if len(drawn) == 0:
            return x
        # Half precision is too coarse for samples, and Fourier transforms do not support it.
        with torch.autocast(x.device.type, enabled=False):
            changed = in_pieces(self.augment, (x if len(drawn) == len(x) else x[drawn]).float()).to(x.dtype)
        return changed if len(drawn) == len(x) else x.index_copy(0, drawn, changed)


class WaveformAugmentation(_ClipAugmentation):
    """Augmentation of waveforms ``[B, T]``, which keeps their shape; subclasses implement :meth:`augment`.

    Args:
        sample_rate: sample rate of the waveforms in hertz.
        p: probability that a clip is changed.

    Raises:
        ConfigError: ``p`` is not a probability.

    Example:
        >>> import torch
        >>> from audio_lightning.augment import WaveformAugmentation
        >>> class Reverse(WaveformAugmentation):
        ...     def augment(self, x):
        ...         return x.flip(1)
        >>> reverse = Reverse(sample_rate=16000, p=1.0)
        >>> reverse(torch.tensor([[0.1, 0.2, 0.3]]))
        tensor([[0.3000, 0.2000, 0.1000]])
        >>> reverse.eval()(torch.tensor([[0.1, 0.2, 0.3]]))
        tensor([[0.1000, 0.2000, 0.3000]])
    """

    @abstractmethod
    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Return changed copies of all given waveforms."""


class SpectrogramAugmentation(_ClipAugmentation):
    """Augmentation of spectrograms ``[B, C, F, N]``, which keeps their shape; subclasses implement :meth:`augment`.

    Args:
        sample_rate: sample rate of the waveforms in hertz.
        p: probability that a clip is changed.

    Raises:
        ConfigError: ``p`` is not a probability.
    """

    @abstractmethod
    def augment(self, x: Float[Tensor, "drawn channels bins frames"]) -> Float[Tensor, "drawn channels bins frames"]:
        """Return changed copies of all given features."""


class PairAugmentation(_Random, ABC):
    """Augmentation that mixes clips of a batch in pairs, with their targets; subclasses implement :meth:`mix`.

    Targets are rows of probabilities, one for each class: one-hot, multi-hot or already mixed. A mixed target is the
    weighted mean of two rows, so its sum lies between their sums, and its values stay between 0 and 1.

    Args:
        domain: what is mixed, ``waveform`` or ``features``.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability that a clip is mixed with another.

    Raises:
        ConfigError: ``p`` is not a probability, or ``domain`` is invalid.
    """

    def __init__(self, *, sample_rate: int, p: float, domain: Domain) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        require_choice("domain", domain, ("waveform", "features"))
        self.domain = domain

    @abstractmethod
    def mix(
        self, x: Float[Tensor, "drawn ..."], other: Float[Tensor, "drawn ..."]
    ) -> tuple[Float[Tensor, "drawn ..."], Float[Tensor, "drawn"]]:
        """Mix float32 clips with others; return them, and the weight (0 to 1) of the target of each clip of ``x``."""

    def forward(
        self, x: Float[Tensor, "batch ..."], target: Float[Tensor, "batch classes"]
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch classes"]]:
        """Mix some clips of a batch; in evaluation mode, or for a single clip, return the batch itself."""
        if not self.training or self.p == 0 or len(x) < 2:
            return x, target
        drawn = self._drawn(len(x), x.device)
        if len(drawn) == 0:
            return x, target
        partner = _partners(len(x)).to(x.device)[drawn]
        with torch.autocast(x.device.type, enabled=False):
            mixed, share = self.mix(x[drawn].float(), x[partner].float())
            weighted = torch.lerp(target[partner], target[drawn], share.to(target.dtype)[:, None])
        return x.index_copy(0, drawn, mixed.to(x.dtype)), target.index_copy(0, drawn, weighted)


def in_pieces(
    function: Callable[[Float[Tensor, "some ..."]], Float[Tensor, "some ..."]], x: Float[Tensor, "batch ..."]
) -> Float[Tensor, "batch ..."]:
    """Apply a function to a batch; on a CPU, in chunks of clips that fit into its caches."""
    clips = max(1, VALUES_AT_ONCE // max(1, x[0].numel()))
    return (
        function(x) if x.device.type != "cpu" or len(x) <= clips else torch.cat([function(y) for y in x.split(clips)])
    )


def require_range(
    name: str, limits: tuple[float, float], *, least: float = -math.inf, above: float = -math.inf
) -> None:
    """Check the range of a random value.

    Raises:
        ConfigError: not two finite numbers in ascending order, at least ``least`` and greater than ``above``.
    """
    if len(limits) != 2 or not (above < limits[0] <= limits[1] < math.inf and least <= limits[0]):
        bound = f" greater than {above:g}" if above > -math.inf else ""
        bound += f" of at least {least:g}" if least > -math.inf else ""
        raise ConfigError(f"{name} is {list(limits)}, expected [lowest, highest]: two finite numbers{bound}")


def uniform(limits: tuple[float, float], like: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch"]:
    """Draw a number for each clip of ``like``, uniformly between the limits, on its device."""
    return torch.empty(len(like), device=like.device).uniform_(*limits)


def log_uniform(limits: tuple[float, float], like: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch"]:
    """Draw a positive number for each clip of ``like``, log-uniformly between the limits."""
    lowest, highest = map(math.log, limits)
    return uniform((lowest, highest), like).exp()


def random_below(limit: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Draw an integer from 0 to ``limit - 1`` for each limit; limits must be far below 2^31."""
    return torch.randint(2**31 - 1, limit.shape, device=limit.device) % limit


def beta(alpha: float, like: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch"]:
    """Draw a number for each clip of ``like`` from Beta(alpha, alpha)."""
    concentration = torch.full((len(like),), alpha)
    # Drawn on the CPU: the argument checks of the distribution would otherwise wait for the GPU.
    return torch.distributions.Beta(concentration, concentration).sample().to(like.device)


def from_decibels(level: Float[Tensor, "batch"]) -> Float[Tensor, "batch 1"]:
    """Convert levels in decibels to amplitude factors, as a column that multiplies waveforms."""
    return torch.pow(10, level / 20)[:, None]


def rms(waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1"]:
    """Root mean square of each clip."""
    return waveform.square().mean(dim=1, keepdim=True).sqrt()


def _partners(clips: int) -> Int64[Tensor, "clips"]:
    """Index of another clip for each clip, from one random cycle, so that no clip is mixed with itself."""
    order = torch.randperm(clips)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner
