"""Audio encoders of transformers: every layer equals that of transformers with its own front end."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.models.pretrained.encoder_inputs import Speech
from audio_lightning.models.pretrained.hub_files import HubFolder
from audio_lightning.models.pretrained.transformers_encoder import FAMILIES, TransformersEncoder

pytestmark = pytest.mark.published

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 37}
CONVOLUTIONS = {"conv_dim": (8, 8, 6), "conv_kernel": (10, 3, 3), "conv_stride": (5, 4, 4)}
TINY = {**SIZES, **CONVOLUTIONS, "num_conv_pos_embeddings": 15, "num_conv_pos_embedding_groups": 4}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
DATA2VEC = {**SIZES, **CONVOLUTIONS, "conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2, "conv_bias": False}
BUCKETS = {"num_buckets": 20, "max_bucket_distance": 50}
PATCHES = {
    **SIZES, "num_mel_bins": 24, "max_length": 60, "patch_size": 8, "frequency_stride": 4, "time_stride": 6,
}  # fmt: skip
WHISPER = {
    "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 37, "decoder_layers": 1,
    "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "num_mel_bins": 40, "max_source_positions": 50,
    "vocab_size": 30, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "max_target_positions": 10, "suppress_tokens": None, "begin_suppress_tokens": None,
}  # fmt: skip
CLAP_AUDIO = {
    "num_mel_bins": 16, "spec_size": 64, "window_size": 4, "depths": [2, 1], "num_attention_heads": [2, 4],
    "patch_embeds_hidden_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "projection_dim": 6,
}  # fmt: skip
CLAP_TEXT = {**SIZES, "vocab_size": 12, "max_position_embeddings": 20, "projection_dim": 6}


@dataclass(frozen=True)
class Case:
    """A small network of a family, and the class that writes it."""

    kind: str
    config: dict[str, Any]
    suffix: str = "Model"
    extractor: str = "Wav2Vec2"
    front_end: dict[str, Any] = field(default_factory=dict)


CASES = {
    "wav2vec2": Case("Wav2Vec2", TINY, "ForCTC"),
    "large wav2vec2": Case("Wav2Vec2", {**TINY, **LARGE}, front_end={"return_attention_mask": True}),
    "adapter": Case("Wav2Vec2", {**TINY, **LARGE, "add_adapter": True, "output_hidden_size": 10}),
    "hubert": Case("Hubert", TINY),
    "large hubert": Case("Hubert", {**TINY, **LARGE}, "ForSequenceClassification"),
    "wavlm": Case("WavLM", {**TINY, **BUCKETS}, front_end={"do_normalize": False}),
    "large wavlm": Case("WavLM", {**TINY, **LARGE, **BUCKETS}),
    "unispeech": Case("UniSpeech", TINY),
    "unispeech-sat": Case("UniSpeechSat", {**TINY, **LARGE}, "ForCTC"),
    "data2vec": Case("Data2VecAudio", DATA2VEC),
    "sew": Case("SEW", TINY, front_end={"sampling_rate": 8000}),
    "large sew": Case("SEW", {**TINY, "feat_extract_norm": "layer"}),
    "sew-d": Case("SEWD", TINY, "ForCTC"),
    "large sew-d": Case("SEWD", {**TINY, "feat_extract_norm": "layer"}),
    "wav2vec2-bert": Case(
        "Wav2Vec2Bert",
        {**SIZES, "feature_projection_input_dim": 40, "conv_depthwise_kernel_size": 5, "vocab_size": 9},
        "ForCTC",
        "SeamlessM4T",
        {"feature_size": 20, "num_mel_bins": 20, "padding_value": 1},
    ),
    "ast": Case("AST", PATCHES, "Model", "AST", {"num_mel_bins": 24, "max_length": 60, "mean": -3.5, "std": 2.5}),
    "ast with a head": Case(
        "AST", PATCHES, "ForAudioClassification", "AST", {"num_mel_bins": 24, "max_length": 60, "do_normalize": False}
    ),
    "whisper": Case("Whisper", WHISPER, "ForConditionalGeneration", "Whisper", {"feature_size": 40, "chunk_length": 1}),
    "whisper without a head": Case("Whisper", WHISPER, "Model", "Whisper", {"feature_size": 40, "chunk_length": 1}),
    "clap": Case(
        "Clap",
        {"audio_config": CLAP_AUDIO, "text_config": CLAP_TEXT, "projection_dim": 6},
        "Model",
        "Clap",
        {"feature_size": 16, "max_length_s": 1, "truncation": "rand_trunc", "frequency_min": 50},
    ),
    "clap tower": Case(
        "ClapAudio",
        CLAP_AUDIO,
        "ModelWithProjection",
        "Clap",
        {"feature_size": 16, "max_length_s": 1, "truncation": "rand_trunc", "padding": "repeat"},
    ),
}
SPEECH = [name for name, case in CASES.items() if case.extractor == "Wav2Vec2"]
FEW = list({case.kind: name for name, case in reversed(CASES.items())}.values())
MASKED = [name for name in SPEECH if CASES[name].config.get("feat_extract_norm") == "layer" or name == "data2vec"]


@pytest.fixture
def library() -> ModuleType:
    return pytest.importorskip("transformers")


def write(library: ModuleType, name: str, folder: Path) -> tuple[nn.Module, Any]:
    """The encoder of a network, and a front end, both written as their publishers write them.

    The weights are large enough for mistakes to show.
    """
    case = CASES[name]
    torch.manual_seed(0)
    written = getattr(library, case.kind + case.suffix)(getattr(library, f"{case.kind}Config")(**case.config)).eval()
    with torch.no_grad():
        for parameter in written.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    written.save_pretrained(folder)
    extractor = getattr(library, f"{case.extractor}FeatureExtractor")(**case.front_end)
    extractor.save_pretrained(folder)
    network: Any = getattr(written, written.base_model_prefix, written)
    if case.kind in ("Clap", "ClapAudio"):
        network = written.audio_model
    return (network.encoder if case.kind == "Whisper" else network), extractor


def clip(samples: int, rate: int = 16_000, seed: int = 7) -> Tensor:
    """A rising tone and noise."""
    t = np.arange(samples) / rate
    tone = 0.4 * np.sin(2 * np.pi * (200 * t + 900 * t * t))
    noise = 0.05 * np.random.RandomState(seed).randn(samples)
    return torch.from_numpy((tone + noise + 0.02).astype(np.float32))[None]


def encoder(folder: Path, rate: int = 16_000) -> TransformersEncoder:
    made = TransformersEncoder(rate, str(folder)).eval()
    made.load()
    return made


def expected(name: str, network: nn.Module, extractor: Any, sound: Tensor) -> list[Tensor]:
    """The layers of one clip as computed by transformers, arranged over time."""
    case = CASES[name]
    inputs = extractor(sound[0].numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
    if case.extractor == "Wav2Vec2":
        inputs.pop("attention_mask", None)
    output = network(**inputs, output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    if case.extractor == "Clap":
        inner = [torch.cat(state.chunk(4, dim=2), dim=3).mean(2) for state in states[:-1]]
        return [*inner, states[-1].mean(2)]
    if case.extractor == "AST":
        rows = [state[:, 2:].reshape(1, 5, 9, 16).mean(1).mT for state in states]
        frames = 1 + (min(sound.shape[1], 16_000) - 400) // 160
        kept = sum(6 * column < frames for column in range(9))
        return [*(row[..., :kept] for row in rows), output.pooler_output[..., None]]
    return [state.mT for state in states]


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_every_layer_equals_transformers(name: str, library: ModuleType, tmp_path: Path) -> None:
    network, extractor = write(library, name, tmp_path)
    made = encoder(tmp_path, extractor.sampling_rate)
    sound = clip(round(0.78 * extractor.sampling_rate), extractor.sampling_rate)

    layers = made(sound)
    others = expected(name, network, extractor, sound)

    assert made.trained_rate == extractor.sampling_rate
    assert {layer: state.shape[1] for layer, state in layers.items()} == made.layers
    assert len(layers) == len(others)
    for layer, state in zip(layers, others):
        found = layers[layer]
        if CASES[name].kind in ("Whisper", "Wav2Vec2Bert"):  # what follows the sound is left out
            assert state.shape[2] >= found.shape[2] >= 0.7 * state.shape[2]
            state = state[..., : found.shape[2]]
        assert state.std() > 0.05
        torch.testing.assert_close(found, state, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # transformers itself, with WavLM
@pytest.mark.parametrize("name", SPEECH)
def test_padding_is_excluded(name: str, library: ModuleType, tmp_path: Path) -> None:
    """It is excluded from the statistics of a clip, and from attention if the network was trained so."""
    network, extractor = write(library, name, tmp_path)
    made = encoder(tmp_path)
    batch = torch.cat([clip(8000), nn.functional.pad(clip(5000, seed=8), (0, 3000)), clip(8000, seed=9)])

    layers = made(batch)
    inputs = extractor(
        [batch[0].numpy(), batch[1, :5000].numpy(), batch[2].numpy()],
        sampling_rate=extractor.sampling_rate,
        padding=True,
        return_attention_mask=True,
        return_tensors="pt",
    )
    if name not in MASKED:
        del inputs["attention_mask"]
    output = network(**inputs, output_hidden_states=True)

    assert made.masks_padding
    torch.testing.assert_close(made.front_end(batch)["input_values"], inputs["input_values"], atol=1e-4, rtol=1e-4)
    for found, state in zip(layers.values(), [*output.hidden_states[:-1], output.last_hidden_state], strict=True):
        torch.testing.assert_close(found, state.mT, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("samples", [5000, 5160])
def test_paired_frames_exclude_padding(samples: int, library: ModuleType, tmp_path: Path) -> None:
    network, extractor = write(library, "wav2vec2-bert", tmp_path)
    made = encoder(tmp_path)
    batch = torch.cat([clip(8000), nn.functional.pad(clip(samples, seed=8), (0, 8000 - samples))])

    layers = made(batch)
    pairs = (1 + (samples - 400) // 160) // 2
    for row, kept in ((0, 24), (1, pairs)):
        sound = batch[row : row + 1, : 8000 if row == 0 else samples]
        for found, state in zip(layers.values(), expected("wav2vec2-bert", network, extractor, sound), strict=True):
            torch.testing.assert_close(found[row, :, :kept], state[0, :, :kept], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["ast", "whisper", "clap", "clap tower"])
@pytest.mark.parametrize("share", [0.03, 0.34, 1.0, 1.3])
def test_clips_of_any_length_are_preprocessed_as_published(
    name: str, share: float, library: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If transformers cuts a random part, it is made to take the first one."""
    network, extractor = write(library, name, tmp_path)
    made = encoder(tmp_path, extractor.sampling_rate)
    samples = round(share * extractor.sampling_rate)
    monkeypatch.setattr(np.random, "randint", lambda low, high: low)

    found = list(made(clip(samples, extractor.sampling_rate)).values())
    others = expected(name, network, extractor, clip(samples, extractor.sampling_rate))
    seen = next(iter(made.front_end(clip(samples, extractor.sampling_rate)).values()))
    inputs = extractor(
        clip(samples, extractor.sampling_rate)[0].numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt"
    )

    torch.testing.assert_close(seen, next(iter(inputs.values())), atol=1e-4, rtol=1e-4)
    for state, other in zip(found, others, strict=True):
        if name == "whisper":
            assert state.shape[2] == min(50, -(-samples // 320))
            other = other[..., : state.shape[2]]
        torch.testing.assert_close(state, other, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", FEW)
def test_it_is_rebuilt_without_the_folder(name: str, library: ModuleType, tmp_path: Path) -> None:
    _, extractor = write(library, name, tmp_path)
    made = encoder(tmp_path, extractor.sampling_rate)
    for file in tmp_path.iterdir():
        file.unlink()

    architecture = json.loads(json.dumps(made.architecture))
    again = TransformersEncoder(extractor.sampling_rate, None, architecture).eval()
    again.load_state_dict(made.state_dict())

    assert architecture == made.architecture == again.architecture
    assert (again.layers, again.trained_rate, again.title) == (made.layers, made.trained_rate, made.title)
    sound = clip(round(0.4 * made.trained_rate), made.trained_rate)
    for found, state in zip(again(sound).values(), made(sound).values(), strict=True):
        assert torch.equal(found, state)
    with pytest.raises(ConfigError, match=r"the source of these weights is unknown; name the folder"):
        again.load()


@pytest.mark.parametrize("name", FEW)
def test_shapes_and_weights_are_checked_without_memory(name: str, library: ModuleType, tmp_path: Path) -> None:
    _, extractor = write(library, name, tmp_path)
    made = encoder(tmp_path, extractor.sampling_rate)
    for samples in (round(made.least_seconds * made.trained_rate), round(0.3 * made.trained_rate)):
        sound = clip(2 * samples, made.trained_rate).reshape(2, samples)
        with torch.no_grad():
            states = made(sound)
        assert all(torch.isfinite(state).all() for state in states.values())
        with torch.device("meta"):
            described = TransformersEncoder(made.trained_rate, str(tmp_path))
            described.load()
            shapes = {layer: state.shape for layer, state in described(torch.empty(2, samples)).items()}
        assert {parameter.device.type for parameter in described.parameters()} == {"meta"}
        assert shapes == {layer: state.shape for layer, state in states.items()}
    stored = load_file(tmp_path / "model.safetensors")
    needed = tuple(f".{tensor}" for tensor in made.network.state_dict())
    left_out = next(tensor for tensor in stored if f".{tensor}".endswith(needed) and "decoder" not in tensor)
    save_file({tensor: value for tensor, value in stored.items() if tensor != left_out}, tmp_path / "model.safetensors")
    with torch.device("meta"), pytest.raises(ConfigError, match=r"contains no weights of .*: '.*' is missing; "):
        TransformersEncoder(made.trained_rate, str(tmp_path)).load()


@pytest.mark.parametrize("name", FEW)
def test_all_weights_are_trained_and_no_layer_is_skipped(name: str, library: ModuleType, tmp_path: Path) -> None:
    _, extractor = write(library, name, tmp_path)
    made = encoder(tmp_path, extractor.sampling_rate).train()
    sound = clip(2 * round(0.2 * made.trained_rate), made.trained_rate).reshape(2, -1)
    for _ in range(5):
        states = made(sound)
        assert list(states) == list(made.layers)
    loss = sum(state.square().mean() for state in states.values())
    assert isinstance(loss, Tensor)
    loss.backward()
    for tensor, parameter in made.named_parameters():
        assert parameter.grad is not None or not parameter.requires_grad, tensor
    assert any(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in made.parameters())
    assert sum(parameter.numel() for parameter in made.parameters()) == made.num_parameters


def older(name: str) -> str:
    """The name of a tensor in transformers before version 5."""
    for new, old in (
        ("parametrizations.weight.original0", "weight_g"),
        ("parametrizations.weight.original1", "weight_v"),
    ):
        name = name.replace(new, old)
    if "audio_spectrogram_transformer." not in name:
        return name
    for new, old in (
        (".layers.", ".encoder.layer."),
        (".attention.q_proj.", ".attention.attention.query."),
        (".attention.k_proj.", ".attention.attention.key."),
        (".attention.v_proj.", ".attention.attention.value."),
        (".attention.o_proj.", ".attention.output.dense."),
        (".mlp.fc1.", ".intermediate.dense."),
        (".mlp.fc2.", ".output.dense."),
    ):
        name = name.replace(new, old)
    return name


@torch.no_grad()
@pytest.mark.parametrize("name", ["hubert", "wavlm", "sew-d", "ast with a head"])
def test_older_files_are_read_too(name: str, library: ModuleType, tmp_path: Path) -> None:
    network, extractor = write(library, name, tmp_path)
    state = network.state_dict()
    prefix = f"{network.base_model_prefix}."
    renamed = {older(prefix + tensor): value for tensor, value in state.items()}
    assert not {tensor.removeprefix(prefix) for tensor in renamed} >= state.keys()
    (tmp_path / "model.safetensors").unlink()
    torch.save(renamed, tmp_path / "pytorch_model.bin")
    made = encoder(tmp_path)
    sound = clip(9000)
    for found, other in zip(made(sound).values(), expected(name, network, extractor, sound), strict=True):
        torch.testing.assert_close(found, other, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_front_end_may_lie_among_others(library: ModuleType, tmp_path: Path) -> None:
    """Version 5 stores the front ends of audio and text in one file."""
    write(library, "wavlm", tmp_path)
    stored = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    made = TransformersEncoder(16_000, str(tmp_path))
    assert isinstance(made.front_end, Speech)
    assert made.front_end.do_normalize
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": stored}))
    made = TransformersEncoder(16_000, str(tmp_path))
    assert isinstance(made.front_end, Speech)
    assert not made.front_end.do_normalize


def rewrite(file: str, **changes: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        stored = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**stored, **changes}))

    return change


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("hubert", rewrite("config.json", model_type="bert"), r"has model_type='bert', expected one of: audio-spectr"),
        ("hubert", rewrite("config.json", model_type=None), r"has model_type=None, expected one of: audio-spectr"),
        ("hubert", lambda folder: (folder / "config.json").unlink(), r"config\.json cannot be read: .*No such file"),
        ("hubert", lambda folder: (folder / "config.json").write_text("{"), r"config\.json cannot be read: "),
        ("hubert", lambda folder: (folder / "config.json").write_text("[]"), r"holds a list, expected an object"),
        ("hubert", rewrite("config.json", conv_dim=[8, 8]), r"this HuBERT cannot be used: "),
        ("hubert", rewrite("config.json", hidden_size="wide"), r"this HuBERT cannot be used: "),
        ("hubert", rewrite("config.json", num_attention_heads=0), r"this HuBERT cannot be used: "),
        ("hubert", rewrite("config.json", intermediate_size=36), r"contains no weights of HuBERT: .*size mismatch"),
        ("hubert", rewrite("config.json", num_hidden_layers=4), r"contains no weights of HuBERT: .* is missing"),
        (
            "hubert",
            lambda folder: (folder / "preprocessor_config.json").write_text("no JSON"),
            r"preprocessor_config\.json cannot be read: ",
        ),
        (
            "hubert",
            rewrite("preprocessor_config.json", sampling_rate="fast"),
            r"has sampling_rate='fast', expected one like 16000",
        ),
        (
            "hubert",
            rewrite("preprocessor_config.json", sampling_rate=0),
            r"^backbone: this HuBERT cannot be used: a front end of 0 Hz",
        ),
        (
            "hubert",
            lambda folder: (folder / "model.safetensors").write_bytes(b"weights"),
            r"backbone: the weights in .* cannot be read: ",
        ),
        (
            "hubert",
            lambda folder: (folder / "model.safetensors").unlink(),
            r"holds neither model\.safetensors nor pytorch_model\.bin",
        ),
        (
            "clap",
            rewrite("config.json", audio_config={**CLAP_AUDIO, "enable_fusion": True}),
            r"^backbone: this CLAP cannot be used: its fusion ",
        ),
        (
            "whisper",
            rewrite("preprocessor_config.json", hop_length=0),
            r"this Whisper cannot be used: hop_seconds is 0",
        ),
    ],
)
def test_other_folders_are_refused_in_one_line(
    name: str, spoil: Callable[[Path], object], message: str, library: ModuleType, tmp_path: Path
) -> None:
    write(library, name, tmp_path)
    spoil(tmp_path)
    with pytest.raises(ConfigError, match=message) as raised:
        encoder(tmp_path)
    assert "\n" not in str(raised.value)
    assert "model.pretrained" not in str(raised.value)


