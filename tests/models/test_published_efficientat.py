"""EfficientAT, compared with outputs of its authors' program for the same sounds."""

import hashlib
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.pretrained.efficientat import MN04, MN05, MN10, MN20, MN40, RATE, EfficientAT, Spectrogram
from audio_lightning.models.pretrained.efficientat_dynamic import DyMN04, DyMN10, DyMN20
from audio_lightning.models.pretrained.published_files import PublishedFile

NETWORKS: list[type[EfficientAT]] = [MN04, MN05, MN10, MN20, MN40, DyMN04, DyMN10, DyMN20]


def sounds(samples: int = 32_123) -> Tensor:
    """A rising tone, one that begins after half a second, a third one, and noise; the same backwards, and softer."""
    t = np.arange(samples) / RATE
    tones = 0.4 * np.sin(2 * np.pi * (200 * t + 900 * t * t)) + 0.2 * np.sin(2 * np.pi * 5000 * t) * (t > 0.5)
    noise = 0.05 * np.random.RandomState(7).randn(samples)
    clip = (tones + noise + 0.05 * np.sin(2 * np.pi * 13_000 * t)).astype(np.float32)
    return torch.from_numpy(np.stack([clip, 0.1 * clip[::-1]]))


@torch.no_grad()
def fill(network: nn.Module) -> None:
    """Deterministic weights, derived from the name of each tensor."""
    for name, tensor in network.state_dict().items():
        if not tensor.dtype.is_floating_point or name.endswith(("lambdas", "init_v")):
            continue
        drawn = np.random.RandomState(zlib.crc32(name.encode())).randn(tensor.numel())
        value = torch.from_numpy(drawn).reshape(tensor.shape)
        if tensor.dim() > 1:
            value = value * (0.5 if tensor.shape[:2] == (1, 1) else (2 / tensor[0].numel()) ** 0.5)
        elif name.endswith("running_var"):
            value = 1 + 0.1 * value.abs()
        else:
            value = 1 + 0.1 * value if name.endswith("weight") else 0.1 * value
        tensor.copy_(value)


# EfficientAT (commits 138342a, 06b2e93 and dea76ee), with torchaudio 2.11, on sounds().
SPECTROGRAMS = [
    [
        [0.301150, 0.584561, 0.340941, 0.432520, 1.168822, 1.560288],
        [-0.486651, -0.702970, -0.294448, 0.450897, 1.286235, 1.502152],
        [-1.027605, -0.815744, -0.537292, 0.797238, 1.258903, 1.605685],
        [-0.738209, -0.623253, -0.056450, 0.402451, 1.048669, 1.661955],
        [0.233156, 0.455276, 0.604492, 0.885444, 1.001542, 1.502736],
    ],
    [
        [-0.558441, -0.362651, -0.166813, 0.190723, -0.001099, 0.565091],
        [-1.253084, -1.333019, -1.128637, -0.542952, 0.348818, 0.616952],
        [-1.379717, -1.312724, -1.269248, -0.424722, 0.347235, 0.734242],
        [-1.360748, -1.210229, -1.062540, -0.435508, 0.438331, 0.729319],
        [-0.568823, -0.323611, -0.919827, -0.619206, 0.255592, 0.634977],
    ],
]

# Every 32nd value of the embedding that its networks, with weights of fill(), make of them.
EMBEDDINGS: dict[type[EfficientAT], list[list[float]]] = {
    MN04: [
        [
            -0.228080,
            -0.177691,
            -0.201355,
            -0.042128,
            -0.047771,
            0.096104,
            0.329682,
            -0.082590,
            0.179550,
            0.120516,
            -0.007416,
            -0.117718,
        ],
        [
            -0.162081,
            0.327046,
            -0.146591,
            0.229597,
            0.272913,
            -0.133102,
            0.648359,
            -0.019197,
            0.134160,
            0.956683,
            0.222692,
            -0.043336,
        ],
    ],
    DyMN04: [
        [
            -0.035874,
            0.463091,
            -0.196832,
            -0.097368,
            2.576422,
            -0.199927,
            0.147505,
            -0.185235,
            0.070505,
            2.509950,
            1.321524,
            -0.208856,
        ],
        [
            -0.035369,
            0.469731,
            -0.175152,
            -0.081615,
            2.641009,
            -0.195328,
            0.164957,
            -0.179644,
            0.098540,
            2.688373,
            1.353438,
            -0.193824,
        ],
    ],
}

# The last frame of some channels of other layers, of the second clip.
LAYERS: dict[type[EfficientAT], dict[str, list[float]]] = {
    MN04: {
        "block5": [-0.102021, 0.076206, -0.065305, -0.158268],
        "block11": [0.920770, -0.353576, -0.129761],
        "block13": [-0.065469, 0.025859, -0.057152, 0.247171],
        "block15": [0.216481, -0.055508, -0.021776, 0.632692],
    },
    DyMN04: {
        "block5": [0.045331, -0.216195, -0.024280, 0.097212],
        "block11": [0.268966, 0.051330, 0.082284],
        "block13": [-0.143326, -0.448184, 0.356632, -0.386687],
        "block15": [-0.054080, -0.627297, 0.547593, -2.816840],
    },
}


