"""Published networks that are trained further."""

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
"""Choices of ``pooling`` and ``layers`` that are learned."""

SMALLEST_VARIANCE = 1e-12
"""Values of the layers of some networks vary by thousandths; torch's usual floor would shrink them."""

LEAST_SHARE = 1e-8
"""Of the largest variance, below which a value counts as one that never varied: it is divided by the largest, as what
moves it later would be enlarged beyond all others."""

PUBLISHED = "published"
"""Choice of ``pretrained``."""


class Published(AudioModel):
    """A published network on waveforms, its own front end included, with a classifier on its layers.

    The pooled layers are normalized value by value over the training clips (batch normalization without weights), so
    that layers of different scale count alike. A classifier that was trained on the network as it was published
    (``feature=embedding``) goes on from there by ``model.pretrained=RUN_DIR``.

    Args:
        input_shape: shape of the waveform; its channels are averaged.
        num_classes: number of logits.
        backbone: a name that :func:`make_backbone` takes.
        layers: names of the layers that the classifier takes side by side; ``all`` of them, ``last``, or ``weighted``:
            their sum with learned weights, as in SUPERB (Yang et al. 2021, arXiv 2105.01051).
        pooling: over time: ``mean``, ``max``, ``mean_max``, or ``attention``, a mean with a learned weight of every
            frame.
        hidden_dims: widths of hidden layers of the classifier.
        dropout: probability of dropping an activation of a hidden layer.
        pretrained: ``published``, or null for weights at random, which a checkpoint takes the place of.
        architecture: null, or what a checkpoint keeps of a network that is in no table.
        resample: whether clips are brought to the rate of a network that takes one rate alone.

    Raises:
        IncompatibleInput: the input is no sound.
        ConfigError: an option that cannot work, or weights that are not on this machine.
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
                f"model.pretrained={pretrained}: there is no such run or checkpoint; expected {PUBLISHED}, null, or a "
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
                f"model.backbone={backbone} cannot be trained, as it is a file of ONNX: use it as it is, by "
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
        """What to call it to a reader."""
        return f"{self.backbone.title}, trained further,"

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter once; what weighs layers and frames begins at random, and is of the head."""
        found = super().stages()
        own = [*([] if self.layer_weights is None else [self.layer_weights]), *self._pooling_parameters()]
        of_head = {id(parameter) for parameter in own}
        kept = {name: [one for one in stage if id(one) not in of_head] for name, stage in found.items()}
        kept["head"] += own
        return {name: stage for name, stage in kept.items() if stage}

    def _pooling_parameters(self) -> list[nn.Parameter]:
        return [] if self.attention is None else list(self.attention.parameters())

    def embed(self, x: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch embedding"]:
        """The pooled layers, normalized."""
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
    """Batch normalization without weights, in which values that hardly varied in training stay small afterwards."""

    def __init__(self, values: int) -> None:
        super().__init__(values, eps=SMALLEST_VARIANCE, affine=False)

    def forward(self, x: Float[Tensor, "batch values"]) -> Float[Tensor, "batch values"]:
        """Values of mean 0 and variance 1."""
        if self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        largest = self.running_var.amax()
        variance = torch.where(self.running_var > LEAST_SHARE * largest, self.running_var, largest)
        return (x - self.running_mean) / (variance + self.eps).sqrt()
