"""Grad-CAM: which layer it takes, where bins lie, and the figures of captum."""

import pytest
import torch
from torch import nn
from untrained import write_member

from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.features.cqt import CQT
from audio_lightning.features.log_mel import LogMel
from audio_lightning.features.log_mel_pcen import LogMelPCEN
from audio_lightning.features.mfcc import MFCC
from audio_lightning.features.spectrogram import Spectrogram
from audio_lightning.inference.grad_cam import _class_activation, bands_of_bins, last_feature_map
from audio_lightning.inference.load import load_classifier
from audio_lightning.inference.time_frequency import BANDS, TimeFrequencyPlane


def made(tmp_path, *overrides: str, **task) -> tuple[ClassifierNetwork, torch.Tensor]:
    found = load_classifier(write_member(tmp_path / "one.ckpt", *overrides, num_samples=16_000, **task))
    assert isinstance(found, ClassifierNetwork)
    waveform = 0.1 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    return found, found.arranged(found.front_end(waveform))


@pytest.mark.parametrize(
    ("options", "kind", "halved"),
    [
        (["model=cnn", "model.channels=[4,8,8]"], nn.ReLU, 2),
        (["model=cnn_deep", "model.channels=[4,4]", "model.strides=[1,1]"], nn.LeakyReLU, 0),
        (["model=resnet", "feature.n_mels=32"], nn.Sequential, 5),
    ],
)
def test_last_feature_map_of_convolutional_networks(tmp_path, options: list[str], kind: type, halved: int) -> None:
    classifier, features = made(tmp_path, *options)
    layer = last_feature_map(classifier.network, features)
    assert isinstance(layer, kind)
    outputs: list[torch.Tensor] = []
    layer.register_forward_hook(lambda module, _, output: outputs.append(output))
    classifier.network(features)
    assert outputs[-1].shape[2] == features.shape[2] // 2**halved or outputs[-1].shape[2] > 1


@pytest.mark.parametrize("options", [["model=lstm"], ["model=crnn"], ["model=ast", "model.num_layers=1"]])
def test_other_networks_have_no_feature_map(tmp_path, options: list[str]) -> None:
    classifier, features = made(tmp_path, *options)
    assert last_feature_map(classifier.network, features) is None


@pytest.mark.parametrize("front_end", [LogMel, LogMelPCEN, Spectrogram, CQT])
def test_bins_of_features_go_up_with_the_frequency(front_end: type) -> None:
    made = front_end(sample_rate=16_000, num_samples=16_000, normalize="none")
    band = bands_of_bins(made, TimeFrequencyPlane(16_000, 16_000))
    assert band is not None
    assert (band[1:] >= band[:-1]).all()
    assert band[-1] - band[0] >= BANDS // 2


def test_a_band_is_where_its_bins_are() -> None:
    plane = TimeFrequencyPlane(16_000, 16_000)
    band = bands_of_bins(Spectrogram(sample_rate=16_000, num_samples=16_000, normalize="none"), plane)
    assert band is not None
    hertz = torch.linspace(0, 8000, len(band))
    expected = torch.bucketize(hertz, plane.edges[1:-1])
    # Bins between two tones take the nearer one.
    assert (torch.from_numpy(band) - expected).abs().max() <= 1


def test_cepstral_coefficients_are_no_frequencies() -> None:
    made = MFCC(sample_rate=16_000, num_samples=16_000, normalize="none")
    assert bands_of_bins(made, TimeFrequencyPlane(16_000, 16_000)) is None


def test_relevance_equals_captum(tmp_path) -> None:
    captum = pytest.importorskip("captum.attr")
    classifier, features = made(tmp_path, "model=resnet", "feature.n_mels=32")  # which ends in global pooling
    layer = last_feature_map(classifier.network, features)
    assert layer is not None
    expected = captum.LayerGradCam(classifier.network, layer).attribute(features, 1)[0, 0].detach()
    torch.testing.assert_close(_class_activation(classifier.network, layer, features, 1), expected)
