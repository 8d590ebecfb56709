"""Networks with published weights give the outputs of the publishers' own code."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.features.normalize import ClipNormalization
from audio_lightning.features.padding import sound_lengths
from audio_lightning.models.ast import AST, fit_positions
from audio_lightning.models.wav2vec2 import BASE, Wav2Vec2

PICTURE = FeatureShape("spectrogram", (1, 64, 50))


# A tiny transformer in the layout of the Hugging Face hub.

WIDTH, DEPTH, HEADS, BINS, FRAMES = 8, 2, 2, 36, 56
GRID = 3, 5
NAMES = {
    4: {
        "layer": "encoder.layer",
        "query": "attention.attention.query", "key": "attention.attention.key", "value": "attention.attention.value",
        "out": "attention.output.dense", "first": "intermediate.dense", "second": "output.dense",
    },
    5: {
        "layer": "layers",
        "query": "attention.q_proj", "key": "attention.k_proj", "value": "attention.v_proj",
        "out": "attention.o_proj", "first": "mlp.fc1", "second": "mlp.fc2",
    },
}  # fmt: skip
"""Names of the same layers by the major version of the library that wrote them."""


def published_ast(names: dict[str, str]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    prefix = "audio_spectrogram_transformer."
    state = {
        "embeddings.cls_token": random(1, 1, WIDTH),
        "embeddings.distillation_token": random(1, 1, WIDTH),
        "embeddings.position_embeddings": random(1, 2 + GRID[0] * GRID[1], WIDTH),
        "embeddings.patch_embeddings.projection.weight": random(WIDTH, 1, 16, 16),
        "embeddings.patch_embeddings.projection.bias": random(WIDTH),
        "layernorm.weight": 1 + random(WIDTH),
        "layernorm.bias": random(WIDTH),
    }
    for number in range(DEPTH):
        layer = f"{names['layer']}.{number}"
        for norm in ("layernorm_before", "layernorm_after"):
            state |= {f"{layer}.{norm}.weight": 1 + random(WIDTH), f"{layer}.{norm}.bias": random(WIDTH)}
        sizes = {"first": (4 * WIDTH, WIDTH), "second": (WIDTH, 4 * WIDTH)}
        for part in ("query", "key", "value", "out", "first", "second"):
            outputs, inputs = sizes.get(part, (WIDTH, WIDTH))
            state |= {
                f"{layer}.{names[part]}.weight": random(outputs, inputs),
                f"{layer}.{names[part]}.bias": random(outputs),
            }
    head = {"classifier.dense.weight": random(5, WIDTH), "classifier.dense.bias": random(5)}
    return {f"{prefix}{name}": tensor for name, tensor in state.items()} | head


def ast_by_the_book(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Reference embedding, computed from the published tensors of version 4."""
    functional = nn.functional
    state = {name.removeprefix("audio_spectrogram_transformer."): tensor for name, tensor in state.items()}

    def linear(name: str, x: Tensor) -> Tensor:
        return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-12)

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    projection = "embeddings.patch_embeddings.projection"
    patches = functional.conv2d(x, state[f"{projection}.weight"], state[f"{projection}.bias"], stride=10)
    special = [state[f"embeddings.{name}_token"].expand(len(x), 1, WIDTH) for name in ("cls", "distillation")]
    x = torch.cat([*special, patches.flatten(2).mT], 1) + state["embeddings.position_embeddings"]
    for layer in (f"encoder.layer.{number}" for number in range(DEPTH)):
        y = norm(f"{layer}.layernorm_before", x)
        query, key, value = (split(linear(f"{layer}.attention.attention.{p}", y)) for p in ("query", "key", "value"))
        attention = (query @ key.mT / (WIDTH // HEADS) ** 0.5).softmax(-1)
        x = x + linear(f"{layer}.attention.output.dense", (attention @ value).transpose(1, 2).flatten(2))
        y = functional.gelu(linear(f"{layer}.intermediate.dense", norm(f"{layer}.layernorm_after", x)))
        x = x + linear(f"{layer}.output.dense", y)
    return norm("layernorm", x)[:, :2].mean(1)


def write_safetensors(file: Path, state: dict[str, Tensor]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in state.items():
        content = tensor.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    file.write_bytes(np.uint64(len(text)).tobytes() + text + data)


def write_folder(folder: Path, version: int = 4, *, safetensors: bool = True) -> dict[str, Tensor]:
    config = {
        "model_type": "audio-spectrogram-transformer", "intermediate_size": 4 * WIDTH,
        "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS,
        "time_stride": 10, "frequency_stride": 10, "num_mel_bins": BINS, "max_length": FRAMES,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    state = published_ast(NAMES[version])
    if safetensors:
        write_safetensors(folder / "model.safetensors", state)
    else:
        torch.save(state, folder / "pytorch_model.bin")
    return state


def change(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@torch.no_grad()
@pytest.mark.parametrize(("version", "safetensors"), [(4, True), (4, False), (5, True)])
@pytest.mark.parametrize("channels", [1, 2])
def test_ast_equals_the_published_network(version: int, safetensors: bool, channels: int, tmp_path: Path) -> None:
    write_folder(tmp_path, version, safetensors=safetensors)
    shape = FeatureShape("spectrogram", (channels, BINS, FRAMES))
    made = AST(shape, 3, pretrained=str(tmp_path)).eval()
    x = torch.randn(2, 1, BINS, FRAMES, generator=torch.Generator().manual_seed(1))

    expected = ast_by_the_book(published_ast(NAMES[4]), x)

    assert made.head[-1].out_features == 3
    assert (expected[0] - expected[1]).abs().max() > 0.1
    torch.testing.assert_close(made.embed(x.expand(-1, channels, -1, -1)), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_ast_fits_published_positions_to_its_own_grid(tmp_path: Path) -> None:
    published = write_folder(tmp_path)["audio_spectrogram_transformer.embeddings.position_embeddings"]
    made = AST(FeatureShape("spectrogram", (1, 46, 106)), 3, pretrained=str(tmp_path))

    assert made.grid == (4, 10)
    torch.testing.assert_close(made.positions, fit_positions(published, GRID, (4, 10)))
    torch.testing.assert_close(made.positions[:, :2], published[:, :2])


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5])
def test_positions_of_a_shorter_clip_are_cropped_from_the_middle(frames: int) -> None:
    """As in ``ast_models.py`` of the authors, ``[50 - t // 2 : 50 - t // 2 + t]`` of 101."""
    patches = torch.arange(3 * 5.0).reshape(1, 15, 1)
    positions = torch.cat([torch.full((1, 2, 1), -1.0), patches], dim=1)

    fitted = fit_positions(positions, (3, 5), (3, frames))

    assert fitted[0, :2, 0].tolist() == [-1, -1]
    start = 2 - frames // 2
    expected = patches.reshape(3, 5)[:, start : start + frames]
    assert (fitted[0, 2:, 0].reshape(3, frames) == expected).all()


def test_a_grid_that_grows_in_one_axis_and_shrinks_in_the_other_is_interpolated_and_cut() -> None:
    rows, columns = torch.meshgrid(torch.arange(2.0), torch.arange(5.0), indexing="ij")
    positions = torch.cat([torch.zeros(2, 2), torch.stack([rows, columns], -1).flatten(0, 1)])[None]

    fitted = fit_positions(positions, (2, 5), (4, 3))[0, 2:].unflatten(0, (4, 3))

    torch.testing.assert_close(fitted[..., 1], torch.tensor([1.0, 2, 3]).expand(4, 3))
    torch.testing.assert_close(fitted[:, 0, 0], torch.tensor([0, 0.25, 0.75, 1]))


def test_fitted_positions_stay_separable() -> None:
    """Positions that depend on the row only do so in the other grid, too; likewise for columns."""
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 3), torch.linspace(0, 1, 5), indexing="ij")
    positions = torch.cat([torch.full((2, 2), 7.0), torch.stack([rows, columns], -1).flatten(0, 1)])[None]

    resized = fit_positions(positions, (3, 5), (6, 10))

    assert (resized[:, :2] == 7).all()
    grid = resized[0, 2:].unflatten(0, (6, 10))
    assert (grid[:, :1, 0] == grid[..., 0]).all()
    assert (grid[:1, :, 1] == grid[..., 1]).all()
    assert grid[:, 0, 0].diff().min() >= 0
    assert grid[0, :, 1].diff().min() >= 0
    assert (grid[0, 0] == 0).all()
    assert (grid[-1, -1] == 1).all()


def test_ast_has_the_sizes_of_the_published_network(tmp_path: Path) -> None:
    """They are known before the weights are read, and are passed to a network that is built without them."""
    write_folder(tmp_path)
    with torch.device("meta"):
        made = AST(PICTURE, 3, pretrained=str(tmp_path))
        again = AST(PICTURE, 3, **made.inferred_options)

    assert (made.embedding_dim, len(made.layers), made.layers[0].self_attn.num_heads) == (WIDTH, DEPTH, HEADS)
    assert repr(again) == repr(made)
    assert AST(PICTURE, 3, num_layers=1).inferred_options == {}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json cannot be read: "),
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json holds a list, expected an object"),
        (
            lambda folder: change(folder, model_type="vit"),
            "has model_type=vit, expected audio-spectrogram-transformer; ",
        ),
        (lambda folder: change(folder, hidden_size="8"), "has hidden_size='8', expected a value like 768; "),
        (lambda folder: (folder / "model.safetensors").unlink(), r"holds neither model\.safetensors nor pytorch_model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 99), "cannot be read: "),
        (
            lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9]),
            "cannot be read: ",
        ),
        (
            lambda folder: write_safetensors(folder / "model.safetensors", {"x": torch.zeros(1)}),
            "does not hold the network",
        ),
        (
            lambda folder: write_safetensors(
                folder / "model.safetensors",
                {name: tensor for name, tensor in published_ast(NAMES[4]).items() if ".layernorm.b" not in name},
            ),
            r"contains no AST: missing or unknown are norm\.bias",
        ),
    ],
)
def test_a_folder_without_an_ast_is_refused(spoil: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    write_folder(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ConfigError, match=message) as raised:
        AST(PICTURE, 3, pretrained=str(tmp_path))

    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_names_on_the_hub_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path)
    asked: list[str] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append(name)
        return str(tmp_path)

    hub = SimpleNamespace(snapshot_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)

    AST(PICTURE, 3, pretrained="owner/tiny-ast")

    assert asked == ["owner/tiny-ast"]


