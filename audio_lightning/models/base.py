"""What every architecture is: an embedding of the front end's output, and a head on it."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.errors import ConfigError
from audio_lightning.task import FeatureShape, InputKind

OTHER_FEATURES: dict[InputKind, str] = {"waveform": "feature=waveform", "spectrogram": "feature=logmel"}

REMEDIES: dict[InputKind, dict[str, str]] = {
    "waveform": {"samples": "longer clips"},
    "spectrogram": {"bins": "a feature with more bins", "frames": "a shorter hop or longer clips"},
}
"""The sizes of an input behind its channels, and how each is made larger."""


class IncompatibleInput(ConfigError):  # noqa: N818 - it tells why two choices do not go together
    """The model and the front end's output cannot go together."""


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
        accepts_variable_length: whether inputs may be shorter or longer in time than ``input_shape``.
        minimum_input: smallest sizes behind the channels.
        embedding_dim: size of the embedding.
        head: layers from the embedding to the logits; the part to replace for other classes.

    Raises:
        IncompatibleInput: an input of the other kind, or one that is too small.
    """

    input_kind: ClassVar[InputKind]
    accepts_variable_length: ClassVar[bool] = False
    embedding_dim: int
    head: nn.Module

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
        self.input_shape = input_shape
        self.num_classes = num_classes
        self.minimum_input = minimum_input or (1,) * len(REMEDIES[kind])
        for found, least, (axis, remedy) in zip(input_shape.dims[1:], self.minimum_input, REMEDIES[kind].items()):
            if found < least:
                raise IncompatibleInput(
                    f"{name} needs at least {least} {axis}, and the feature gives a {input_shape}: use {remedy}"
                )

    @abstractmethod
    def embed(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch embedding"]:
        """What the network knows of each clip before it decides."""

    def forward(self, x: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch classes"]:
        """Logits of every class."""
        return self.head(self.embed(x))
