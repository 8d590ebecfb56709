"""Base class of models: an embedding of the front end's output, and a head that turns it into logits."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape, InputKind
from audio_lightning.models.macs import count_macs

OTHER_FEATURES: dict[InputKind, str] = {"waveform": "feature=waveform", "spectrogram": "feature=logmel"}

REMEDIES: dict[InputKind, dict[str, str]] = {
    "waveform": {"samples": "longer clips"},
    "spectrogram": {"bins": "a feature with more bins", "frames": "a shorter hop or longer clips"},
}
"""Axes of an input after its channels, and how to enlarge each of them."""

NORMALIZATIONS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""Layers that belong to the stage of the layer before them."""


class IncompatibleInput(ConfigError):  # noqa: N818 - explains why two choices do not go together
    """Error about a front end's output that the model cannot process.

    Attributes:
        least: minimum sizes after the channels, if the output is only too small; otherwise None.
    """

    def __init__(self, message: str, *, least: tuple[int, ...] | None = None) -> None:
        super().__init__(message)
        self.least = least


class AudioModel(nn.Module, ABC):
    """Base class of networks that are built from the shape of their input and the number of classes.

    Subclasses call this constructor before they build layers, so that an impossible combination is refused at no cost.
    Then they set :attr:`embedding_dim` and :attr:`head` and implement :meth:`embed`. Models can be built under
    ``torch.device("meta")``.

    Args:
        input_shape: shape of the front end's output for one clip.
        num_classes: number of logits.
        minimum_input: minimum sizes after the channels, (samples,) or (bins, frames), for which the layers leave at
            least one value; None if any size works.

    Attributes:
        input_kind: kind of the input, ``"waveform"`` or ``"spectrogram"``.
        needs_sound: whether the input must be a true waveform, not another vector such as an embedding.
        accepts_variable_length: whether inputs may be shorter or longer in time than ``input_shape``.
        memorizes: whether the model stores the training clips, see :meth:`memorize`.
        minimum_input: minimum sizes after the channels.
        embedding_dim: size of the embedding.
        head: layers from the embedding to the logits; replaced when the classes change.
        inferred_options: options that were derived from published weights. A model built with them does not need the
            weights.

    Raises:
        IncompatibleInput: an input of the other kind, one that is not sound although ``needs_sound``, or one that is
            too small.
    """

    input_kind: ClassVar[InputKind]
    needs_sound: ClassVar[bool] = False
    memorizes: ClassVar[bool] = False
    accepts_variable_length: bool = False
    embedding_dim: int
    head: nn.Module
    inferred_options: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self, input_shape: FeatureShape, num_classes: int, *, minimum_input: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        name, kind = type(self).__name__.lower(), self.input_kind
        if input_shape.kind != kind:
            raise IncompatibleInput(
                f"{name} takes a {kind}, and the feature gives a {input_shape.kind}; "
                f"choose {OTHER_FEATURES[kind]} or a model for {input_shape.kind}s"
            )
        if self.needs_sound and not input_shape.is_sound:
            raise IncompatibleInput(
                f"{name} takes a waveform, and the feature gives a vector that is not sound; choose "
                f"{OTHER_FEATURES[kind]} or another model"
            )
        self.input_shape = input_shape
        self.num_classes = num_classes
        self.minimum_input = minimum_input or (1,) * len(REMEDIES[kind])
        for found, least, (axis, remedy) in zip(input_shape.dims[1:], self.minimum_input, REMEDIES[kind].items()):
            if found < least:
                raise IncompatibleInput(
                    f"{name} needs at least {least} {axis}, and the feature gives a {input_shape}; use {remedy}",
                    least=self.minimum_input,
                )

    @property
    def title(self) -> str:
        """Display name."""
        return type(self).__name__

    @abstractmethod
    def embed(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch embedding"]:
        """Compute the embedding of each clip, from which the head computes the logits."""

    def memorize(self, features: Float[Tensor, "clips channels ..."], targets: Tensor) -> None:
        """Store what the model needs of the training clips; called once before the first step if it ``memorizes``.

        Before that, the logits are zeros, so that a model can be built, measured and loaded without data.

        Args:
            features: features of all training clips in order, without augmentation.
            targets: their classes, int64 ``[clips]``, or rows of 0 and 1, ``[clips, classes]``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not memorize training clips")

    def quick_dims(self) -> list[int]:
        """Sizes of one clip's input for a trial run on the meta device.

        There, recurrent layers take seconds for clips of usual length, so models that have them get the shortest clip.
        """
        dims = list(self.input_shape.dims)
        if self.accepts_variable_length and any(isinstance(layer, nn.RNNBase) for layer in self.modules()):
            dims[-1] = self.minimum_input[-1]
        return dims

    def macs(self) -> int:
        """Count the multiply-accumulates for one clip: products and convolutions, not cheap element-wise operations.

        Call it on a model on the meta device: on others, fused recurrent layers hide their products from the counter.
        """
        return count_macs(self, 1, *self.input_shape.dims)

    def forward(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch classes"]:
        """Compute the logits."""
        return self.head(self.embed(x))

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Group the parameters by layer or block, from the input to the head; each parameter occurs once.

        Stages are named like their modules, without a leading ``backbone.``; the last one is ``head``. Their order is
        the order in which the modules were registered; a model that calls its modules in another order overrides this
        method. A normalization belongs to the layer before it. Some parameters are in no layer: tokens and position
        embeddings belong to the first stage; a vector of the model itself, such as the weights of a sum of stages,
        belongs to the last stage before the head.
        """
        found: dict[str, list[nn.Parameter]] = {}
        placed = set(self.head.parameters())
        for name, layer in _layers(child for child in self.named_children() if child[0] != "head"):
            if not (found and isinstance(layer, NORMALIZATIONS)):
                found[name] = []
            *_, stage = found.values()
            stage += [parameter for parameter in layer.parameters() if parameter not in placed]
            placed.update(layer.parameters())
        for name, parameter in self.named_parameters():
            if parameter not in placed:
                owner = name.rpartition(".")[0]
                inside = [stage for stage in found if stage.startswith(f"{owner}.")] or list(found) or ["head"]
                weighs = not owner and parameter.dim() == 1
                found.setdefault(inside[-1 if weighs else 0], []).append(parameter)
        stages: dict[str, list[nn.Parameter]] = {}
        for name, parameters in (*found.items(), ("head", list(self.head.parameters()))):
            stages.setdefault(name.removeprefix("backbone."), []).extend(parameters)
        return stages


def _layers(children: Iterable[tuple[str, nn.Module]], *, listed: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """Yield layers and blocks, also from within lists and modules that wrap such lists, but not from within a block.

    Args:
        children: names and modules.
        listed: whether the children are elements of a list. Each of them is a block, unless it is a list itself.
    """
    trained = [(name, child) for name, child in children if next(child.parameters(), None) is not None]
    for name, child in trained:
        is_list = isinstance(child, (nn.Sequential, nn.ModuleList))
        alone = len(trained) == 1 and next(child.children(), None) is not None
        # The exact type, because the parametrization list of a weight normalization is a subclass of ModuleList.
        wraps = alone or any(type(inner) is nn.ModuleList for inner in child.modules())
        if is_list or (wraps and not listed):
            yield from _layers(((f"{name}.{key}", part) for key, part in child.named_children()), listed=is_list)
        else:
            yield name, child
