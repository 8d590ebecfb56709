"""Architectures of published systems: sizes, options, filters."""

import math
from typing import Any

import choices
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models import IncompatibleInput
from audio_lightning.models.cnn_deep import CNNDeep
from audio_lightning.models.conv1d import Conv1D
from audio_lightning.models.conv1d_vgg import Conv1DVGG
from audio_lightning.models.conv2d_vgg import Conv2DVGG
from audio_lightning.models.lstm import LSTM
from audio_lightning.models.sincnet import SincFilters, SincNet
from audio_lightning.models.vision import SqueezeNet

MFCC = FeatureShape("spectrogram", (1, 13, 49))

INSTRUMENTS_CNN: dict[str, Any] = {
    "channels": [16, 32],
    "strides": [1, 1],
    "padding": False,
    "batch_norm": True,
    "negative_slope": 0.0,
    "pooled": None,
    "mlp_dims": [512, 64],
}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def on_meta(name: str, shape: FeatureShape, num_classes: int, **changes: Any) -> nn.Module:
    with torch.device("meta"):
        return choices.model(name, shape, num_classes=num_classes, **changes)


@pytest.mark.parametrize(
    ("name", "dims", "num_classes", "changes", "parameters"),
    [
        ("conv1d_vgg", (1, 8000), 12, {}, 34_681_196),
        ("conv1d_vgg", (1, 16380), 12, {}, 68_956_524),
        ("conv1d_vgg_skip", (1, 8000), 12, {}, 63_611_244),
        ("conv2d_vgg", (1, 130, 126), 12, {}, 20_847_212),
        ("conv1d", (1, 8000), 10, {}, 1_611_498),
        ("cnn_deep", (1, 13, 49), 14, INSTRUMENTS_CNN, 6_674_670),
        ("resnet", (1, 128, 44), 14, {}, 11_177_422),
        ("lstm", (1, 13, 49), 14, {}, 21_806),
    ],
)
def test_a_system_has_the_described_size(
    name: str, dims: tuple[int, ...], num_classes: int, changes: dict[str, Any], parameters: int
) -> None:
    shape = FeatureShape("waveform" if len(dims) == 2 else "spectrogram", dims)

    assert count(on_meta(name, shape, num_classes, **changes)) == parameters


# Options


def test_the_deep_cnn_pools_to_a_fixed_size_or_takes_one_length_only() -> None:
    pooled, whole = CNNDeep(MFCC, 4), CNNDeep(MFCC, 4, **INSTRUMENTS_CNN)

    assert (pooled.accepts_variable_length, whole.accepts_variable_length) == (True, False)
    assert pooled(torch.zeros(2, 1, 13, 20)).shape == (2, 4)
    with pytest.raises(RuntimeError):
        whole(torch.zeros(2, 1, 13, 20))


@pytest.mark.parametrize(
    ("strides", "padding", "least"), [([1, 1], False, 5), ([2, 1, 2], False, 11), ([2, 2, 2], True, 1)], ids=str
)
def test_minimum_input_of_the_deep_cnn_is_exact(strides: list[int], padding: bool, least: int) -> None:
    options: dict[str, Any] = {"channels": [2] * len(strides), "strides": strides, "padding": padding}
    made = CNNDeep(FeatureShape("spectrogram", (1, least, least)), 3, pooled=None, mlp_dims=[4], **options)

    assert made(torch.zeros(2, 1, least, least)).shape == (2, 3)
    if least > 1:
        with pytest.raises(IncompatibleInput, match=f"needs at least {least} frames.*; use a shorter hop or longer"):
            CNNDeep(FeatureShape("spectrogram", (1, least, least - 1)), 3, **options)