def test_missing_transformers_is_one_line_with_the_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"^backbone: HuBERT needs the package transformers; pip install transform"):
        TransformersEncoder(16_000, str(tmp_path))


@pytest.mark.parametrize("architecture", [{}, {"config": {}}, {"config": None}, {"config": {"model_type": "bert"}}])
def test_another_architecture_is_refused(architecture: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"the architecture does not describe an audio encoder: "):
        TransformersEncoder(16_000, None, {"preprocessor": {}, **architecture})


def test_a_hub_name_is_downloaded_once_or_the_manual_download_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached: list[str] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        if not cached:
            raise OSError("offline mode\nis enabled")
        assert {"config.json", "preprocessor_config.json", "model.safetensors"} <= set(allow_patterns)
        return str(tmp_path)

    def look(name: str, file: str) -> str | None:
        if "//" in name:
            raise ValueError("no name")
        return cached[0] if cached else None

    hub = SimpleNamespace(snapshot_download=download, try_to_load_from_cache=look)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    file = HubFolder("owner/hubert")
    by_hand = (
        "get config.json, preprocessor_config.json and model.safetensors (or pytorch_model.bin) from "
        "https://huggingface.co/owner/hubert/tree/main into a folder and give it as backbone=FOLDER"
    )
    assert not file.is_here
    assert file.remedy == by_hand
    with pytest.raises(ConfigError) as raised:
        TransformersEncoder(16_000, "owner/hubert")
    assert str(raised.value) == f"backbone=owner/hubert cannot be downloaded (offline mode); {by_hand}"
    with pytest.raises(ConfigError, match=r"^backbone=\./nowhere: no such folder; expected one with config\.json"):
        TransformersEncoder(16_000, "./nowhere")

    torch.save({}, tmp_path / "pytorch_model.bin")
    cached.append(str(tmp_path / "config.json"))
    assert file.is_here
    assert file.path() == tmp_path
    local = HubFolder(str(tmp_path))
    assert local.is_here
    assert local.remedy == f"put config.json and model.safetensors into {tmp_path}"
    assert not HubFolder("a//b").is_here
    assert not HubFolder(None).is_here
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert not file.is_here


