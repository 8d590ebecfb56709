"""Container of all augmentations of a training, applied in their configured order."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from audio_lightning.augment.base import Domain, PairAugmentation, SpectrogramAugmentation, WaveformAugmentation
from audio_lightning.augment.recorded import RecordedAugmentation
from audio_lightning.config import build
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import ConfigError

KINDS: dict[str, type[nn.Module]] = {
    "waveform": WaveformAugmentation,
    "spectrogram": SpectrogramAugmentation,
    "pairs": PairAugmentation,
}


class Augmentation(nn.Module):
    """Augmentation pipeline built from a choice of ``conf/augment``.

    Waveforms are changed clip by clip, then mixed in pairs; features are mixed in pairs, then changed clip by clip.
    In evaluation mode, inputs are returned unchanged. The module has no parameters and adds nothing to a checkpoint.

    Args:
        config: mapping with the keys ``waveform``, ``spectrogram`` and ``pairs``. Each maps names to augmentations
            (``_target_`` and arguments), which are applied in this order; null disables one.
        sample_rate: sample rate of the waveforms in hertz.

    Raises:
        ConfigError: an unknown kind, target or argument, or an invalid value.

    Example:
        >>> import torch
        >>> from audio_lightning.augment import Augmentation
        >>> polarity = {"_target_": "audio_lightning.augment.polarity.Polarity", "p": 1.0}
        >>> augmentation = Augmentation({"waveform": {"polarity": polarity}}, sample_rate=16000)
        >>> waveform, target = augmentation.on_waveforms(torch.tensor([[0.25, -0.5]]), torch.tensor([3]))
        >>> waveform, target
        (tensor([[-0.2500,  0.5000]]), tensor([3]))
    """

    def __init__(self, config: Mapping[str, Any], *, sample_rate: int) -> None:
        super().__init__()
        for kind in config:
            if kind not in KINDS:
                raise ConfigError(f"augment.{kind}: no such kind" + did_you_mean(kind, list(KINDS), listing="kinds"))
        self.waveform, self.spectrogram, self.pairs = (
            nn.ModuleList(
                build(node, cls, where=f"augment.{kind}.{name}", sample_rate=sample_rate)
                for name, node in (config.get(kind) or {}).items()
                if node is not None
            )
            for kind, cls in KINDS.items()
        )

    @property
    def changes_waveforms(self) -> bool:
        """Whether waveforms are changed, so that features differ from epoch to epoch."""
        return _any_active([*self.waveform, *self._mixing("waveform")])

    @property
    def mixes_waveforms(self) -> bool:
        """Whether clips are mixed with one another before features are computed."""
        return _any_active(self._mixing("waveform"))

    @property
    def changes_features(self) -> bool:
        """Whether features are changed after they are computed."""
        return _any_active([*self.spectrogram, *self._mixing("features")])

    @property
    def mixes_targets(self) -> bool:
        """Whether targets become soft."""
        return _any_active(self.pairs)

    @property
    def lacks(self) -> list[str]:
        """Sources of recordings, ``noise`` or ``rir``, that :meth:`set_recordings` must provide before training."""
        lacking = (module for module in self._recorded() if module.p > 0 and not module.has_recordings)
        return sorted({module.source for module in lacking})

    def set_recordings(
        self,
        source: str,
        samples: Float[Tensor, "samples"],
        starts: Int64[Tensor, "recordings"],
        stops: Int64[Tensor, "recordings"],
    ) -> None:
        """Pass recordings to all augmentations of a source: see :meth:`RecordedAugmentation.set_recordings`."""
        for module in self._recorded():
            if module.source == source:
                module.set_recordings(samples, starts, stops)

    def digest_of_recordings(self) -> str:
        """SHA-256 of all recordings in use, in hexadecimal; also defined if there are none."""
        found = hashlib.sha256()
        for module in self._recorded():
            for tensor in module.buffers():
                found.update(tensor.cpu().numpy().tobytes())
        return found.hexdigest()

    def leave_out(self, source: str) -> bool:
        """Disable the augmentations of a source that has no recordings, unless one of them requires recordings.

        Returns:
            Whether they were disabled.
        """
        modules = [module for module in self._recorded() if module.source == source and module.p > 0]
        if any(module.required for module in modules):
            return False
        for module in modules:
            module.p = 0.0
        return True

    def on_waveforms(
        self, waveform: Float[Tensor, "batch time"], target: Shaped[Tensor, "batch *classes"]
    ) -> tuple[Float[Tensor, "batch time"], Shaped[Tensor, "batch *classes"]]:
        """Apply the augmentations of waveforms; targets are returned unchanged unless waveforms are mixed.

        Only targets in the form of probabilities can be mixed, see :class:`PairAugmentation`.
        """
        for module in self.waveform:
            waveform = module(waveform)
        for mixing in self._mixing("waveform"):
            waveform, target = mixing(waveform, target)
        return waveform, target

    def on_features(
        self, features: Float[Tensor, "batch channels ..."], target: Shaped[Tensor, "batch *classes"]
    ) -> tuple[Float[Tensor, "batch channels ..."], Shaped[Tensor, "batch *classes"]]:
        """Apply the augmentations of features; raw waveforms ``[B, C, T]`` have no bins to mask, and are only mixed."""
        for mixing in self._mixing("features"):
            features, target = mixing(features, target)
        if features.dim() == 4:
            for module in self.spectrogram:
                features = module(features)
        return features, target

    def _mixing(self, domain: Domain) -> list[PairAugmentation]:
        return [module for module in self.pairs if isinstance(module, PairAugmentation) and module.domain == domain]

    def _recorded(self) -> list[RecordedAugmentation]:
        return [module for module in self.waveform if isinstance(module, RecordedAugmentation)]


def _any_active(modules: Iterable[nn.Module]) -> bool:
    return any(getattr(module, "p") > 0 for module in modules)  # noqa: B009 - to a type checker p may be a Tensor
