"""What every published network is that is used as it is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.models.pretrained.package_files import PackageFile


class Backbone(nn.Module, ABC):
    """A published network from waveforms to what its layers make of them, its own front end included.

    It is built with weights at random; :meth:`load` puts the published ones in their place.

    Args:
        sample_rate: in hertz, of the waveforms: sounds of another rate than those that it was trained on are seen as
            they would be if they were brought to that rate, at the cost of their own.

    Attributes:
        title: what it is called.
        trained_rate: in hertz, of what it was trained on.
        any_rate: whether it takes sounds of other rates.
        least_seconds: length of a clip that leaves something of it.
        num_parameters: about.
        layers: channels of each layer that can be looked at, from the input to the output.
        file: the published weights.
        licence: of the weights.
        citation: of what describes it.
    """

    title: ClassVar[str]
    trained_rate: ClassVar[int]
    any_rate: ClassVar[bool] = True
    least_seconds: ClassVar[float]
    num_parameters: ClassVar[int]
    layers: ClassVar[Mapping[str, int]]
    file: ClassVar[PackageFile]
    licence: ClassVar[str]
    citation: ClassVar[str]

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.sample_rate = sample_rate

    @abstractmethod
    def forward(self, waveform: Float[Tensor, "batch time"]) -> dict[str, Float[Tensor, "batch channels frames"]]:
        """What each layer makes of the clips, over time."""

    @abstractmethod
    def load(self) -> None:
        """Take the published weights; on the meta device nothing is taken, but everything is checked.

        Raises:
            ConfigError: they are not on this machine, or damaged.
        """
