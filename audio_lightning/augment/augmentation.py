"""All augmentations of a training, in the order in which they are applied."""

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
    """What a choice of ``conf/augment`` describes.

    Waveforms are changed clip by clip and then mixed in pairs; features are mixed in pairs and then changed clip by
    clip. In evaluation mode everything stays as it is. There are no parameters and nothing for a checkpoint.

    Args:
        config: ``waveform``, ``spectrogram`` and ``pairs``, each a mapping from names to augmentations (``_target_``
            and arguments), applied in this order; null in place of one leaves it out.
        sample_rate: rate of the waveforms in hertz.

    Raises:
        ConfigError: an unknown kind, target or argument.
    """

    def __init__(self, config: Mapping[str, Any], *, sample_rate: int) -> None:
        super().__init__()
        for kind in config:
            if kind not in KINDS:
                raise ConfigError(f"augment has no {kind}" + did_you_mean(kind, list(KINDS), listing="there are"))
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
        """Whether features differ from epoch to epoch because waveforms do."""
        return _any_active([*self.waveform, *self._mixing("waveform")])

    @property
    def mixes_waveforms(self) -> bool:
        """Whether clips are mixed with others before features are computed."""
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
        """Sources for which :meth:`set_recordings` has to be called before training: ``noise``, ``rir``."""
        lacking = (module for module in self._recorded() if module.p > 0 and not module.has_recordings)
        return sorted({module.source for module in lacking})

    def set_recordings(
        self,
        source: str,
        samples: Float[Tensor, "samples"],
        starts: Int64[Tensor, "recordings"],
        stops: Int64[Tensor, "recordings"],
    ) -> None:
        """Hand out the recordings of a source: see :meth:`RecordedAugmentation.set_recordings`."""
        for module in self._recorded():
            if module.source == source:
                module.set_recordings(samples, starts, stops)

    def digest_of_recordings(self) -> str:
        """A name for all recordings that were handed out; of none, too."""
        found = hashlib.sha256()
        for module in self._recorded():
            for tensor in module.buffers():
                found.update(tensor.cpu().numpy().tobytes())
        return found.hexdigest()

    def leave_out(self, source: str) -> bool:
        """Go without the recordings of a source, where no augmentation requires them; whether that is so."""
        modules = [module for module in self._recorded() if module.source == source and module.p > 0]
        if any(module.required for module in modules):
            return False
        for module in modules:
            module.p = 0.0
        return True

    def on_waveforms(
        self, waveform: Float[Tensor, "batch time"], target: Shaped[Tensor, "batch *classes"]
    ) -> tuple[Float[Tensor, "batch time"], Shaped[Tensor, "batch *classes"]]:
        """What comes before the front end; targets are handed back untouched unless waveforms are mixed.

        Only targets that are rows of probabilities can be mixed, see :class:`PairAugmentation`.
        """
        for module in self.waveform:
            waveform = module(waveform)
        for mixing in self._mixing("waveform"):
            waveform, target = mixing(waveform, target)
        return waveform, target

    def on_features(
        self, features: Float[Tensor, "batch channels ..."], target: Shaped[Tensor, "batch *classes"]
    ) -> tuple[Float[Tensor, "batch channels ..."], Shaped[Tensor, "batch *classes"]]:
        """What comes after the front end; features [B, C, T] are waveforms, of which no bins can be masked."""
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
