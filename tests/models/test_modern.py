"""Properties of recent architectures beyond the contract of all models."""

from functools import partial

import pytest
import torch
from torch import nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models import IncompatibleInput
from audio_lightning.models.bcresnet import BCResNet
from audio_lightning.models.kwt import KWT
from audio_lightning.models.matchboxnet import MatchboxNet
from audio_lightning.models.panns import PANNs
from audio_lightning.models.transformer import Transformer


def picture(bins: int, frames: int, channels: int = 1) -> FeatureShape:
    return FeatureShape("spectrogram", (channels, bins, frames))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("build", "shape", "num_classes", "parameters"),
    [
        (partial(BCResNet, tau=1.0), picture(40, 101), 12, 9_232),
        (partial(BCResNet, tau=2.0), picture(40, 101), 12, 27_284),
        (partial(BCResNet, tau=3.0), picture(40, 101), 12, 54_168),
        (partial(BCResNet, tau=8.0), picture(40, 101), 12, 321_068),
        # Published: 5,219,279 with a scale and a shift for each of 64 bins, which normalize the feature there.
        (partial(PANNs, channels=[64, 128, 256, 512], hidden_dim=512), picture(64, 101), 527, 5_219_279 - 128),
        # Published in thousands: 77 and 93 with 30 classes; 607, 2,394 and 5,361 with 12.
        (partial(MatchboxNet, repeats=1), picture(64, 101), 30, 77_214),
        (partial(MatchboxNet, repeats=2), picture(64, 101), 30, 92_766),
        (partial(KWT, size=1), picture(40, 98), 12, 607_308),
        (partial(KWT, size=2), picture(40, 98), 12, 2_394_252),
        (partial(KWT, size=3), picture(40, 98), 12, 5_360_844),
        (partial(KWT, size=1), picture(40, 98), 35, 608_803),
        (partial(KWT, size=2), picture(40, 98), 35, 2_397_219),
        (partial(KWT, size=3), picture(40, 98), 35, 5_365_283),
    ],
)
def test_published_sizes(build: partial, shape: FeatureShape, num_classes: int, parameters: int) -> None:
    with torch.device("meta"):
        made = build(shape, num_classes)

    assert count(made) == parameters


@pytest.mark.parametrize(("bins", "bands"), [(40, {5}), (64, {4}), (80, {5}), (41, {3, 1}), (33, {1, 3, 5})])
def test_bcresnet_normalizes_equal_bands_of_any_number_of_bins(bins: int, bands: set[int]) -> None:
    made = BCResNet(picture(bins, 9), 2, tau=1.0).eval()

    assert {module.bands for module in made.modules() if hasattr(module, "bands")} == bands
    assert made(torch.randn(1, 1, bins, 9)).shape == (1, 2)


def test_bcresnet_normalizes_each_band_separately() -> None:
    made = BCResNet(picture(40, 9), 2, tau=1.0)
    norm = next(module for module in made.modules() if hasattr(module, "bands"))
    x = torch.randn(16, 8, 20, 9) * torch.arange(1, 6).repeat_interleave(4)[:, None]

    deviation = norm(x).unflatten(2, (5, 4)).transpose(0, 2).flatten(2).std(2)

    torch.testing.assert_close(deviation, torch.ones(5, 8), atol=0.01, rtol=0)


def test_the_receptive_field_of_bcresnet_grows_in_time() -> None:
    """Each block reaches its stage's dilation to both sides, the two convolutions of five frames two more each."""
    made = BCResNet(picture(40, 101), 2, tau=1.0, dropout=0.0).eval()
    x = torch.randn(1, 1, 40, 101, requires_grad=True)

    features = made.embedding[:4](made.blocks(x))
    features[..., 50].sum().backward()

    assert x.grad is not None
    (seen,) = x.grad.abs().sum((0, 1, 2)).nonzero(as_tuple=True)
    reach = 2 + 2 * 1 + 2 * 2 + 4 * 4 + 4 * 8 + 2
    assert (seen.min(), seen.max()) == (max(0, 50 - reach), min(100, 50 + reach))


