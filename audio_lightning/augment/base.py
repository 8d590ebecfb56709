"""What every augmentation is: a module that changes some clips of a batch in training, and none in evaluation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from audio_lightning.core.checks import require_choice
from audio_lightning.core.errors import ConfigError

# On a CPU, intermediate results of this many values stay in the caches: about twice as fast as a whole batch of
# four-second clips at once.
VALUES_AT_ONCE = 2**17

Domain = Literal["waveform", "features"]


class _Random(nn.Module):
    """Shared by all: the probability of each clip, and who is drawn.

    Everything is drawn from PyTorch's global generators, so that whoever seeds them gets the same batch again. Nothing
    is learned and nothing is stored in a checkpoint.

    Args:
        sample_rate: rate of the waveforms in hertz.
        p: probability of each clip to be changed.

    Raises:
        ConfigError: ``p`` is no probability.
    """

    def __init__(self, *, sample_rate: int, p: float) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ConfigError(f"p is {p}, expected a probability from 0 to 1")
        self.sample_rate = sample_rate
        self.p = p

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"

    def _drawn(self, clips: int, device: torch.device) -> Int64[Tensor, "drawn"]:
        # Drawn on the CPU, whose answer a GPU's queue of work need not be waited for.
        return torch.nonzero(torch.rand(clips) < self.p).flatten().to(device)


class _ClipAugmentation(_Random, ABC):
    """Changes clips each for itself; subclasses implement :meth:`augment`."""

    @abstractmethod
    def augment(self, x: Float[Tensor, "drawn ..."]) -> Float[Tensor, "drawn ..."]:
        """Changed clips, all of them, of float32 clips that must be left as they are."""

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """The batch with some clips changed; in evaluation mode the batch itself."""
        if not self.training or self.p == 0:
            return x
        drawn = self._drawn(len(x), x.device)
        if len(drawn) == 0:
            return x
        # Half precision is too coarse for samples, and transforms don't take it.
        with torch.autocast(x.device.type, enabled=False):
            changed = in_pieces(self.augment, (x if len(drawn) == len(x) else x[drawn]).float()).to(x.dtype)
        return changed if len(drawn) == len(x) else x.index_copy(0, drawn, changed)


class WaveformAugmentation(_ClipAugmentation):
    """Waveforms [B, T] to waveforms of the same shape; see :class:`_ClipAugmentation`."""

    @abstractmethod
    def augment(self, x: Float[Tensor, "drawn time"]) -> Float[Tensor, "drawn time"]:
        """Changed waveforms."""


class SpectrogramAugmentation(_ClipAugmentation):
    """Features [B, C, F, N] to features of the same shape; see :class:`_ClipAugmentation`."""

    @abstractmethod
    def augment(self, x: Float[Tensor, "drawn channels bins frames"]) -> Float[Tensor, "drawn channels bins frames"]:
        """Changed features."""


class PairAugmentation(_Random, ABC):
    """Mixes a clip with another one of the batch, and their targets with them; subclasses implement :meth:`mix`.

    Targets are rows of probabilities, one a class: one-hot, several labels a clip, or already mixed. What is mixed is
    a weighted mean of two rows, so a row's sum stays between those two sums, and values stay between 0 and 1.

    Args:
        domain: whether ``waveform`` or ``features`` are mixed.
        sample_rate: rate of the waveforms in hertz.
        p: probability of each clip to be mixed with another.

    Raises:
        ConfigError: ``p`` is no probability, or ``domain`` is neither of the two.
    """

    def __init__(self, *, sample_rate: int, p: float, domain: Domain) -> None:
        super().__init__(sample_rate=sample_rate, p=p)
        require_choice("domain", domain, ("waveform", "features"))
        self.domain = domain

    @abstractmethod
    def mix(
        self, x: Float[Tensor, "drawn ..."], other: Float[Tensor, "drawn ..."]
    ) -> tuple[Float[Tensor, "drawn ..."], Float[Tensor, "drawn"]]:
        """Mixed float32 clips, and the weight from 0 to 1 that the target of each of ``x`` has in them."""

    def forward(
        self, x: Float[Tensor, "batch ..."], target: Float[Tensor, "batch classes"]
    ) -> tuple[Float[Tensor, "batch ..."], Float[Tensor, "batch classes"]]:
        """The batch with some clips mixed; the batch itself in evaluation mode, or if it is a single clip."""
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
    """Apply a function of clips to a batch, on a CPU to so few clips at once that they stay in its caches."""
    clips = max(1, VALUES_AT_ONCE // max(1, x[0].numel()))
    return (
        function(x) if x.device.type != "cpu" or len(x) <= clips else torch.cat([function(y) for y in x.split(clips)])
    )


def require_range(
    name: str, limits: tuple[float, float], *, least: float = -math.inf, above: float = -math.inf
) -> None:
    """Check a range to draw from.

    Raises:
        ConfigError: not two finite numbers in ascending order, of at least ``least`` and greater than ``above``.
    """
    if len(limits) != 2 or not (above < limits[0] <= limits[1] < math.inf and least <= limits[0]):
        bound = f" greater than {above:g}" if above > -math.inf else ""
        bound += f" of at least {least:g}" if least > -math.inf else ""
        raise ConfigError(f"{name} is {list(limits)}, expected [lowest, highest]: two finite numbers{bound}")


def uniform(limits: tuple[float, float], like: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch"]:
    """A number for each clip of ``like``, uniform between the limits, on its device."""
    return torch.empty(len(like), device=like.device).uniform_(*limits)


def log_uniform(limits: tuple[float, float], like: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch"]:
    """A positive number for each clip of ``like``, whose logarithm is uniform between those of the limits."""
    lowest, highest = map(math.log, limits)
    return uniform((lowest, highest), like).exp()


def random_below(limit: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """A whole number from 0 on below each limit, which is far below 2^31."""
    return torch.randint(2**31 - 1, limit.shape, device=limit.device) % limit


def beta(alpha: float, like: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch"]:
    """A number for each clip of ``like``, drawn from Beta(alpha, alpha)."""
    concentration = torch.full((len(like),), alpha)
    # Drawn on the CPU: a handful of numbers, which the distribution's checks would otherwise wait for.
    return torch.distributions.Beta(concentration, concentration).sample().to(like.device)


def from_decibels(level: Float[Tensor, "batch"]) -> Float[Tensor, "batch 1"]:
    """Factors of amplitude, a column for multiplying waveforms with."""
    return torch.pow(10, level / 20)[:, None]


def rms(waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1"]:
    """Root of the mean square of each clip."""
    return waveform.square().mean(dim=1, keepdim=True).sqrt()


def _partners(clips: int) -> Int64[Tensor, "clips"]:
    """Another clip for each, by one random cycle through all of them: nobody is mixed with itself."""
    order = torch.randperm(clips)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return partner
