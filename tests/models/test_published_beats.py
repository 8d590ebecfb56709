"""BEATs, compared with outputs of two copies of the reference program for the same sound and weights."""

from pathlib import Path

import pytest
import torch
from seeded_weights import affine, draw, fill, shapes, tones

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.pretrained.beats import BEATs, BEATsAudioSet, BEATsIter3, BEATsSizes
from audio_lightning.models.pretrained.published_files import PublishedFile

SMALL = BEATsSizes(depth=2, width=64, hidden=128, heads=4, patch_width=32)

SAMPLES = 36_000

# openbeats 0.1.1 and speechbrain 1.1.2 on tones(36_000), with SMALL and the weights of fill(); published are
# max_distance=800, num_buckets=320, deep_norm=True and gru_rel_pos=True.
SPECTROGRAM = [
    [-0.19204, -0.11942, -0.35873, -0.64066, -0.40761, -0.1733],
    [-0.54711, -0.67161, 0.00819, 0.02495, 0.17564, 0.32303],
    [-0.33719, -0.47725, -0.08262, 0.74521, 0.22405, 0.47758],
    [-0.25741, -0.45615, -0.07376, 0.20499, 0.39063, 0.55376],
]

# Every 8th channel of the mean over frequency, of the first and of the last frame of each layer.
FRAMES = {
    "layer0": [
        [-0.80871, -0.499, 0.25214, 0.46094, -0.53084, 1.88532, -0.45482, -0.37644],
        [0.18292, -0.26834, 0.11328, -0.55713, 0.07153, -1.05805, -0.28063, -0.23438],
    ],
    "layer1": [
        [-0.82905, 0.2833, 0.24754, -0.45517, 0.0787, 1.20133, -0.44333, -1.22841],
        [-0.18498, 0.24419, -0.30285, -1.0106, 0.63475, -1.59849, 0.38598, -1.37437],
    ],
    "layer2": [
        [-1.29475, 0.44902, -0.05085, -0.8561, 0.57753, 0.3919, -0.19294, -1.78354],
        [-0.97055, -0.03429, -0.23892, -0.7342, 1.15084, -1.46646, -0.40941, -2.03908],
    ],
}

# Every 4th channel of the mean over all patches of the last layer.
CLIP = [
    -1.00236,
    0.71459,
    0.07178,
    -2.06979,
    -0.18929,
    -0.14028,
    -0.68061,
    0.43874,
    0.99578,
    -1.04809,
    -0.69407,
    0.06354,
    -0.53823,
    -0.80869,
    -1.87513,
    0.4942,
]


@pytest.fixture
def small() -> BEATs:
    network = BEATs(sizes=SMALL).eval()
    fill(network)
    return network


def test_the_spectrogram_equals_the_reference(small: BEATs) -> None:
    seen = small.spectrogram(tones(SAMPLES))
    assert seen.shape == (1, 223, 128)
    found = seen[0, [0, 40, 120, 200]][:, [0, 5, 20, 48, 80, 127]]
    torch.testing.assert_close(found, torch.tensor(SPECTROGRAM), atol=1e-4, rtol=0)


@torch.no_grad()
def test_it_equals_the_reference(small: BEATs) -> None:
    layers = small(tones(SAMPLES))
    assert {name: tuple(found.shape) for name, found in layers.items()} == dict.fromkeys(FRAMES, (1, 64, 13))
    for name, expected in FRAMES.items():
        torch.testing.assert_close(layers[name][0, ::8, [0, -1]].T, torch.tensor(expected), atol=1e-4, rtol=0)
    torch.testing.assert_close(layers["layer2"].mean(2)[0, ::4], torch.tensor(CLIP), atol=1e-4, rtol=0)
    both = small(torch.cat([0.1 * tones(SAMPLES), tones(SAMPLES)]))
    torch.testing.assert_close(both["layer2"][1:], layers["layer2"], atol=1e-5, rtol=0)


def test_it_has_the_published_tensors() -> None:
    expected: dict[str, tuple[int, ...]] = {
        "patch_embedding.weight": (512, 1, 16, 16),
        **affine({"layer_norm": (512,), "post_extract_proj": (768, 512), "encoder.layer_norm": (768,)}),
        "encoder.pos_conv.0.weight_g": (1, 1, 128),
        "encoder.pos_conv.0.weight_v": (768, 48, 128),
        "encoder.pos_conv.0.bias": (768,),
    }
    layer: dict[str, tuple[int, ...]] = {
        **{f"self_attn.{part}_proj": (768, 768) for part in ("q", "k", "v", "out")},
        "self_attn.grep_linear": (8, 64),
        "self_attn_layer_norm": (768,),
        "fc1": (3072, 768),
        "fc2": (768, 3072),
        "final_layer_norm": (768,),
    }
    for number in range(12):
        prefix = f"encoder.layers.{number}."
        expected |= {f"{prefix}self_attn.grep_a": (1, 12, 1, 1), **affine(layer, prefix)}
    repeated = {f"encoder.layers.{number}.self_attn.relative_attention_bias.weight": (320, 12) for number in range(12)}
    assert len(expected | repeated) == 250  # as many as the published file has
    with torch.device("meta"):
        network = BEATs()
    assert shapes(network) == expected | dict([next(iter(repeated.items()))])
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(BEATs.num_parameters, rel=1e-3)


def test_its_shapes_are_known_without_weights() -> None:
    with torch.device("meta"):
        layers = BEATs()(torch.empty(2, 160_000))
    assert list(layers) == list(BEATs.layers)
    assert {tuple(found.shape) for found in layers.values()} == {(2, 768, 62)}


def test_three_files_of_weights_are_registered() -> None:
    names = {cls.file.file_name for cls in (BEATs, BEATsIter3, BEATsAudioSet)}
    assert names == {
        "BEATs_iter3.pt",
        "BEATs_iter3_plus_AS2M.pt",
        "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt",
    }


def test_the_shortest_clip_has_one_frame_and_gradients_flow_to_all_weights(small: BEATs) -> None:
    shortest = round(BEATs.least_seconds * BEATs.trained_rate)
    small.train()(tones(SAMPLES)[:, :shortest])["layer2"].tanh().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in small.parameters())
    assert small(tones(SAMPLES)[:, :shortest])["layer2"].shape == (1, 64, 1)


@pytest.mark.published
def test_its_file_is_read_without_the_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: BEATs) -> None:
    monkeypatch.setattr(PublishedFile, "path", lambda file: tmp_path / "weights.pt")
    state = small.state_dict()
    beside = {"predictor.weight": draw("predictor.weight", (527, 64))}
    torch.save({"cfg": {"deep_norm": True}, "model": state | beside}, tmp_path / "weights.pt")
    loaded = BEATs(sizes=SMALL)
    loaded.load()
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    del state["encoder.layers.1.fc1.bias"]
    torch.save({"cfg": {}, "model": state}, tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match=r"contains no weights of BEATs iter3\+: 'encoder\.layers\.1\.fc1\.bias' is"):
        loaded.load()
