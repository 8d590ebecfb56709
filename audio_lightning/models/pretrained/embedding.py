"""What a published network makes of a clip, as its feature."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.checks import require_choice
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape, InputKind
from audio_lightning.features.base import FrontEnd
from audio_lightning.features.normalize import NormalizeMode
from audio_lightning.models.pretrained.pooling import POOLINGS, Pooling, pool_layers
from audio_lightning.models.pretrained.registry import Layers, chosen_layers, layers_of, make_backbone

FORMAT_VERSION = 1
"""Changes where embeddings come out otherwise."""


class Embedding(FrontEnd):
    """The layers of a published network, pooled over time, [B, T] to [B, 1, values]; the network is not trained.

    A linear classifier on it (``model=linear``) is trained in seconds, and needs far fewer recordings than a network
    from scratch. Clips that are the same in every epoch, which are those without augmentation, are embedded once.

    Args:
        backbone: a name that :func:`make_backbone` takes.
        layers: names of those that are looked at, side by side; ``all`` of them, or ``last``.
        pooling: over time: the mean, the maximum, or both.
        pretrained: whether it has its published weights; else it has some at random, which a checkpoint takes the place
            of.
        architecture: null, or what a checkpoint keeps of a network that is in no table.
        resample: whether clips are brought to the rate of a network that takes one rate alone; networks that take any
            are given the clips as they are.
        views: changed versions of each training clip that are embedded before training; each epoch draws one of them;
            0: where an augmentation changes waveforms, all training clips are embedded in every epoch. From 0 to 255.
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
        layers: Layers = "all",
        pooling: Pooling = "mean_max",
        pretrained: bool | None = True,
        architecture: Mapping[str, Any] | None = None,
        resample: bool = False,
        views: int = 0,
        normalize: NormalizeMode = "statistics",
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_samples=num_samples, normalize=normalize)
        require_choice("pooling", pooling, POOLINGS)
        self.backbone = make_backbone(
            backbone,
            sample_rate,
            pretrained=bool(pretrained),
            architecture=architecture,
            resample=resample,
            option="feature.backbone",
        )
        self.layers = chosen_layers(layers, self.backbone)
        if not 0 <= views < 256:
            raise ConfigError(f"feature.views={views}: expected a number of versions of each clip, from 0 to 255")
        self.pooling, self.views = pooling, views
        self.inferred_options = self.backbone.inferred_options
        _hold(self.backbone)

    @cached_property
    def output_shape(self) -> FeatureShape:
        """Shape of the features, which follows from the options: the weights may not be there yet."""
        values = sum(self.backbone.layers[name] for name in self.layers) * (2 if self.pooling == "mean_max" else 1)
        return FeatureShape(self.kind, (1, values), sample_rate=self.sample_rate, is_sound=self.is_sound)

    @torch.no_grad()
    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 values"]:
        """The pooled layers, one behind the other; zeros follow a clip that is too short for the network."""
        # On a CPU clip by clip: what is known of one does not depend on the others in a single bit.
        alone = waveform.device.type == "cpu" and not torch.compiler.is_exporting()
        parts = waveform.split(1) if alone else [waveform]
        return torch.cat([self._pooled(part) for part in parts]).unsqueeze(1)

    def _pooled(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch values"]:
        found, counting = layers_of(self.backbone, waveform)
        return pool_layers(found, self.layers, self.pooling, counting)

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
        options = (self.layers, self.pooling, self.sample_rate, self.num_samples)
        described = hashlib.sha256(f"{FORMAT_VERSION} {self.backbone.title} {options}".encode())
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
