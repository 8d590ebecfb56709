"""Fine-tuning of published audio networks."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.checks import require_choice
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel
from audio_lightning.models.layers import mlp
from audio_lightning.models.pretrained.pooling import POOLINGS, AttentionPooling, Pooling, pool_layers
from audio_lightning.models.pretrained.registry import Layers, chosen_layers, layers_of, make_backbone

ATTENTION, WEIGHTED = "attention", "weighted"
"""Values of ``pooling`` and ``layers`` with learned weights."""

SMALLEST_VARIANCE = 1e-12
"""Variance floor. The values of some networks' layers vary by thousandths; torch's default would shrink them."""

LEAST_SHARE = 1e-8
"""Fraction of the largest variance below which a value counts as constant. Constant values are divided by the largest
standard deviation instead of their own, because later changes would be amplified beyond all others."""

PUBLISHED = "published"
"""Value of ``pretrained`` for the published weights."""


class Published(AudioModel):
    """Published network on waveforms, including its own front end, with a classifier on its layers; both are trained.

    The pooled layers are normalized value by value over the training clips (batch normalization without weights), so
    that layers of different scales count alike. A classifier that was trained on the frozen network
    (``feature=embedding``) can be the starting point: ``model.pretrained=RUN_DIR``.

    Args:
        input_shape: shape of the waveform; its channels are averaged.
        num_classes: number of logits.
        backbone: a name that :func:`make_backbone` accepts.
        layers: names of the layers to concatenate for the classifier; ``all`` of them; ``last``; or ``weighted``, the
            sum, with learned weights, of all layers with more than one frame, as in SUPERB (Yang et al. 2021, arXiv
            2105.01051).
        pooling: pooling over time: ``mean``, ``max``, ``mean_max``, or ``attention``, a mean with learned weights of
            the frames.
        hidden_dims: widths of hidden layers of the classifier.
        dropout: dropout probability of the hidden layers.
        pretrained: ``published``; or None for random weights, for example if a checkpoint is loaded afterwards.
        architecture: None, or the architecture that checkpoints store of a network that the program does not list.
        resample: whether clips are resampled to the rate of the network, if it accepts only one.

    Raises:
        IncompatibleInput: the input is not sound.
        ConfigError: invalid option, or weights that are not on this machine.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.published import Published
        >>> shape = FeatureShape("waveform", (1, 16000), sample_rate=16000)
        >>> with torch.device("meta"):  # shapes only, without memory for the weights
        ...     model = Published(shape, num_classes=10, backbone="cnn10", pretrained=None)
        >>> list(model.backbone.layers)
        ['conv_block1', 'conv_block2', 'conv_block3', 'conv_block4', 'embedding']
    """

    input_kind = "waveform"
    needs_sound = True
    accepts_variable_length = True

    def __init__(
        self,
        input_shape: FeatureShape,
        num_classes: int,
        *,
        backbone: str = "aisfx",
        layers: Layers | Literal["weighted"] = "all",
        pooling: Pooling | Literal["attention"] = "mean_max",
        hidden_dims: Sequence[int] = (),
        dropout: float = 0.0,
        pretrained: str | bool | None = PUBLISHED,
        architecture: Mapping[str, Any] | None = None,
        resample: bool = False,
    ) -> None:
        super().__init__(input_shape, num_classes)
        require_choice("pooling", pooling, (*POOLINGS, ATTENTION))
        if pretrained not in (PUBLISHED, True, False, None):
            raise ConfigError(
                f"model.pretrained={pretrained}: there is no such run or checkpoint; use {PUBLISHED}, null, or a "
                "run folder"
            )
        network = make_backbone(
            backbone,
            input_shape.sample_rate,
            pretrained=bool(pretrained),
            architecture=architecture,
            resample=resample,
            option="model.backbone",
        )
        if not network.trainable:
            raise ConfigError(
                f"model.backbone={backbone} cannot be trained, as it is an ONNX file; use it frozen, by "
                f"experiment=frozen feature.backbone={backbone}"
            )
        self.backbone = network
        self.inferred_options = network.inferred_options
        self.layers = chosen_layers("all" if layers == WEIGHTED else layers, network)
        if layers == WEIGHTED:
            self.layers = [name for name in self.layers if name not in network.single]
        self.layer_weights = nn.Parameter(torch.zeros(len(self.layers))) if layers == WEIGHTED else None
        pooled = {name: network.layers[name] for name in (self.layers[-1:] if layers == WEIGHTED else self.layers)}
        if layers == WEIGHTED and len({network.layers[name] for name in self.layers}) > 1:
            widths = ", ".join(f"{name} {width}" for name, width in network.layers.items())
            raise ConfigError(
                f"model.layers=weighted: the layers of {backbone} differ in width ({widths}); use all, last, or some"
            )
        self.pooling = pooling
        self.attention = AttentionPooling(pooled) if pooling == ATTENTION else None
        self.embedding_dim = sum(pooled.values()) * (2 if pooling == "mean_max" else 1)
        self.normalize = _Standardized(self.embedding_dim)
        hidden, width = mlp([self.embedding_dim, *hidden_dims], dropout)
        self.head = nn.Sequential(*hidden, nn.Linear(width, num_classes))

    @property
    def title(self) -> str:
        """Display name."""
        return f"{self.backbone.title}, trained further,"

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Group the parameters by stage; the weights of layers and frames are not pretrained and belong to the head."""
        found = super().stages()
        own = [*([] if self.layer_weights is None else [self.layer_weights]), *self._pooling_parameters()]
        of_head = {id(parameter) for parameter in own}
        kept = {name: [one for one in stage if id(one) not in of_head] for name, stage in found.items()}
        kept["head"] += own
        return {name: stage for name, stage in kept.items() if stage}

    def _pooling_parameters(self) -> list[nn.Parameter]:
        return [] if self.attention is None else list(self.attention.parameters())

    def embed(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch embedding"]:
        """Compute the pooled layers, normalized."""
        found, sounding = layers_of(self.backbone, x.mean(1))
        names = self.layers
        if self.layer_weights is not None:
            names = self.layers[-1:]
            stacked = torch.stack([found[name] for name in self.layers])
            found = {names[0]: torch.einsum("l,lbct->bct", self.layer_weights.softmax(0), stacked)}
        if self.attention is not None:
            return self.normalize(self.attention(found, sounding))
        return self.normalize(pool_layers(found, names, cast("Pooling", self.pooling), sounding))


class _Standardized(nn.BatchNorm1d):
    """Batch normalization without weights, in which almost constant values stay small in evaluation."""

    def __init__(self, values: int) -> None:
        super().__init__(values, eps=SMALLEST_VARIANCE, affine=False)

    def forward(self, x: Float[Tensor, "batch values"]) -> Float[Tensor, "batch values"]:
        """Normalize each value to mean 0 and variance 1."""
        if self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        largest = self.running_var.amax(dim=0)
        variance = torch.where(self.running_var > LEAST_SHARE * largest, self.running_var, largest)
        return (x - self.running_mean) / (variance + self.eps).sqrt()
