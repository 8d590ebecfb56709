"""What every front end is: a module from waveforms to the network's input, in float32, whatever goes on around it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.task import FeatureShape, InputKind
from audio_lightning.features.normalize import NormalizeMode, make_normalization
from audio_lightning.features.padding import sound_frames

# On a CPU, intermediate results of this many samples stay in the caches, and their memory is reused rather than
# fetched from the system anew: three to four times as fast as a whole batch of four-second clips at once.
SAMPLES_AT_ONCE = 2**18


class FrontEnd(nn.Module, ABC):
    """Waveform [B, T] to features [B, C, T'] or [B, C, F, N]; subclasses implement :meth:`compute`.

    Clips of any length from one sample on are taken, ``num_samples`` is only the usual one. The module stays in
    float32 under autocast and when the network around it is cast to another precision.

    Args:
        sample_rate: rate of the waveforms in hertz.
        num_samples: usual length of a clip in samples, from which :attr:`output_shape` follows.
        normalize: ``"none"``; ``"clip"``, mean 0 and standard deviation 1 over each channel of a clip; ``"minmax"``,
            each from 0 to 1 (both over the frames before the padding of a clip, which becomes 0); ``"statistics"``,
            mean 0 and standard deviation 1 in each bin over the training data, which needs :meth:`fit`; or two
            numbers, the mean and the standard deviation to normalize by.

    Attributes:
        kind: what the network gets, a waveform or a picture.
        is_sound: whether neighbours in the last axis of the output are neighbours in time.
        learnable: whether it has parameters to train; an option may decide that.
        inferred_options: options that follow from published weights; with them the same front end can be built without
            the weights.

    Raises:
        ConfigError: an option that cannot work.
    """

    kind: ClassVar[InputKind] = "spectrogram"
    is_sound: ClassVar[bool] = True
    learnable: bool = False
    inferred_options: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, *, sample_rate: int, num_samples: int, normalize: NormalizeMode) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.num_samples = num_samples
        self.normalization = make_normalization(normalize)

    @abstractmethod
    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch channels ..."]:
        """Raw features, before normalization, of float32 waveforms; every clip for itself."""

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch channels ..."]:
        """Normalized features in float32; gradients flow through it only if it is ``learnable``.

        Raises:
            RuntimeError: the mode ``statistics`` is neither fitted nor loaded.
        """
        if not self.learnable:
            waveform = waveform.detach()
        return self._apply_to_clips(self._normalized, waveform)

    def _normalized(self, clips: Float[Tensor, "batch time"]) -> Float[Tensor, "batch channels ..."]:
        features = self.compute(clips)
        if not (self.is_sound and self.normalization.leaves_padding_out):
            return self.normalization(features)
        return self.normalization(features, sound_frames(clips, features.shape[-1]))

    @cached_property
    def output_shape(self) -> FeatureShape:
        """Shape of the features of one clip of ``num_samples``, found by computing them once."""
        with torch.no_grad():
            silence = torch.zeros(1, self.num_samples, device=self._device)
            dims = tuple(self.compute(silence).shape[1:])
        return FeatureShape(self.kind, dims, sample_rate=self.sample_rate, is_sound=self.is_sound)

    @property
    def needs_statistics(self) -> bool:
        """Whether the normalization learns from the training data."""
        return self.normalization.needs_statistics

    @property
    def is_fitted(self) -> bool:
        """Whether the normalization has all that it needs."""
        return self.normalization.is_fitted

    @torch.no_grad()
    def fit(self, batches: Iterable[Float[Tensor, "batch time"]]) -> None:
        """Learn the training statistics from batches of waveforms; nothing is read if none are needed."""
        device = self._device
        self.normalization.fit(self._apply_to_clips(self.compute, batch.to(device)) for batch in batches)

    @property
    def _device(self) -> torch.device:
        return next(chain(self.parameters(), self.buffers()), torch.empty(0)).device

    def _apply_to_clips(self, function: Callable[[Tensor], Tensor], waveform: Tensor) -> Tensor:
        """Run ``function`` outside autocast: power spectra overflow float16, decibels lose digits in bfloat16."""
        if torch.compiler.is_exporting():  # a graph for batches of any size, which no autocast is around
            return function(waveform.float())
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.float()
            clips = max(1, SAMPLES_AT_ONCE // waveform.shape[-1])
            # A compiled or exported graph must not depend on the size of a batch.
            whole = waveform.device.type != "cpu" or len(waveform) <= clips or torch.compiler.is_compiling()
            return function(waveform) if whole else torch.cat([function(x) for x in waveform.split(clips)])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Follow ``.to()`` to a device but not to a precision, as when a network is cast to bfloat16 as a whole."""

        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        apply: Callable[..., Any] = super()._apply
        return apply(keep_precision, recurse)
