"""Embeddings of clips by a published network, as a front end."""

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
"""Incremented when embeddings change, which invalidates cached ones."""


class Embedding(FrontEnd):
    """Embedding front end: layers of a frozen published network, pooled over time, [B, T] to [B, 1, values].

    A linear classifier on embeddings (``model=linear``) is trained in seconds, and needs far fewer recordings than a
    network trained from scratch. Without augmentation, clips are the same in every epoch and are embedded once.

    Args:
        backbone: a name that :func:`make_backbone` accepts.
        layers: names of the layers to concatenate; ``all`` of them, or ``last``.
        pooling: pooling over time: ``mean``, ``max``, or ``mean_max`` for both.
        pretrained: whether to load the published weights; if not, they are random, for example because a checkpoint is
            loaded afterwards.
        architecture: None, or the description that checkpoints store of a network that the program does not list.
        resample: whether clips are resampled to the rate of the network. It has no effect on networks that accept any
            rate.
        views: number of augmented versions of each training clip that are embedded before training, from 0 to 255; each
            epoch draws one of them. With 0 and an augmentation of waveforms, all training clips are embedded in
            every epoch.
        sample_rate, num_samples, normalize: see :class:`FrontEnd`; ``"statistics"`` are computed for each value.

    Raises:
        ConfigError: invalid option, or weights that are not on this machine.

    Example:
        >>> from audio_lightning.models.pretrained.embedding import Embedding
        >>> options = {"backbone": "cnn10", "layers": "last", "pretrained": False}  # random weights
        >>> front_end = Embedding(sample_rate=32000, num_samples=32000, **options)
        >>> front_end.output_shape.dims  # mean and maximum of 512 channels
        (1, 1024)
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
            raise ConfigError(f"feature.views={views}: not a number of versions of each clip; use 0 to 255")
        self.pooling, self.views = pooling, views
        self.inferred_options = self.backbone.inferred_options
        _hold(self.backbone)

    @cached_property
    def output_shape(self) -> FeatureShape:
        """Shape of the features, derived from the options because the weights may not be loaded yet."""
        values = sum(self.backbone.layers[name] for name in self.layers) * (2 if self.pooling == "mean_max" else 1)
        return FeatureShape(self.kind, (1, values), sample_rate=self.sample_rate, is_sound=self.is_sound)

    @torch.no_grad()
    def compute(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 values"]:
        """Compute the pooled layers, concatenated; zeros are appended to clips that are too short for the network."""
        # On a CPU clip by clip, so that no bit of the embedding of a clip depends on the other clips.
        alone = waveform.device.type == "cpu" and not torch.compiler.is_exporting()
        parts = waveform.split(1) if alone else [waveform]
        return torch.cat([self._pooled(part) for part in parts]).unsqueeze(1)

    def _pooled(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch values"]:
        found, counting = layers_of(self.backbone, waveform)
        return pool_layers(found, self.layers, self.pooling, counting)

    @torch.no_grad()
    def embed(self, waveform: Float[Tensor, "batch time"]) -> Float[Tensor, "batch 1 values"]:
        """Compute embeddings before normalization, on the device of the weights."""
        return self._apply_to_clips(self.compute, waveform.to(self._device))

    def normalized(self, embeddings: Float[Tensor, "batch 1 values"]) -> Float[Tensor, "batch 1 values"]:
        """Normalize embeddings; statistics belong to each value, as to a bin of a spectrogram."""
        return self.normalization(embeddings.mT).mT if self.needs_statistics else self.normalization(embeddings)

    def _standardized(
        self, features: Float[Tensor, "batch 1 values"], clips: Float[Tensor, "batch time"]
    ) -> Float[Tensor, "batch 1 values"]:
        return self.normalized(features)

    def fit(self, batches: Iterable[Float[Tensor, "batch time"]]) -> None:
        """Compute the training statistics from batches of waveforms; reads nothing if none are needed."""
        self.fit_embeddings(map(self.embed, batches))

    def fit_embeddings(self, embeddings: Iterable[Float[Tensor, "batch 1 values"]]) -> None:
        """Compute the training statistics from batches of embeddings, before normalization."""
        self.normalization.fit(batch.mT for batch in embeddings)

    @property
    def identity(self) -> str:
        """Hash of everything that determines embeddings: the weights, the options and the length of a clip."""
        options = (self.layers, self.pooling, self.sample_rate, self.num_samples)
        described = hashlib.sha256(f"{FORMAT_VERSION} {self.backbone.title} {options}".encode())
        for name, tensor in self.backbone.state_dict().items():
            described.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        return described.hexdigest()[:32]

    def train(self, mode: bool = True) -> "Embedding":
        """Set the training mode, except for the network, whose batch normalization stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self


def _hold(network: nn.Module) -> None:
    """Turn the parameters of a network into buffers, which are neither optimized nor counted as parameters."""
    for module in network.eval().modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())
