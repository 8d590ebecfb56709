"""Base class of front ends: from waveforms to the network's input, always computed in float32."""

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

# On a CPU, intermediate results of this many samples stay in the caches and their memory is reused. That is three to
# four times as fast as computing a whole batch of four-second clips at once.
SAMPLES_AT_ONCE = 2**18


class FrontEnd(nn.Module, ABC):
    """Base class of front ends: waveform [B, T] to features [B, C, T'] or [B, C, F, N].

    Subclasses implement :meth:`compute`. A front end accepts clips of any length from one sample on; ``num_samples`` is
    only the usual length. The module stays in float32 under autocast and when the network around it is cast to
    another precision.

    Args:
        sample_rate: rate of the waveforms in hertz.
        num_samples: usual length of a clip in samples, which determines :attr:`output_shape`.
        normalize: how the features are scaled. ``"none"`` leaves them as they are. ``"clip"`` gives each channel of a
            clip mean 0 and standard deviation 1, ``"minmax"`` the range from 0 to 1; both ignore the padding of a clip,
            which becomes 0. ``"statistics"`` gives each bin mean 0 and standard deviation 1 over the training data and
            needs :meth:`fit`. Two numbers are the mean and the standard deviation to normalize by.

    Attributes:
        kind: kind of the output, ``"waveform"`` or ``"spectrogram"``.
        is_sound: whether neighbours in the last axis of the output are neighbours in time.
        learnable: whether the front end has trainable parameters; an option may determine it.
        inferred_options: options that were derived from published weights. A front end built with them does not need
            the weights.

    Raises:
        ConfigError: invalid option.
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
        """Compute raw features, before normalization, of float32 waveforms; clips must not affect each other."""

    def forward(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch channels ..."]:
        """Compute normalized features in float32; gradients flow through it only if it is ``learnable``.

        Raises:
            RuntimeError: ``normalize="statistics"``, and the statistics are neither fitted nor loaded.
        """
        if not self.learnable:
            waveform = waveform.detach()
        return self._apply_to_clips(self._normalized, waveform)

    def raw(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch channels ..."]:
        """Compute features before normalization, which front ends with other statistics may share."""
        return self._apply_to_clips(self.compute, waveform if self.learnable else waveform.detach())

    def from_raw(
        self, features: Float[Tensor, "batch channels ..."], waveform: Float[Tensor, "batch time"]
    ) -> Float[Tensor, "batch channels ..."]:
        """Normalize the result of :meth:`raw` for the same clips; the result is that of :meth:`forward`."""
        if torch.compiler.is_exporting():
            return self._standardized(features, waveform.float())
        with torch.autocast(waveform.device.type, enabled=False):
            return self._standardized(features, waveform.float())

    def _normalized(self, clips: Float[Tensor, "batch time"]) -> Float[Tensor, "batch channels ..."]:
        return self._standardized(self.compute(clips), clips)

    def _standardized(
        self, features: Float[Tensor, "batch channels ..."], clips: Float[Tensor, "batch time"]
    ) -> Float[Tensor, "batch channels ..."]:
        if not (self.is_sound and self.normalization.leaves_padding_out):
            return self.normalization(features)
        return self.normalization(features, sound_frames(clips, features.shape[-1]))

    @cached_property
    def output_shape(self) -> FeatureShape:
        """Shape of the features of one clip of ``num_samples``, computed from a silent clip."""
        with torch.no_grad():
            silence = torch.zeros(1, self.num_samples, device=self._device)
            dims = tuple(self.compute(silence).shape[1:])
        return FeatureShape(self.kind, dims, sample_rate=self.sample_rate, is_sound=self.is_sound)

    @property
    def needs_statistics(self) -> bool:
        """Whether :meth:`fit` has to compute statistics of the training data."""
        return self.normalization.needs_statistics

    @property
    def is_fitted(self) -> bool:
        """Whether the normalization is ready to use."""
        return self.normalization.is_fitted

    @torch.no_grad()
    def fit(self, batches: Iterable[Float[Tensor, "batch time"]]) -> None:
        """Compute the training statistics from batches of waveforms; reads nothing if none are needed.

        Raises:
            ValueError: statistics are needed, and there are no batches.
        """
        device = self._device
        self.normalization.fit(self._apply_to_clips(self.compute, batch.to(device)) for batch in batches)

    @property
    def _device(self) -> torch.device:
        return next(chain(self.parameters(), self.buffers()), torch.empty(0)).device

    def _apply_to_clips(self, function: Callable[[Tensor], Tensor], waveform: Tensor) -> Tensor:
        """Apply ``function`` outside autocast: power spectra overflow float16, decibels lose digits in bfloat16."""
        if torch.compiler.is_exporting():  # the exported graph takes batches of any size and runs without autocast
            return function(waveform.float())
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.float()
            clips = max(1, SAMPLES_AT_ONCE // waveform.shape[-1])
            # A compiled or exported graph must not depend on the batch size.
            whole = waveform.device.type != "cpu" or len(waveform) <= clips or torch.compiler.is_compiling()
            return function(waveform) if whole else torch.cat([function(x) for x in waveform.split(clips)])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move to another device, but keep the precision when the network is cast, to bfloat16 for example."""

        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        apply: Callable[..., Any] = super()._apply
        return apply(keep_precision, recurse)
