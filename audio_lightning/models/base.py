"""What every architecture is: an embedding of the front end's output, and a head on it."""

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
"""The sizes of an input behind its channels, and how each is made larger."""

NORMALIZATIONS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""Layers that belong to the one before them."""


class IncompatibleInput(ConfigError):  # noqa: N818 - it tells why two choices do not go together
    """The model and the front end's output cannot go together.

    Attributes:
        least: the sizes behind the channels that the model needs, where the output is only too small.
    """

    def __init__(self, message: str, *, least: tuple[int, ...] | None = None) -> None:
        super().__init__(message)
        self.least = least


class AudioModel(nn.Module, ABC):
    """A network that is built from the shape of its input and the number of classes.

    Subclasses call this constructor before they build layers, so that a combination that cannot work costs nothing to
    find out, then set :attr:`embedding_dim` and :attr:`head` and implement :meth:`embed`. They can be built under
    ``torch.device("meta")``.

    Args:
        input_shape: what the front end hands over.
        num_classes: number of logits.
        minimum_input: smallest sizes behind the channels, (samples,) or (bins, frames), that the layers leave something
            of; None where any size will do.

    Attributes:
        input_kind: what the model takes.
        needs_sound: whether it takes a waveform only as such, and no other row of numbers.
        accepts_variable_length: whether inputs may be shorter or longer in time than ``input_shape``.
        memorizes: whether it keeps something of the training clips, see :meth:`memorize`.
        minimum_input: smallest sizes behind the channels.
        embedding_dim: size of the embedding.
        head: layers from the embedding to the logits; the part to replace for other classes.
        inferred_options: options that follow from published weights; with them the same network can be built without
            the weights.

    Raises:
        IncompatibleInput: an input of the other kind, one that is no sound, or one that is too small.
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
                f"{name} takes a {kind}, and the feature gives a {input_shape}: "
                f"choose {OTHER_FEATURES[kind]} or a model for {input_shape.kind}s"
            )
        if self.needs_sound and not input_shape.is_sound:
            raise IncompatibleInput(
                f"{name} takes a waveform, and the feature gives a row of numbers that is none: choose "
                f"{OTHER_FEATURES[kind]} or another model"
            )
        self.input_shape = input_shape
        self.num_classes = num_classes
        self.minimum_input = minimum_input or (1,) * len(REMEDIES[kind])
        for found, least, (axis, remedy) in zip(input_shape.dims[1:], self.minimum_input, REMEDIES[kind].items()):
            if found < least:
                raise IncompatibleInput(
                    f"{name} needs at least {least} {axis}, and the feature gives a {input_shape}: use {remedy}",
                    least=self.minimum_input,
                )

    @property
    def title(self) -> str:
        """What to call it to a reader."""
        return type(self).__name__

    @abstractmethod
    def embed(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch embedding"]:
        """What the network knows of each clip before it decides."""

    def memorize(self, features: Float[Tensor, "clips channels ..."], targets: Tensor) -> None:
        """Keep what the network needs of the training clips; called once before the first step if it ``memorizes``.

        Before that, logits are zeros, so that a network can be built, measured and loaded without data.

        Args:
            features: of all training clips in order, without augmentation.
            targets: their classes, int64 ``[clips]``, or rows of 0 and 1, ``[clips, classes]``.
        """
        raise NotImplementedError(f"{type(self).__name__} keeps nothing of the training clips")

    def quick_dims(self) -> list[int]:
        """Sizes of an input behind the clips to run it once with, on the meta device.

        There, recurrent layers take seconds for clips of usual length, so these get the shortest.
        """
        dims = list(self.input_shape.dims)
        if self.accepts_variable_length and any(isinstance(layer, nn.RNNBase) for layer in self.modules()):
            dims[-1] = self.minimum_input[-1]
        return dims

    def macs(self) -> int:
        """Multiply-accumulates of one clip: products and convolutions, not cheap element-wise work.

        To be asked of a network on the meta device: elsewhere, fused recurrent layers hide what they compute.
        """
        return count_macs(self, 1, *self.input_shape.dims)

    def forward(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch classes"]:
        """Logits of every class."""
        return self.head(self.embed(x))

    def stages(self) -> dict[str, list[nn.Parameter]]:
        """Every parameter once, by the layer or block that it belongs to, from the input to the head.

        Stages are named as modules are, without a leading ``backbone.``; the last is ``head``. They are found in the
        order in which modules were registered: an architecture that registers them in another order than it calls them
        in overrides this. A normalization belongs to the layer before it. Of the parameters that are in no layer,
        tokens and positions belong to the first stage, and a vector of the network itself, which weighs what several
        stages give, to the last before the head.
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
    """Layers and blocks among modules, and in lists of them; also in what wraps such lists, but not within a block.

    Args:
        children: names and modules.
        listed: whether these are elements of a list, of which each is a block unless it is a list, too.
    """
    trained = [(name, child) for name, child in children if next(child.parameters(), None) is not None]
    for name, child in trained:
        is_list = isinstance(child, (nn.Sequential, nn.ModuleList))
        alone = len(trained) == 1 and next(child.children(), None) is not None
        # By its exact type: what a weight normalization puts into a layer derives from it.
        wraps = alone or any(type(inner) is nn.ModuleList for inner in child.modules())
        if is_list or (wraps and not listed):
            yield from _layers(((f"{name}.{key}", part) for key, part in child.named_children()), listed=is_list)
        else:
            yield name, child