def test_a_failed_download_names_the_files_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand = (
        r"get config\.json and model\.safetensors \(or pytorch_model\.bin\) from "
        r"https://huggingface\.co/MIT/some-ast/tree/main into a folder and give it as model\.pretrained=FOLDER$"
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=rf"downloads need the package huggingface_hub; {by_hand}"):
        AST(PICTURE, 3, pretrained="MIT/some-ast")

    def fail(name: str, allow_patterns: list[str]) -> str:
        raise OSError("no route\nto host")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=fail))
    with pytest.raises(ConfigError, match=rf"MIT/some-ast cannot be downloaded \(no route\); {by_hand}"):
        AST(PICTURE, 3, pretrained="MIT/some-ast")
    with pytest.raises(ConfigError, match=r"=\./nowhere: no such folder; expected one with config\.json and"):
        AST(PICTURE, 3, pretrained="./nowhere")
    with pytest.raises(ConfigError, match=r"model\.pretrained=true: several weights are published; name one"):
        AST(PICTURE, 3, pretrained=True)


SPEECH = FeatureShape("waveform", (1, 1500))
SPEECH_SIZES = {"embed_dim": 16, "num_layers": 2, "num_heads": 2, "channels": 8}

KNOWN = {
    "feature_extractor.conv_layers.0.conv.weight",
    "feature_extractor.conv_layers.0.layer_norm.weight",
    "feature_projection.layer_norm.bias",
    "feature_projection.projection.weight",
    "encoder.pos_conv_embed.conv.weight_g",
    "encoder.layer_norm.bias",
    "encoder.layers.1.attention.q_proj.weight",
    "encoder.layers.1.feed_forward.intermediate_dense.bias",
}