def test_bcresnet_refuses_invalid_inputs_with_the_requirement() -> None:
    with pytest.raises(IncompatibleInput, match="bcresnet needs at least 33 bins"):
        BCResNet(picture(32, 101), 12)
    with pytest.raises(ConfigError, match=r"bcresnet needs a tau of at least 0\.125, got 0\.1"):
        BCResNet(picture(40, 101), 12, tau=0.1)


@pytest.mark.parametrize("blocks", [1, 4])
def test_matchboxnet_has_the_configured_blocks(blocks: int) -> None:
    made = MatchboxNet(picture(20, 30, channels=2), 5, blocks=blocks, repeats=2, channels=8)

    kernels = [layer.kernel_size[0] for layer in made.modules() if isinstance(layer, nn.Conv1d) and layer.groups > 1]
    assert kernels == [11, *(size for size in (13, 15, 17, 19)[:blocks] for _ in range(2)), 29]
    assert made(torch.randn(3, 2, 20, 31)).shape == (3, 5)


def test_kwt_interpolates_its_positions_to_other_lengths() -> None:
    made = KWT(picture(4, 10), 3)
    ramp = torch.linspace(0, 1, 10).expand_as(made.positions)
    made.positions.data = ramp.clone()
    seen: list[torch.Tensor] = []
    made.layers = nn.Identity()
    made.layers.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))

    for frames in (10, 19):
        made(torch.zeros(1, 1, 4, frames))

    bias = made.project.bias
    torch.testing.assert_close(seen[0][0, 1:] - bias, ramp[0].mT)
    longer = (seen[1][0, 1:] - bias)[:, 0]
    assert longer[0] == longer.min()
    assert longer[-1] == longer.max()
    assert longer.diff().min() >= -1e-6
    torch.testing.assert_close(longer[9], torch.tensor(0.5))


def test_an_unknown_size_of_kwt_raises_an_error_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="size is 4, expected one of: 1, 2, 3"):
        KWT(picture(40, 98), 12, size=4)


def test_transformer_depends_on_the_order_of_frames() -> None:
    torch.manual_seed(0)
    made = Transformer(picture(8, 12), 3, embed_dim=16, num_layers=1, num_heads=2, stride=1).eval()
    made.tokens = nn.Conv1d(8, 16, 1)  # which sees one frame, wherever it is
    x = torch.randn(1, 1, 8, 12)

    assert not torch.allclose(made(x), made(x.flip(-1)), atol=1e-3)


@pytest.mark.parametrize(("stride", "frames", "tokens"), [(1, 12, 12), (2, 12, 6), (2, 13, 7), (4, 3, 1)])
def test_transformer_makes_a_token_of_each_stride(stride: int, frames: int, tokens: int) -> None:
    made = Transformer(picture(8, frames), 3, embed_dim=16, num_layers=1, num_heads=2, stride=stride)

    assert made.tokens(torch.randn(2, 8, frames)).shape == (2, 16, tokens)
    assert made(torch.randn(2, 1, 8, frames)).shape == (2, 3)


@pytest.mark.parametrize(("width", "heads"), [(16, 3), (15, 3)])
def test_transformer_refuses_an_indivisible_width(width: int, heads: int) -> None:
    with pytest.raises(ConfigError, match=f"an even embed_dim that num_heads divides, got {width} and {heads}"):
        Transformer(picture(8, 12), 3, embed_dim=width, num_heads=heads)


def test_first_stride_of_panns_reduces_macs_to_a_quarter() -> None:
    with torch.device("meta"):
        whole, strided = (PANNs(picture(64, 128), 10, first_stride=stride) for stride in (1, 2))
    assert count(whole) == count(strided)
    assert strided.macs() == pytest.approx(whole.macs() / 4, rel=0.01)
    with pytest.raises(IncompatibleInput):
        PANNs(picture(15, 128), 10, first_stride=2)
