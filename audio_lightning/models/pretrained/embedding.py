"""What a published network makes of a clip, as its feature."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.checks import require_choice
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape, InputKind
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.models.pretrained.aisfx import AISFX
from audio_lightning.models.pretrained.backbone import Backbone
from audio_lightning.models.pretrained.speech_embedding import SpeechEmbedding

FORMAT_VERSION = 1
"""Changes where embeddings come out otherwise."""

BACKBONES: Mapping[str, type[Backbone]] = MappingProxyType({"aisfx": AISFX, "speech_embedding": SpeechEmbedding})
"""Published networks by the names that ``feature.backbone`` takes."""


class Embedding(FrontEnd):
    """The layers of a published network, pooled over time, [B, T] to [B, 1, values]; the network is not trained.

    A linear classifier on it (``model=linear``) is trained in seconds, and needs far fewer recordings than a network
    from scratch. Clips that are the same in every epoch, which are those without augmentation, are embedded once.

    Args:
        backbone: one of :data:`BACKBONES`.
        layers: names of those that are looked at, side by side; ``all`` of them, or ``last``.
        pooling: over time: the mean, the maximum, or both.
        pretrained: whether it has its published weights; else it has some at random, which a checkpoint takes the place
            of.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`; ``statistics`` are those of each value.

    Raises:
        ConfigError: an option that cannot work, or weights that are not on this machine.
    """

    kind: ClassVar[InputKind] = "waveform"
    is_sound: ClassVar[bool] = False

    def __init__(
        self,
        *,
        sample_rate: int,
        num_samples: int,
        backbone: str = "aisfx",
        layers: Literal["all", "last"] | Sequence[str] = "all",
        pooling: Literal["mean", "max", "mean_max"] = "mean_max",
        pretrained: bool | None = True,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        require_choice("backbone", backbone, list(BACKBONES))
        require_choice("pooling", pooling, ("mean", "max", "mean_max"))
        cls = BACKBONES[backbone]
        if not cls.any_rate and sample_rate != cls.trained_rate:
            raise ConfigError(
                f"backbone={backbone} takes sounds of {cls.trained_rate} Hz, and the clips have {sample_rate} Hz: use "
                f"data.sample_rate={cls.trained_rate}"
            )
        names = list(cls.layers)
        self.layers = names if layers == "all" else names[-1:] if layers == "last" else list(layers)
        for name in self.layers:
            require_choice("layers", name, names)
        if not self.layers:
            raise ConfigError(f"layers is empty, expected all, last, or some of: {', '.join(names)}")
        self.pooling = pooling
        self.backbone = cls(sample_rate)
        if pretrained:
            self.backbone.load()
        _hold(self.backbone)

    @cached_property
    def output_shape(self) -> FeatureShape:
        """Shape of the features, which follows from the options: the weights may not be there yet."""
        values = sum(self.backbone.layers[name] for name in self.layers) * (2 if self.pooling == "mean_max" else 1)
        return FeatureShape(self.kind, (1, values), sample_rate=self.sample_rate, is_sound=self.is_sound)

    @torch.no_grad()
    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 values"]:
        """The pooled layers, one behind the other; zeros follow a clip that is too short for the network."""
        short = math.ceil(self.backbone.least_seconds * self.sample_rate) - waveform.shape[-1]
        padded = torch.nn.functional.pad(waveform, (0, max(0, short)))
        # On a CPU clip by clip: what is known of one does not depend on the others in a single bit.
        parts = padded.split(1) if padded.device.type == "cpu" else [padded]
        return torch.cat([self._pooled(self.backbone(part)) for part in parts])

    def _pooled(self, found: Mapping[str, Float[Tensor, "batch channels frames"]]) -> Float[Tensor, "batch 1 values"]:
        pooled = []
        for name in self.layers:
            if self.pooling != "max":
                pooled.append(found[name].mean(2))
            if self.pooling != "mean":
                pooled.append(found[name].amax(2))
        return torch.cat(pooled, dim=1).unsqueeze(1)

    @torch.no_grad()
    def embed(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 values"]:
        """What :meth:`forward` gives before normalization, on the device of the weights."""
        return self._apply_to_clips(self.compute, waveform.to(self._device))

    def normalized(self, embeddings: Float[Tensor, "batch 1 values"]) -> Float[Tensor, "batch 1 values"]:
        """Normalized embeddings; statistics are those of each value, as of a bin."""
        return self.normalization(embeddings.mT).mT if self.needs_statistics else self.normalization(embeddings)

    def _normalized(self, clips: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 values"]:
        return self.normalized(self.compute(clips))

    def fit(self, batches: Iterable[Float[Tensor, "batch time"]]) -> None:
        """Learn the training statistics from batches of waveforms; nothing is read if none are needed."""
        self.fit_embeddings(map(self.embed, batches))

    def fit_embeddings(self, embeddings: Iterable[Float[Tensor, "batch 1 values"]]) -> None:
        """Learn the training statistics from batches of embeddings, before normalization."""
        self.normalization.fit(batch.mT for batch in embeddings)

    @property
    def identity(self) -> str:
        """A name for what it makes of clips: of the weights, the options and the length of a clip."""
        described = hashlib.sha256(
            f"{FORMAT_VERSION} {self.layers} {self.pooling} {self.sample_rate} {self.num_samples}".encode()
        )
        for name, tensor in self.backbone.state_dict().items():
            described.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        return described.hexdigest()[:32]

    def train(self, mode: bool = True) -> "Embedding":
        """The network itself stays as it was published, batch normalization included."""
        super().train(mode)
        self.backbone.eval()
        return self


def _hold(network: nn.Module) -> None:
    """Make what could be trained a constant, which no optimizer gets, and nobody counts among the parameters."""
    for module in network.eval().modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())