@pytest.mark.parametrize(
    ("kind", "config", "millions", "last", "width", "least"),
    [
        ("hubert", {}, 94.37, "layer12", 768, 400),
        ("wav2vec2", {}, 94.37, "layer12", 768, 400),
        ("wavlm", {}, 94.38, "layer12", 768, 400),
        ("audio-spectrogram-transformer", {}, 86.19, "embedding", 768, 400),
        ("whisper", {"d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048},
         20.59, "layer6", 512, 160),
        ("clap", {}, 27.5, "layer4", 768, 480),
    ],
)  # fmt: skip
def test_published_sizes(
    kind: str, config: dict[str, Any], millions: float, last: str, width: int, least: int, library: ModuleType
) -> None:
    given = dict(FAMILIES[kind].front_end.defaults)
    with torch.device("meta"):
        made = TransformersEncoder(16_000, None, {"config": {"model_type": kind, **config}, "preprocessor": given})
        states = made(torch.empty(2, made.trained_rate))
    assert made.num_parameters / 1e6 == pytest.approx(millions, rel=2e-3)
    assert list(made.layers)[-1] == last
    assert made.layers[last] == states[last].shape[1] == width
    assert round(made.least_seconds * made.trained_rate) == least
    assert states["layer0"].shape[0] == 2
