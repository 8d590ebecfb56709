"""Broadcasted residual network: two-dimensional where it must be, one-dimensional in time where it can."""

from jaxtyping import Float
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.base import AudioModel

DEPTHS = (2, 2, 4, 4)
"""Blocks of the four stages."""

WIDTHS = (8, 12, 16, 20)
"""Channels of the four stages at tau 1."""

STRIDES = (1, 2, 2, 1)
"""Strides in frequency with which the stages begin."""

BANDS = 5
"""Sub-bands of the spectrum, each normalized for itself, and rows that the classifier's kernel covers."""


class BCResNet(AudioModel):
    """BC-ResNet (Kim et al. 2021, arXiv 2106.04140): the most accuracy per parameter known for keywords.

    Time is never strided, and pooled at the end. The frequency axis is halved three times; its rows are normalized in
    five sub-bands, or, where a number of rows is no multiple of five, in the largest number of equal ones below that.

    Args:
        input_shape: shape of the spectrogram; the paper has 40 log-mel bins of 30 ms windows every 10 ms.
        num_classes: number of logits.
        tau: factor on all widths; the paper has 1, 1.5, 2, 3, 6 and 8.
        dropout: probability with which a whole channel is dropped at the end of a block's path in time.

    Raises:
        IncompatibleInput: the input is no spectrogram, or fewer than five rows are left for the classifier.
        ConfigError: tau is too small to leave a channel.
    """

    input_kind = "spectrogram"
    accepts_variable_length = True

    def __init__(self, input_shape: FeatureShape, num_classes: int, *, tau: float = 3.0, dropout: float = 0.1) -> None:
        super().__init__(input_shape, num_classes, minimum_input=(8 * (BANDS - 1) + 1, 1))
        if tau < 1 / WIDTHS[0]:
            raise ConfigError(f"bcresnet needs a tau of at least {1 / WIDTHS[0]}, got {tau}: the paper has 1 to 8")
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
        # After the pooling a 1x1 convolution is a linear layer.
        self.head = nn.Linear(self.embedding_dim, num_classes)

    def embed(self, x: Float[Tensor, "batch channels bins frames"]) -> Float[Tensor, "batch embedding"]:
        """Mean over frequency and time of the last convolution."""
        return self.embedding(self.blocks(x))


class _Block(nn.Module):
    """Sum of a path over frequency, one over time of its mean, and the input where that has the same shape.

    Args:
        inputs: channels that come in.
        outputs: channels that go out; where they differ, a 1x1 convolution comes first.
        rows: rows of the frequency axis that go out.
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
    """Batch normalization of each channel in each band of the spectrum (Chang et al. 2021, arXiv 2103.13620)."""

    def __init__(self, channels: int, rows: int) -> None:
        super().__init__()
        self.bands = max(bands for bands in range(1, BANDS + 1) if rows % bands == 0)
        self.norm = nn.BatchNorm2d(channels * self.bands)

    def forward(self, x: Float[Tensor, "batch channels rows frames"]) -> Float[Tensor, "batch channels rows frames"]:
        batch, channels, rows, frames = x.shape
        bands = x.reshape(batch, channels * self.bands, rows // self.bands, frames)
        return self.norm(bands).reshape(batch, channels, rows, frames)


def _halved(rows: int) -> int:
    """Rows that a padded convolution of stride two leaves."""
    return (rows + 1) // 2
