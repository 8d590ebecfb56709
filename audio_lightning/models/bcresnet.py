"""BC-ResNet: residual network that broadcasts one-dimensional features in time over the frequencies."""

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel

DEPTHS = (2, 2, 4, 4)
"""Number of blocks of the four stages."""

WIDTHS = (8, 12, 16, 20)
"""Channels of the four stages at tau 1."""

STRIDES = (1, 2, 2, 1)
"""Strides in frequency of the first block of the four stages."""

BANDS = 5
"""Number of sub-bands that are normalized separately, and of rows that the classifier's kernel covers."""


class BCResNet(AudioModel):
    """BC-ResNet (Kim et al. 2021, arXiv 2106.04140), a small network for keyword spotting.

    The time axis keeps its length up to the pooling at the end. The frequency axis is halved three times. Its rows are
    normalized in five sub-bands of equal size. If the number of rows is not a multiple of five, the number of sub-bands
    is its largest divisor below five.

    Args:
        input_shape: shape of the spectrogram; in the paper 40 log-mel bins of 30 ms windows every 10 ms.
        num_classes: number of logits.
        tau: factor of all widths; in the paper 1, 1.5, 2, 3, 6 and 8.
        dropout: probability of dropping a channel at the end of a block's path in time.

    Raises:
        IncompatibleInput: the input is not a spectrogram, or has too few bins to leave five rows for the classifier.
        ConfigError: tau is too small to leave a channel.

    Example:
        >>> import torch
        >>> from audio_lightning.core.task import FeatureShape
        >>> from audio_lightning.models.bcresnet import BCResNet
        >>> model = BCResNet(FeatureShape("spectrogram", (1, 40, 101)), num_classes=12, tau=1.0)
        >>> model(torch.randn(2, 1, 40, 101)).shape
        torch.Size([2, 12])
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def __init__(self, input_shape: FeatureShape, num_classes: int, *, tau: float = 3.0, dropout: float = 0.1) -> None:
        super().__init__(input_shape, num_classes, minimum_input=(8 * (BANDS - 1) + 1, 1))
        if tau < 1 / WIDTHS[0]:
            raise ConfigError(f"bcresnet needs a tau of at least {1 / WIDTHS[0]}, got {tau}; the paper has 1 to 8")
        base, *_ = widths = [int(width * tau) for width in WIDTHS]
        rows = _halved(input_shape.dims[1])
        layers: list[nn.Module] = [
            nn.Conv2d(input_shape.channels, 2 * base, 5, stride=(2, 1), padding=2, bias=False),
            nn.BatchNorm2d(2 * base),
            nn.ReLU(),
        ]
        inputs = 2 * base
        for stage, (depth, width, stride) in enumerate(zip(DEPTHS, widths, STRIDES)):
            rows = _halved(rows) if stride == 2 else rows
            for block in range(depth):
                layers.append(_Block(inputs, width, rows, stride if block == 0 else 1, 2**stage, dropout))
                inputs = width
        self.embedding_dim = 4 * base
        self.blocks = nn.Sequential(*layers)
        self.embedding = nn.Sequential(
            nn.Conv2d(inputs, inputs, 5, padding=(0, 2), groups=inputs, bias=False),
            nn.Conv2d(inputs, self.embedding_dim, 1, bias=False),
            nn.BatchNorm2d(self.embedding_dim),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        # After the pooling, the published 1x1 convolution is a linear layer.
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Average the last convolution over frequency and time."""
        return self.embedding(self.blocks(x))


class _Block(nn.Module):
    """Sum of a path over frequency, a path over time on its mean, and the input if the shapes agree.

    Args:
        inputs: number of input channels.
        outputs: number of output channels; if it differs from ``inputs``, a 1x1 convolution comes first.
        rows: number of output rows on the frequency axis.
        stride: stride in frequency.
        dilation: dilation in time.
        dropout: probability of dropping a channel of the path over time.
    """

    def __init__(self, inputs: int, outputs: int, rows: int, stride: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.is_residual = inputs == outputs
        widen: list[nn.Module] = [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.frequency = nn.Sequential(
            *([] if self.is_residual else widen),
            nn.Conv2d(outputs, outputs, (3, 1), stride=(stride, 1), padding=(1, 0), groups=outputs, bias=False),
            _SubSpectralNorm(outputs, rows),
        )
        self.time = nn.Sequential(
            nn.Conv2d(
                outputs, outputs, (1, 3), padding=(0, dilation), dilation=(1, dilation), groups=outputs, bias=False
            ),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 1, bias=False),
            nn.Dropout2d(dropout),
        )

    def forward(self, x: Float[Tensor, "batch inputs rows_in frames"]) -> Float[Tensor, "batch outputs rows frames"]:
        in_frequency = self.frequency(x)
        out = in_frequency + self.time(in_frequency.mean(2, keepdim=True))
        return (out + x if self.is_residual else out).relu()


class _SubSpectralNorm(nn.Module):
    """Sub-spectral normalization: batch norm of each channel in each sub-band (Chang et al. 2021, arXiv 2103.13620)."""

    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.bands = max(bands for bands in range(1, BANDS + 1) if rows % bands == 0)
        self.norm = nn.BatchNorm2d(channels * self.bands)

    def forward(self, x: Float[Tensor, "batch channels rows frames"]) -> Float[Tensor, "batch channels rows frames"]:
        batch, channels, rows, frames = x.shape
        bands = x.reshape(batch, channels * self.bands, rows // self.bands, frames)
        return self.norm(bands).reshape(batch, channels, rows, frames)


def _halved(rows: int) -> int:
    """Number of rows after a padded convolution with stride 2."""
    return (rows + 1) // 2
