"""PANNs, compared with outputs of their authors' program for the same sound."""

import math
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.pretrained.panns import CNN6, CNN10, CNN14, PANN, CNN14At8kHz, CNN14At16kHz
from audio_lightning.models.pretrained.published_files import PublishedFile

ALL: list[type[PANN]] = [CNN6, CNN10, CNN14, CNN14At16kHz, CNN14At8kHz]
WIDE = (64, 128, 256, 512, 1024, 2048)
NARROW = tuple(width // 16 for width in WIDE)
LEAST = (1,)
"""Widths of a network whose front end is tested."""


def sound(rate: int) -> Tensor:
    """A rising tone, one that begins after half a second, and noise; the last hop is not whole."""
    t = np.arange(int(1.503 * rate)) / rate
    tones = 0.4 * np.sin(2 * np.pi * (200 * t + 900 * t * t)) + 0.2 * np.sin(2 * np.pi * 3000 * t) * (t > 0.5)
    return torch.from_numpy((tones + 0.05 * np.random.RandomState(7).randn(len(t))).astype(np.float32))[None]


def fill(network: nn.Module) -> None:
    """Deterministic weights, derived from the name of each tensor."""
    for name, tensor in network.state_dict().items():
        if not tensor.dtype.is_floating_point:
            continue
        drawn = np.random.RandomState(zlib.crc32(name.encode())).randn(tensor.numel())
        value = torch.from_numpy(drawn).reshape(tensor.shape)
        if tensor.dim() > 1:
            value = value * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            value = (400 if name.startswith("bn0") else 1) * (1 + 0.1 * value.abs())
        elif name.endswith("weight"):
            value = 1 + 0.1 * value
        else:
            value = 0.1 * value + {"bn0.running_mean": -20, "fc1.bias": 2}.get(name, 0)
        tensor.copy_(value)


# panns_inference 0.1.1 on torchlibrosa 0.1.0, with librosa's filters: weights of two frequencies in each of five bands,
# and the sum of all.
MEL: dict[type[PANN], tuple[list[tuple[int, int, float]], float]] = {
    CNN14: (
        [(0, 3, 0.01501181), (15, 29, 0.01594725), (30, 67, 0.00738418), (45, 156, 0.00350856), (63, 424, 0.00134121),
         (0, 4, 0.01131285), (15, 30, 0.01037741), (30, 68, 0.00737704), (45, 157, 0.00309388), (63, 425, 0.00128533)],
        2.04812618,
    ),
    CNN14At16kHz: (
        [(0, 3, 0.02100644), (15, 25, 0.02140084), (30, 52, 0.01144423), (45, 105, 0.0060881), (63, 244, 0.00272573),
         (0, 4, 0.00781349), (15, 26, 0.00639624), (30, 53, 0.00616262), (45, 106, 0.0048011), (63, 245, 0.00260103)],
        2.04934782,
    ),
    CNN14At8kHz: (
        [(0, 3, 0.02154593), (15, 20, 0.02009505), (30, 37, 0.02135211), (45, 64, 0.01311975), (63, 123, 0.00643586),
         (0, 4, 0.0), (15, 21, 0.0), (30, 38, 0.00871032), (45, 65, 0.00851248), (63, 124, 0.00622554)],
        2.04840896,
    ),
}  # fmt: skip

# Decibels of frames 0, 1, 40, 100 and 150 in bands 0, 5, 20, 40 and 63 of sound().
DECIBELS: dict[type[PANN], list[list[float]]] = {
    CNN14: [
        [14.6506, 3.0119, -18.0749, -13.6455, -14.133],
        [3.8158, -5.943, -14.884, -15.6148, -15.4024],
        [-12.6463, -17.9124, -17.6808, -15.8555, -15.0399],
        [-18.2823, -16.714, -15.2258, -17.8769, -16.0212],
        [-24.6, -16.8866, -10.5247, -13.3688, -14.678],
    ],
    CNN14At16kHz: [
        [8.0686, 1.0995, -18.6225, -21.7377, -19.8483],
        [-3.0449, -8.4776, -19.0446, -20.7465, -19.4409],
        [-19.1667, -16.4747, -4.1096, -20.4644, -19.1556],
        [-15.8911, -18.0893, -14.9327, -16.3837, -18.6949],
        [-13.168, -22.4492, -18.4443, -8.3526, -16.6251],
    ],
    CNN14At8kHz: [
        [1.3515, 7.5904, -18.5115, -25.2453, -23.9546],
        [-8.372, 6.1472, -21.5959, -21.62, -25.5149],
        [-18.5689, -21.5879, -20.1021, -24.0021, -24.847],
        [-21.234, -14.7066, -22.2958, -23.1882, -19.2396],
        [-22.8623, -24.9204, -17.5148, -24.617, -13.1399],
    ],
}

# The first of each eighth of the embedding of sound(), with weights of fill(); CNN14 a sixteenth as wide. The package
# has no CNN6 and CNN10: those are the authors' program at github.com/qiuqiangkong/audioset_tagging_cnn.
EMBEDDINGS: dict[type[PANN], list[float]] = {
    CNN6: [3.412208, 4.462211, 0.804746, 1.146018, 1.142847, 1.636819, 1.556721, 0.293418],
    CNN10: [2.45052, 2.355757, 0.33469, 0.919384, 1.870529, 1.614704, 1.45257, 0.254243],
    CNN14: [2.279414, 1.45144, 1.518231, 2.815378, 2.046215, 2.630337, 2.857916, 2.34661],
    CNN14At16kHz: [2.278554, 1.44805, 1.520069, 2.819124, 2.046683, 2.627334, 2.856424, 2.34482],
    CNN14At8kHz: [2.276237, 1.452826, 1.532796, 2.823741, 2.04465, 2.622259, 2.861553, 2.336721],
}


@pytest.mark.parametrize("cls", MEL)
def test_bands_are_those_of_librosa(cls: type[PANN]) -> None:
    weights, (points, total) = cls(widths=LEAST).weights, MEL[cls]
    assert weights.shape == (64, cls.trained_rate * 16 // 1000 + 1)
    bands, frequencies, values = zip(*points)
    torch.testing.assert_close(weights[list(bands), list(frequencies)], torch.tensor(values), atol=1e-6, rtol=0)
    assert weights.double().sum().item() == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("cls", DECIBELS)
def test_spectrograms_are_those_of_the_authors(cls: type[PANN]) -> None:
    seen = cls(widths=LEAST).spectrogram(sound(cls.trained_rate))
    assert seen.shape == (1, 64, 151)
    found = seen[0, [0, 5, 20, 40, 63]][:, [0, 1, 40, 100, 150]].T
    torch.testing.assert_close(found, torch.tensor(DECIBELS[cls]), atol=2e-3, rtol=0)


@pytest.mark.parametrize("cls", ALL)
def test_embeddings_are_those_of_the_authors(cls: type[PANN]) -> None:
    network = cls(widths=NARROW if issubclass(cls, CNN14) else None).eval()
    fill(network)
    with torch.no_grad():
        found = network(sound(cls.trained_rate))
    assert {name: x.shape[1] for name, x in found.items()} == dict(network.layers)
    assert found["embedding"].shape[2] == 1
    embedding = found["embedding"][0, :: network.layers["embedding"] // 8, 0]
    torch.testing.assert_close(embedding, torch.tensor(EMBEDDINGS[cls]), atol=2e-5, rtol=0)
    *_, block = (x for name, x in found.items() if name != "embedding")
    pooled = nn.functional.linear(block.mean(2) + block.amax(2), network.fc1.weight, network.fc1.bias).relu()
    torch.testing.assert_close(pooled, found["embedding"][..., 0])


def published_shapes(widths: tuple[int, ...], kernel: int, convolutions: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the stored tensors, without the authors' front end and the classifier."""
    norms: dict[str, int] = {"bn0": 64}
    shapes: dict[str, tuple[int, ...]] = {"fc1.weight": (widths[-1], widths[-1]), "fc1.bias": (widths[-1],)}
    for block, (inputs, outputs) in enumerate(pairwise((1, *widths)), 1):
        for n in range(1, convolutions + 1):
            shapes[f"conv_block{block}.conv{n}.weight"] = (outputs, inputs if n == 1 else outputs, kernel, kernel)
            norms[f"conv_block{block}.bn{n}"] = outputs
    for norm, width in norms.items():
        shapes |= {f"{norm}.{name}": (width,) for name in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{norm}.num_batches_tracked"] = ()
    return shapes


@pytest.mark.parametrize(
    ("cls", "widths", "kernel", "convolutions", "count"),
    [(CNN6, WIDE[:4], 5, 1, 31), (CNN10, WIDE[:4], 3, 2, 55)]
    + [(cls, WIDE, 3, 2, 79) for cls in (CNN14, CNN14At16kHz, CNN14At8kHz)],
)
def test_networks_have_the_published_tensors(
    cls: type[PANN], widths: tuple[int, ...], kernel: int, convolutions: int, count: int
) -> None:
    with torch.device("meta"):
        network = cls()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert shapes == published_shapes(widths, kernel, convolutions)
    assert len(shapes) == count
    assert dict(network.layers) == {f"conv_block{n}": w for n, w in enumerate(widths, 1)} | {"embedding": widths[-1]}
    assert sum(x.numel() for x in network.parameters()) == pytest.approx(cls.num_parameters, rel=1e-3)


def chord(rate: int) -> Tensor:
    """Four tones that fade in and out."""
    t = torch.arange(2 * rate, dtype=torch.float64) / rate
    tones = sum(0.2 * torch.sin(2 * math.pi * hertz * t) for hertz in (220.0, 1000.0, 2100.0, 3100.0))
    return (tones * torch.sin(math.pi * t / 2) ** 2)[None].float()


# At 44.1 kHz a window is 0.06 % longer, an even number of samples; at 22.05 kHz also a hop is 0.23 % shorter.
@pytest.mark.parametrize(
    ("cls", "rate", "decibels"),
    [
        (CNN10, 48_000, 1e-3), (CNN10, 44_100, 0.1), (CNN10, 22_050, 0.4), (CNN10, 16_000, 1e-3), (CNN10, 8000, 1e-3),
        (CNN14At16kHz, 44_100, 0.15), (CNN14At16kHz, 8000, 1e-3), (CNN14At8kHz, 44_100, 0.4),
    ],
)  # fmt: skip
def test_another_sample_rate_gives_nearly_the_features_of_the_resampled_sound(
    cls: type[PANN], rate: int, decibels: float
) -> None:
    expected = cls(widths=LEAST).spectrogram(chord(cls.trained_rate))[0, :, 3:-3]
    found = cls(rate, widths=LEAST).spectrogram(chord(rate))[0, :, 3 : expected.shape[1] + 3]
    loud = expected > expected.max() - 20
    torch.testing.assert_close(found[loud], expected[loud], atol=decibels, rtol=0)
    if rate == 8000:  # and nothing is left above 4 kHz
        assert (found[-5:] == -100).all()


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("cls", [CNN6, CNN14, CNN14At16kHz])
def test_the_shortest_clip_leaves_a_frame_of_each_layer(cls: type[PANN], rate: int) -> None:
    with torch.device("meta"):
        found = cls(rate)(torch.empty(2, math.ceil(cls.least_seconds * rate)))
    assert {name: (len(x), x.shape[1]) for name, x in found.items()} == {n: (2, w) for n, w in cls.layers.items()}
    assert all(x.shape[2] for x in found.values())


def test_all_weights_are_trained_with_dropout() -> None:
    network = CNN14(widths=NARROW).train()
    waveform = sound(32_000).repeat(2, 1)
    torch.manual_seed(0)
    first, second = network(waveform)["embedding"]
    assert not torch.equal(first, second)
    (first - second).square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    off = CNN14(widths=NARROW, block_dropout=0, dropout=0).train()
    torch.testing.assert_close(*off(waveform)["embedding"])


def publish(network: PANN, path: Path) -> dict[str, Any]:
    """Write a file as the authors did, with NumPy 1: front end, classifier and order of the clips included."""
    state = network.state_dict() | {"logmel_extractor.melW": torch.zeros(513, 64), "fc_audioset.bias": torch.zeros(527)}
    sampler = {"indexes_per_class": [np.arange(5), np.arange(3)], "queue": [3, 1], "pointers_of_classes": [0, 0]}
    torch.save({"iteration": 600_000, "model": state, "sampler": sampler}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    return state


@pytest.mark.published
def test_published_weights_are_loaded_from_larger_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIO_LIGHTNING_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(CNN14, "file", PublishedFile("https://nowhere.invalid/w.pth", 1))
    state = publish(CNN14(widths=NARROW), tmp_path / "w.pth")
    network = CNN14(widths=NARROW)
    network.load()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    with torch.device("meta"):
        CNN14(widths=NARROW).load()
    with pytest.raises(ConfigError, match=r"w\.pth contains no weights of CNN14 of PANNs: .*size mismatch"):
        CNN14(widths=NARROW[::-1]).load()
    del state["fc1.bias"]
    torch.save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"w\.pth contains no weights of CNN14 of PANNs: 'fc1\.bias' is missing"):
        network.load()


@pytest.mark.published
@pytest.mark.parametrize("cls", ALL)
def test_the_published_files_fit(cls: type[PANN]) -> None:
    if not cls.file.is_here:
        pytest.skip(cls.file.remedy)
    network = cls().eval()
    network.load()
    with torch.no_grad():
        embedding = network(sound(cls.trained_rate))["embedding"]
    assert torch.isfinite(embedding).all()
    assert embedding.amax() > 0
