"""Dasheng, compared with outputs of its authors' package for the same sound and weights."""

from pathlib import Path

import pytest
import torch
from seeded_weights import affine, draw, fill, shapes, tones

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.pretrained.dasheng import Dasheng, Dasheng06B, Dasheng12B, DashengAudioSet, DashengSizes
from audio_lightning.models.pretrained.published_files import PublishedFile

SMALL = DashengSizes(depth=2, width=48, heads=4, longest=40)

SAMPLES = 36_100

# dasheng 0.0.9 on tones(36_100), with SMALL and the weights of fill(): some bands of some frames.
SPECTROGRAM = [
    [18.73787, 29.37002, 7.69779, -14.25858, -23.51734, -32.78912],
    [-19.43587, -18.81474, -3.66268, -17.0073, -15.58827, -10.95201],
    [-8.92993, -17.93675, -14.78589, 9.89422, -4.46006, 2.81555],
    [-6.13695, -0.3239, 3.04072, 3.20067, 11.49651, 4.05345],
]

# Every 6th channel of the first and of the last of 56 frames, which are in two pieces.
FRAMES = {
    "layer0": [
        [-63.08071, -5.06445, -54.98707, 15.36085, 5.19086, 49.62758, 59.70229, 0.73959],
        [23.42133, 4.69927, -0.37661, -1.61086, -2.27468, -9.32118, -0.93731, 8.81119],
    ],
    "layer1": [
        [-62.80133, -2.0756, -55.83827, 14.04077, 5.73019, 50.12925, 59.71731, 1.0683],
        [24.65307, 4.79622, 0.62231, -2.09239, -3.1305, -9.72438, 0.52418, 7.60194],
    ],
    "layer2": [
        [-2.29063, 0.22165, -2.26322, 0.0747, 0.07634, 1.55214, 1.81141, 0.08642],
        [2.26048, 0.48741, 0.10979, -0.80654, -0.65076, -1.51874, -0.73294, 0.72344],
    ],
}

# Every 3rd channel of the mean over time of what it gives.
CLIP = [
    0.21299,
    1.42232,
    0.80123,
    0.55436,
    -0.16762,
    1.22334,
    -0.45705,
    -0.56335,
    -0.56363,
    -0.0461,
    -0.24864,
    -0.95243,
    0.5556,
    0.17532,
    0.29006,
    0.47751,
]


@pytest.fixture
def small() -> Dasheng:
    network = Dasheng(sizes=SMALL).eval()
    fill(network)
    return network


@torch.no_grad()
def test_the_spectrogram_equals_the_reference(small: Dasheng) -> None:
    seen = small.spectrogram(tones(SAMPLES))
    assert seen.shape == (1, 64, 226)
    found = seen[0][[0, 3, 10, 25, 40, 63]][:, [0, 40, 120, 225]].T
    torch.testing.assert_close(found, torch.tensor(SPECTROGRAM), atol=1e-4, rtol=0)


@torch.no_grad()
def test_it_equals_the_reference(small: Dasheng) -> None:
    layers = small(tones(SAMPLES))
    assert {name: tuple(found.shape) for name, found in layers.items()} == dict.fromkeys(FRAMES, (1, 48, 56))
    # Values of up to 8 differ by 2e-5 of their size between CPUs, which add in another order.
    for name, expected in FRAMES.items():
        torch.testing.assert_close(layers[name][0, ::6, [0, -1]].T, torch.tensor(expected), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(layers["layer2"].mean(2)[0, ::3], torch.tensor(CLIP), atol=1e-4, rtol=1e-4)
    both = small(torch.cat([0.1 * tones(SAMPLES), tones(SAMPLES)]))
    torch.testing.assert_close(both["layer2"][1:], layers["layer2"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("cls", "depth", "width", "published"),
    [
        (Dasheng, 12, 768, None),
        (DashengAudioSet, 12, 768, None),
        (Dasheng06B, 32, 1280, None),
        (Dasheng12B, 40, 1536, 1_134_047_488),
    ],
)
def test_it_has_the_published_tensors(cls: type[Dasheng], depth: int, width: int, published: int | None) -> None:
    expected: dict[str, tuple[int, ...]] = {
        "time_pos_embed": (1, width, 1, 252),
        "freq_pos_embed": (1, width, 1, 1),
        "init_bn.1.running_mean": (64,),
        "init_bn.1.running_var": (64,),
        "init_bn.1.num_batches_tracked": (),
        **affine({"init_bn.1": (64,), "patch_embed.proj": (width, 1, 64, 4), "norm": (width,)}),
    }
    block: dict[str, tuple[int, ...]] = {
        "norm1": (width,),
        "attn.qkv": (3 * width, width),
        "attn.proj": (width, width),
        "norm2": (width,),
        "mlp.fc1": (4 * width, width),
        "mlp.fc2": (width, 4 * width),
    }
    for number in range(depth):
        expected |= affine(block, f"blocks.{number}.")
    with torch.device("meta"):
        network = cls()
    assert shapes(network) == expected
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(cls.num_parameters, rel=1e-3)
    if published is not None:  # numbers that the hub says its file has
        assert (
            sum(tensor.numel() for tensor in network.state_dict().values() if tensor.is_floating_point()) == published
        )
    assert network.layers == cls.layers


def test_its_shapes_are_known_without_weights() -> None:
    with torch.device("meta"):
        layers = Dasheng()(torch.empty(2, 200_000))
    assert list(layers) == list(Dasheng.layers)
    assert {tuple(found.shape) for found in layers.values()} == {(2, 768, 312)}


def test_the_shortest_clip_has_one_frame_and_gradients_flow_to_all_weights(small: Dasheng) -> None:
    shortest = round(Dasheng.least_seconds * Dasheng.trained_rate)
    assert small(tones(SAMPLES)[:, :shortest])["layer2"].shape == (1, 48, 1)
    small.train()(tones(SAMPLES))["layer2"].tanh().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in small.parameters())


@pytest.mark.published
def test_its_file_is_read_without_the_front_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Dasheng
) -> None:
    monkeypatch.setattr(PublishedFile, "path", lambda file: tmp_path / "weights.pt")
    state = small.state_dict()
    beside = {"front_end.0.spectrogram.window": torch.ones(512), "outputlayer.1.bias": draw("bias", (527,))}
    torch.save({"model": state | beside, "config": {"target_length": 160}}, tmp_path / "weights.pt")
    loaded = Dasheng(sizes=SMALL)
    loaded.load()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    with pytest.raises(ConfigError, match=r"contains no weights of Dasheng base: .*size mismatch for time_pos_embed"):
        Dasheng(sizes=DashengSizes(depth=2, width=48, heads=4)).load()
