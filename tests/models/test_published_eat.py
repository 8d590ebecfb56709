"""EAT, compared with outputs of its authors' program for the same sound and weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from seeded_weights import affine, draw, fill, shapes, tones

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.pretrained.eat import EAT, SSLAM, EATAudioSet, EATLarge, EATSizes
from audio_lightning.models.pretrained.published_files import PublishedFile

SMALL = EATSizes(depth=2, width=64, heads=4)

SAMPLES = 33_500

# eat_model.py of worstchan/EAT-base_epoch30_pretrain on tones(33_500), in 256 frames, with SMALL and the weights of
# fill(): some bands of some frames, the last one of zeros.
SPECTROGRAM = [
    [-0.59878, -0.20799, -0.75335, -1.01729, -0.69246, -0.35921],
    [-0.88983, -1.05805, -0.08009, -0.07672, 0.13719, 0.34651],
    [-0.62895, -0.80103, -0.25157, 0.94444, 0.20876, 0.57327],
    [-0.49338, -0.75451, -0.23553, 0.18721, 0.44731, 0.68322],
    [0.46706, 0.46706, 0.46706, 0.46706, 0.46706, 0.46706],
]

# Every 8th channel of the mean over frequency, of the first frame and of the last one that is not of zeros alone.
FRAMES = {
    "layer0": [
        [-0.55557, 0.5431, -0.72366, 0.87841, -1.14397, -1.36638, 0.88963, 0.52076],
        [-0.69321, -0.75085, -0.61203, 1.09158, -0.5879, -0.91151, 0.56474, 0.67475],
    ],
    "layer1": [
        [0.80719, 0.40972, -0.16199, 0.92492, 0.80618, -0.14267, -0.45856, 0.11764],
        [0.50104, 0.10402, -0.4787, 1.44494, 0.64781, -0.30496, -1.04779, 0.08258],
    ],
    "layer2": [
        [-0.20491, -0.14135, -0.11638, 0.85494, 0.98956, -1.49626, -0.15119, -0.16608],
        [-0.4368, -0.02338, -0.84413, 1.19546, 0.82434, -1.50834, -0.55456, -0.29499],
    ],
}

# Every 8th channel of the class token behind the last layer.
CLIP = [0.62058, -0.30421, 0.58131, 0.74851, 0.93182, 0.06755, 0.13233, 0.46399]


@pytest.fixture
def small() -> EAT:
    network = EAT(sizes=SMALL).eval()
    fill(network)
    return network


def test_the_spectrogram_equals_the_reference(small: EAT) -> None:
    seen = small.spectrogram(tones(SAMPLES))
    assert seen.shape == (1, 256, 128)
    found = seen[0, [0, 40, 120, 200, 255]][:, [0, 5, 20, 48, 80, 127]]
    torch.testing.assert_close(found, torch.tensor(SPECTROGRAM), atol=1e-4, rtol=0)


@torch.no_grad()
def test_it_equals_the_reference(small: EAT) -> None:
    layers = small(tones(SAMPLES))
    frames = dict.fromkeys(FRAMES, (1, 64, 13))
    assert {name: tuple(found.shape) for name, found in layers.items()} == {**frames, "clip": (1, 64, 1)}
    for name, expected in FRAMES.items():
        torch.testing.assert_close(layers[name][0, ::8, [0, -1]].T, torch.tensor(expected), atol=1e-4, rtol=0)
    torch.testing.assert_close(layers["clip"][0, ::8, 0], torch.tensor(CLIP), atol=1e-4, rtol=0)
    both = small(torch.cat([0.1 * tones(SAMPLES), tones(SAMPLES)]))
    torch.testing.assert_close(both["clip"][1:], layers["clip"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("cls", "depth", "width", "published"),
    [
        (EAT, 12, 768, None),
        (EATAudioSet, 12, 768, None),
        (SSLAM, 12, 768, None),
        (EATLarge, 24, 1024, 308_867_072),
    ],
)
def test_it_has_the_published_tensors(cls: type[EAT], depth: int, width: int, published: int | None) -> None:
    expected: dict[str, tuple[int, ...]] = {
        "model.extra_tokens": (1, 1, width),
        **affine({"model.local_encoder.proj": (width, 1, 16, 16), "model.pre_norm": (width,)}),
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
        expected |= affine(block, f"model.blocks.{number}.")
    with torch.device("meta"):
        network = cls()
    assert shapes(network) == expected
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert parameters == pytest.approx(cls.num_parameters, rel=1e-3)
    if published is not None:  # numbers that the hub says its file has, with the positions of 768 x 8 patches
        assert parameters + 768 * 8 * width == published
    assert network.layers == cls.layers


def test_its_shapes_are_known_without_weights() -> None:
    with torch.device("meta"):
        network = EAT()
        layers = network(torch.empty(2, 160_000))
        assert network.spectrogram(torch.empty(2, 160_000)).shape == (2, 1024, 128)  # as published for 10 s
    assert list(layers) == list(EAT.layers)
    *frames, clip = layers.values()
    assert {tuple(found.shape) for found in frames} == {(2, 768, 63)}
    assert clip.shape == (2, 768, 1)


def test_the_shortest_clip_has_one_frame_and_gradients_flow_to_all_weights(small: EAT) -> None:
    layers = small.train()(tones(SAMPLES)[:, : round(EAT.least_seconds * EAT.trained_rate)])
    assert layers["layer2"].shape == (1, 64, 1)
    (layers["layer2"] + layers["clip"]).tanh().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in small.parameters())


@pytest.mark.published
def test_its_file_is_read_without_the_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: EAT) -> None:
    file = tmp_path / "weights.safetensors"
    monkeypatch.setattr(PublishedFile, "path", lambda _: file)
    state = small.state_dict()
    save_file(state | {"model.head.bias": draw("model.head.bias", (527,))}, file)
    loaded = EAT(sizes=SMALL)
    loaded.load()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    save_file({name: tensor for name, tensor in state.items() if "pre_norm" not in name}, file)
    with pytest.raises(ConfigError, match=r"contains no weights of EAT base: 'model\.pre_norm\.weight' is missing"):
        loaded.load()
    file.write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match=r"weights\.safetensors contains no weights of EAT base: "):
        loaded.load()