def test_the_spectrogram_is_that_of_its_authors() -> None:
    seen = Spectrogram(RATE)(sounds())
    assert seen.shape == (2, 128, 101)
    found = seen[:, [0, 3, 20, 60, 100, 127]][:, :, [0, 1, 30, 60, 100]].mT
    torch.testing.assert_close(found, torch.tensor(SPECTROGRAMS), atol=1e-4, rtol=0)


@pytest.mark.parametrize("cls", [MN04, DyMN04])
def test_a_network_equals_the_reference(cls: type[EfficientAT]) -> None:
    network = cls().eval()
    fill(network.network)
    with torch.no_grad():
        found = network(sounds())
    assert {name: x.shape[1] for name, x in found.items()} == cls.layers
    torch.testing.assert_close(found["embedding"].mean(2)[:, ::32], torch.tensor(EMBEDDINGS[cls]), atol=1e-4, rtol=1e-4)
    for name, expected in LAYERS[cls].items():
        step = max(1, cls.layers[name] // 3)
        torch.testing.assert_close(found[name][1, ::step, -1], torch.tensor(expected), atol=1e-4, rtol=1e-4)


# Number of the tensors, and what their names and shapes hash to, without the classifier.
TENSORS: dict[type[EfficientAT], tuple[int, str]] = {
    MN04: (308, "02944aa3a6d90104"),
    MN05: (308, "251628157a925741"),
    MN10: (308, "9a40a15561567908"),
    MN20: (308, "beb36aa2db49d089"),
    MN40: (308, "676127f0a3bc868f"),
    DyMN04: (574, "8221b41b134cb9bf"),
    DyMN10: (574, "2e6401ef941d21e4"),
    DyMN20: (574, "d939fefa6d0e8fa3"),
}


@pytest.mark.parametrize("cls", NETWORKS)
def test_a_network_has_the_published_tensors(cls: type[EfficientAT]) -> None:
    with torch.device("meta"):
        network = cls()
    shapes = sorted(f"{name} {list(tensor.shape)}" for name, tensor in network.network.state_dict().items())
    assert (len(shapes), hashlib.sha256("\n".join(shapes).encode()).hexdigest()[:16]) == TENSORS[cls]
    assert network.state_dict().keys() == {f"network.{shape.partition(' ')[0]}" for shape in shapes}
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(cls.num_parameters, rel=3e-3)


@pytest.mark.parametrize("cls", [MN40, DyMN20])
def test_the_shapes_of_layers_are_known_without_weights(cls: type[EfficientAT]) -> None:
    with torch.device("meta"), torch.no_grad():
        found = cls()(torch.zeros(2, RATE))
    frames = {"block5": 13, "block11": 7, "block13": 4, "block15": 4, "embedding": 4}
    expected = {name: (2, width, frames[name]) for name, width in cls.layers.items()}
    assert {name: tuple(x.shape) for name, x in found.items()} == expected


# Channels that come in, between and that go out, size of the kernels; values of squeeze-and-excitation and context.
BLOCKS = """
    16 16 16 3 0 32,     16 64 24 3 0 32,     24 72 24 3 0 32,      24 72 40 5 24 32,     40 120 40 5 32 32
    40 120 40 5 32 32,   40 240 80 3 0 64,    80 200 80 3 0 48,     80 184 80 3 0 48,     80 184 80 3 0 48
    80 480 112 3 120 120, 112 672 112 3 168 128, 112 672 160 5 168 128, 160 960 160 5 240 128, 160 960 160 5 240 128
"""


def blocks() -> list[list[int]]:
    """The rows of the table."""
    return [[int(number) for number in row.split()] for row in BLOCKS.replace("\n", ",").split(",") if row.strip()]


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a batch normalization."""
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in names} | {f"{name}.num_batches_tracked": ()}


def convolution(name: str, outputs: int, inputs: int, kernel: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a convolution and the normalization after it."""
    return {f"{name}.0.weight": (outputs, inputs, kernel, kernel)} | norm(f"{name}.1", outputs)


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a linear layer."""
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def test_mn10_is_built_as_published() -> None:
    expected = convolution("features.0", 16, 1, 3) | convolution("features.16", 960, 160, 1)
    for number, (inputs, between, outputs, kernel, squeezed, _) in enumerate(blocks(), 1):
        rows = [(between, inputs, 1)] if inputs != between else []
        names = [f"features.{number}.block.{place}" for place in range(4)]
        for row in [*rows, (between, 1, kernel)]:
            expected |= convolution(names.pop(0), *row)
        if squeezed:
            gate = f"{names.pop(0)}.conc_se_layers.0"
            expected |= linear(f"{gate}.fc1", squeezed, between) | linear(f"{gate}.fc2", between, squeezed)
        expected |= convolution(names.pop(0), outputs, between, 1)
    with torch.device("meta"):
        state = MN10().network.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected
    # The published file has 312 tensors of 4,901,277 numbers; these are those of the classifier.
    classifier = [(1280, 960), (1280,), (527, 1280), (527,)]
    assert len(state) + len(classifier) == 312
    assert sum(tensor.numel() for tensor in state.values()) + sum(map(math.prod, classifier)) == 4_901_277


def test_dymn10_is_built_as_published() -> None:
    expected = convolution("in_c", 16, 1, 3) | convolution("out_c", 960, 160, 1)
    for number, (inputs, between, outputs, kernel, _, context) in enumerate(blocks()):
        parts = {"depth": (between, 1, kernel), "proj": (outputs, between, 1)}
        parts |= {"exp": (between, inputs, 1)} if inputs != between else {}
        name = f"layers.{number}"
        for part, (leaving, entering, size) in parts.items():
            expected[f"{name}.{part}_conv.weight"] = (1, 1, 4, leaving * entering * size * size)
            expected |= linear(f"{name}.{part}_conv.residuals.0", 4, context) | norm(f"{name}.{part}_norm", leaving)
        expected |= linear(f"{name}.depth_act.coef_net.0", 4 * between, context)
        expected |= {f"{name}.depth_act.{constant}": (4,) for constant in ("lambdas", "init_v")}
        gates = f"{name}.context_gen"
        expected |= {f"{gates}.joint_conv.weight": (context, inputs, 1, 1)} | norm(f"{gates}.joint_norm", context)
        for gate in ("conv_f", "conv_t"):
            expected |= {f"{gates}.{gate}.weight": (between, context, 1, 1), f"{gates}.{gate}.bias": (between,)}
    with torch.device("meta"):
        state = DyMN10().network.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected


# Lengths are whole numbers of samples: at 22.05 and 44.1 kHz, windows are 0.1 % longer or shorter.
@pytest.mark.parametrize(
    ("rate", "tolerance"), [(8000, 0.01), (16_000, 5e-3), (22_050, 0.03), (44_100, 0.03), (48_000, 5e-3)]
)
def test_another_sample_rate_gives_nearly_the_features_of_the_resampled_sound(rate: int, tolerance: float) -> None:
    def chord(rate: int) -> Tensor:
        t = torch.arange(2 * rate, dtype=torch.float64) / rate
        tones = sum(0.2 * torch.sin(2 * math.pi * hertz * t) for hertz in (220.0, 1000.0, 2100.0, 3300.0))
        return (tones * torch.sin(math.pi * t / 2) ** 2)[None].float()

    expected = Spectrogram(RATE)(chord(RATE))[0, :, 5:-5]
    found = Spectrogram(rate)(chord(rate))[0, :, 5 : expected.shape[1] + 5]
    loud = expected > 1
    assert loud.sum() > 1000
    torch.testing.assert_close(found[loud], expected[loud], atol=tolerance, rtol=0)
    if rate < RATE:
        assert (found[-5:] - (math.log(1e-5) + 4.5) / 5).abs().max() < 1e-3


@pytest.mark.parametrize("cls", [MN04, DyMN04])
def test_a_network_can_be_trained(cls: type[EfficientAT]) -> None:
    network = cls().train()
    waveform = sounds(RATE // 2).requires_grad_()
    sum(x.square().mean() for x in network(waveform).values()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    assert waveform.grad is not None
    assert waveform.grad.abs().max() > 0


def test_the_shortest_clip_leaves_one_frame() -> None:
    for rate in (RATE, 8000, 44_100):
        samples = math.ceil(MN04.least_seconds * rate)
        found = MN04(rate).eval()(torch.zeros(1, samples))
        assert {x.shape[2] for x in found.values()} == {1}


@pytest.mark.published
@pytest.mark.parametrize("cls", [MN04, DyMN04])
def test_published_weights_are_loaded(cls: type[EfficientAT], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w.pt"
    monkeypatch.setattr(PublishedFile, "path", lambda _: file)
    published = cls().network
    head = {"classifier.2.weight": torch.zeros(2, 2), "classifier.5.bias": torch.zeros(527)}
    torch.save(published.state_dict() | head, file)
    network = cls()
    network.load()
    loaded = network.network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in published.state_dict().items())
    torch.save(dict(list(published.state_dict().items())[1:]), file)
    with pytest.raises(ConfigError, match=rf"w\.pt contains no weights of {cls.title}: '.*0\.weight' is missing"):
        network.load()


def test_files_are_those_of_the_release() -> None:
    assert [cls.file.url.rpartition("/")[2] for cls in NETWORKS] == [
        "mn04_as_mAP_432.pt",
        "mn05_as_mAP_443.pt",
        "mn10_as_mAP_471.pt",
        "mn20_as_mAP_478.pt",
        "mn40_as_mAP_484.pt",
        "dymn04_as.pt",
        "dymn10_as.pt",
        "dymn20_as_mAP_493.pt",
    ]