@pytest.mark.parametrize(
    ("model", "shape", "options", "message"),
    [
        (CNNDeep, MFCC, {"strides": [1]}, "cnndeep has 5 channels and 1 strides; give one stride for each convolution"),
        (CNNDeep, MFCC, {"pooled": [4]}, r"found pooled=\[4\]; give two sizes"),
        (Conv1D, FeatureShape("waveform", (1, 8000)), {"channels": [8]}, "1 channels and 4 kernel_sizes; give one"),
        (
            Conv1DVGG,
            FeatureShape("waveform", (1, 8000)),
            {"num_layers": [2]},
            "4 channels and 1 num_layers; give",
        ),
        (
            Conv2DVGG,
            FeatureShape("spectrogram", (1, 64, 64)),
            {"num_layers": [2]},
            "4 channels and 1 num_layers; give",
        ),
        (
            SqueezeNet,
            FeatureShape("spectrogram", (1, 64, 64)),
            {"version": 1.2},
            "version is 1.2, expected one of: 1.0",
        ),
    ],
)
def test_inconsistent_options_raise_an_error_with_the_reason(
    model: type, shape: FeatureShape, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        model(shape, 3, **options)


@torch.no_grad()
def test_skip_connections_concatenate_the_channels_of_earlier_groups() -> None:
    made = Conv1DVGG(FeatureShape("waveform", (1, 16)), 3, channels=[2, 3, 5], num_layers=[1, 1, 1], skip=True)

    assert [group[0].in_channels for group in made.groups] == [1, 2, 3 + 2]
    assert made.embedding[2].in_features == (5 + 3 + 2) * 2
    assert made.eval()(torch.zeros(2, 1, 16)).shape == (2, 3)


@pytest.mark.parametrize("name", ["lstm", "crnn"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_recurrent_networks_depend_on_the_order_of_frames(name: str, cell: str, bidirectional: bool) -> None:
    made = choices.model(name, MFCC, cell=cell, bidirectional=bidirectional, num_layers=2, dropout=0.5).eval()
    x = torch.randn(2, *MFCC.dims, generator=torch.Generator().manual_seed(0))

    assert made.recurrent.bidirectional == bidirectional
    assert made.recurrent.weight_ih_l0.shape[0] == made.recurrent.hidden_size * {"lstm": 4, "gru": 3}[cell]
    assert not torch.allclose(made(x), made(x.flip(-1)), atol=1e-5)


@torch.no_grad()
def test_the_lstm_uses_the_normalized_last_state_of_every_layer() -> None:
    made = LSTM(MFCC, 14).eval()
    made.norm.running_mean.copy_(torch.arange(16.0))
    x = torch.randn(2, *MFCC.dims, generator=torch.Generator().manual_seed(0))

    _, (states, _) = made.recurrent(x[:, 0].transpose(1, 2))
    expected = (states - torch.arange(16.0)) / math.sqrt(1 + made.norm.eps)

    seen: list[Tensor] = []
    made.linear[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    made(x)
    torch.testing.assert_close(seen[0], expected.permute(1, 2, 0).flatten(1))


# SincNet


def published_kernels(low_hz: np.ndarray, band_hz: np.ndarray, size: int, rate: int) -> np.ndarray:
    """The formula of the paper's implementation, in float64."""
    low = 50 + np.abs(low_hz)
    high = np.clip(low + 50 + np.abs(band_hz), 50, rate / 2)
    time = 2 * np.pi * np.arange(-(size - 1) / 2, 0) / rate
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.linspace(0, size / 2 - 1, size // 2) / size)
    left = (np.sin(np.outer(high, time)) - np.sin(np.outer(low, time))) / (time / 2) * window
    band = (high - low)[:, None]
    return np.hstack([left, 2 * band, left[:, ::-1]]) / (2 * band)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@torch.no_grad()
def test_the_filters_of_sincnet_equal_the_published_ones(rate: int) -> None:
    mel = np.linspace(2595 * np.log10(1 + 30 / 700), 2595 * np.log10(1 + (rate / 2 - 100) / 700), 81)
    edges = 700 * (10 ** (mel / 2595) - 1)
    made = SincNet(FeatureShape("waveform", (1, rate)), 3, sample_rate=rate).filters

    np.testing.assert_allclose(made.low_hz.numpy(), edges[:-1], rtol=1e-5)
    np.testing.assert_allclose(made.band_hz.numpy(), np.diff(edges), rtol=1e-5)
    expected = published_kernels(edges[:-1], np.diff(edges), 251, rate)
    np.testing.assert_allclose(made.kernels().numpy(), expected, atol=2e-4)

    made.low_hz.neg_()
    made.band_hz.mul_(-3)
    low, high = made.edges()
    assert (low >= 50).all()
    assert (high <= rate / 2).all()
    assert (high > low).all(), "a learned edge may turn its sign, but no band upside down"


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@torch.no_grad()
def test_a_filter_of_sincnet_passes_only_its_band(rate: int) -> None:
    filters = SincFilters(10, 251, rate)
    low, high = filters.edges()
    spectrum = torch.fft.rfft(filters.kernels().double(), n=8192).abs() * 2 * (high - low)[:, None] / rate
    hertz = torch.fft.rfftfreq(8192, 1 / rate)
    slope = 2 * rate / 251  # half the main lobe of a Hamming window

    for response, lower, upper in zip(spectrum, low, high):
        outside = (hertz < lower - slope) | (hertz > upper + slope)
        inside = (hertz > lower + slope) & (hertz < upper - slope)
        assert response[outside].max() < 0.02
        torch.testing.assert_close(response[inside], torch.ones_like(response[inside]), atol=0.02, rtol=0)
    assert ((high - low) > 2 * slope).any(), "no band is wide enough for its inside to be looked at"


def test_an_even_filter_of_sincnet_is_made_odd_and_each_channel_is_filtered() -> None:
    made = SincNet(FeatureShape("waveform", (2, 1000)), 3, filters=4, filter_size=100)
    x = torch.randn(1, 2, 1000, generator=torch.Generator().manual_seed(0))

    assert made.filters.kernels().shape == (4, 101)
    both, second = made.filters(x), made.filters(x[:, 1:])
    torch.testing.assert_close(both[:, 4:], second)