def write_speech_folder(folder: Path, kind: str = "wav2vec2") -> Wav2Vec2:
    """A random network under published names, among tensors that do not belong to it."""
    torch.manual_seed(0)
    made = Wav2Vec2(SPEECH, 3, **SPEECH_SIZES).eval()
    state = {f"{kind}.masked_spec_embed": torch.zeros(16), "classifier.weight": torch.zeros(2, 16)}
    for name, tensor in made.backbone.state_dict().items():
        name = name.replace("encoder.feature_projection.", "feature_projection.")
        name = name.replace("encoder.transformer.", "encoder.")
        name = name.replace("parametrizations.weight.original0", "weight_g")
        state[f"{kind}.{name.replace('parametrizations.weight.original1', 'weight_v')}"] = tensor
    assert {f"{kind}.{name}" for name in KNOWN} < state.keys()
    write_safetensors(folder / "model.safetensors", state)
    config = {
        "model_type": kind, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "conv_dim": [8] * 7,
        "intermediate_size": 64,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return made


@torch.no_grad()
@pytest.mark.parametrize("kind", ["wav2vec2", "hubert"])
def test_wav2vec2_loads_published_names(kind: str, tmp_path: Path) -> None:
    published = write_speech_folder(tmp_path, kind)
    made = Wav2Vec2(SPEECH, 3, pretrained=str(tmp_path)).eval()
    x = torch.randn(2, 1500)

    assert not torch.equal(made.project.weight, published.project.weight), "only the network is published"
    for layer, expected in zip(made.backbone.extract_features(x)[0], published.backbone.extract_features(x)[0]):
        torch.testing.assert_close(layer, expected, atol=0, rtol=0)


@torch.no_grad()
def test_wav2vec2_weights_its_layers() -> None:
    made = Wav2Vec2(SPEECH, 3, **SPEECH_SIZES).eval()
    x = torch.randn(2, 1, 1500)
    first, second = made.backbone.extract_features(x[:, 0])[0]
    torch.testing.assert_close(made.embed(x), made.project((first + second) / 2).mean(1))

    made.layer_weights.copy_(torch.tensor([0.0, 50.0]))
    torch.testing.assert_close(made.embed(x), made.project(second).mean(1))


def test_padding_is_distinguished_from_the_clip() -> None:
    x = torch.randn(6, 1500)
    x[1, 1200:] = 0
    x[2, 700:], x[2, 100:200] = 0.25, 0
    x[3] = 0
    x[4] = -0.5
    x[5, -1] = x[5, -2]

    assert sound_lengths(x).tolist() == [1500, 1200, 700, 1500, 1500, 1498]
    normalized = ClipNormalization()(x.unsqueeze(1)).squeeze(1)
    assert sound_lengths(normalized).tolist() == [1500, 1200, 700, 1500, 1500, 1498]


@torch.no_grad()
@pytest.mark.parametrize(("sounding", "frames"), [(1500, 4), (1360, 4), (1359, 3), (400, 1), (30, 1)])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_mean_over_time_excludes_padding(sounding: int, frames: int, channels: int) -> None:
    """Frames of 400 samples every 320 that overlap the sound; at least one frame counts."""
    made = Wav2Vec2(FeatureShape("waveform", (channels, 1500)), 3, **SPEECH_SIZES).eval()
    x = torch.randn(2, channels, 1500)
    x[0, :, sounding:] = 0
    layers = torch.stack(made.backbone.extract_features(x.mean(1))[0])

    expected = [made.project(layers.mean(0))[clip, :count].mean(0) for clip, count in enumerate((frames, 4))]

    torch.testing.assert_close(made.embed(x), torch.stack(expected))


@pytest.mark.parametrize("autocast", [False, True])
def test_attention_excludes_padding_if_trained_so(autocast: bool) -> None:
    """A clip with padding equals the clip without it, except in networks without layer normalization."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "conv_dim": [8] * 7}
    large = {**BASE, **sizes, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
    made = Wav2Vec2(SPEECH, 3, architecture=large, dropout=0.0)
    x = torch.randn(2, 1, 1500)
    padded = torch.cat([x, torch.zeros(2, 1, 900)], dim=2)

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        alone, together = made.embed(x), made.embed(padded)
    together.sum().backward()

    assert (alone[0] - alone[1]).abs().max() > 1e-2
    tolerance = 2e-2 if autocast else 1e-5
    torch.testing.assert_close(together, alone, atol=tolerance, rtol=tolerance)
    assert all(parameter.grad.isfinite().all() for parameter in made.backbone.parameters())


def test_wavlm_can_be_built_with_random_weights() -> None:
    made = Wav2Vec2(SPEECH, 3, **SPEECH_SIZES, family="wavlm")
    made(torch.randn(2, 1, 1500)).sum().backward()

    for name, parameter in made.backbone.named_parameters():
        assert parameter.grad is not None, name
    assert made.backbone.encoder.transformer.layers[0].attention.rel_attn_embed.num_embeddings == 320


@pytest.mark.parametrize("frozen", [True, False])
def test_wav2vec2_freezes_its_convolutions(frozen: bool) -> None:
    made = Wav2Vec2(SPEECH, 3, **SPEECH_SIZES, freeze_convolutions=frozen)
    made(torch.randn(2, 1, 1500)).sum().backward()

    for name, parameter in made.named_parameters():
        assert (parameter.grad is None) == (frozen and "feature_extractor" in name), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "data2vec-audio"},
            "has model_type=data2vec-audio, expected wav2vec2 | hubert | wavlm; use a network",
        ),
        ({"conv_pos_batch_norm": True}, "has conv_pos_batch_norm=True, expected False; use a network of wav2vec 2.0, "),
        ({"conv_dim": 512}, "has conv_dim=512, expected a value like [512, 512"),
    ],
)
def test_wav2vec2_refuses_folders_of_other_networks_with_the_reason(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    write_speech_folder(tmp_path)
    change(tmp_path, **changes)
    with torch.device("meta"), pytest.raises(ConfigError, match=re.escape(message)):
        Wav2Vec2(SPEECH, 3, pretrained=str(tmp_path))


def test_wav2vec2_refuses_a_folder_that_lacks_layers(tmp_path: Path) -> None:
    write_speech_folder(tmp_path)
    write_safetensors(tmp_path / "model.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(ConfigError, match="does not hold the network that it describes: 'feature_extractor"):
        Wav2Vec2(SPEECH, 3, pretrained=str(tmp_path))


# Pipelines of torchaudio.


def small_bundle(bundle: Any) -> Any:
    sizes = {"encoder_embed_dim": 16, "encoder_num_layers": 2, "encoder_num_heads": 2, "encoder_ff_interm_features": 32}
    convolutions = [(8, kernel, stride) for _, kernel, stride in bundle._params["extractor_conv_layer_config"]]
    return replace(bundle, _params={**bundle._params, **sizes, "extractor_conv_layer_config": convolutions})


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    ["WAV2VEC2_BASE", "HUBERT_BASE", "WAVLM_BASE", "HUBERT_LARGE", "WAV2VEC2_XLSR_300M", "WAV2VEC2_ASR_BASE_960H"],
)
def test_a_torchaudio_pipeline_equals_torchaudio(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torchaudio: ModuleType
) -> None:
    bundle = small_bundle(getattr(torchaudio.pipelines, name))
    monkeypatch.setattr(torchaudio.pipelines, name, bundle)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    torch.manual_seed(0)
    published = getattr(torchaudio.models, "wavlm_model" if name.startswith("WAVLM") else "wav2vec2_model")(
        **bundle._params
    ).eval()
    (tmp_path / "checkpoints").mkdir()
    torch.save(published.state_dict(), tmp_path / "checkpoints" / bundle._path)
    x = torch.randn(2, 1500)

    made = Wav2Vec2(SPEECH, 3, pretrained=f"torchaudio:{name}").eval()

    expected, _ = published.extract_features(x)
    layers = made.layers(x, torch.tensor([1500, 1500]))
    torch.testing.assert_close(layers[0], expected[0], atol=1e-5, rtol=1e-5)
    published.aux = None
    torch.testing.assert_close(layers[-1], published(x)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("torchaudio")
def test_a_failed_pipeline_download_names_address_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, *args: object, **options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with torch.device("meta"), pytest.raises(ConfigError) as raised:
        Wav2Vec2(SPEECH, 3, pretrained="torchaudio:WAV2VEC2_BASE")

    file = "wav2vec2_fairseq_base_ls960.pth"
    assert str(raised.value) == (
        "model.pretrained=torchaudio:WAV2VEC2_BASE cannot be downloaded (<urlopen error no route to host>); get "
        f"https://download.pytorch.org/torchaudio/models/{file} elsewhere and put it at {tmp_path}/checkpoints/{file}"
    )
    with pytest.raises(ConfigError, match=r"torchaudio:WAV2VEC_BASE: .* no such pipeline; did you mean WAV2VEC2_BASE"):
        Wav2Vec2(SPEECH, 3, pretrained="torchaudio:WAV2VEC_BASE")
