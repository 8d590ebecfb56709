"""Networks written by `transformers` give the same outputs here, up to the head and through fine-tuning."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.ast import AST, fit_positions
from audio_lightning.models.wav2vec2 import Wav2Vec2

transformers = pytest.importorskip("transformers")

SPEECH = FeatureShape("waveform", (1, 4000))
TINY = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 37,
    "conv_dim": (8, 8, 6), "conv_kernel": (10, 3, 3), "conv_stride": (5, 4, 4),
    "num_conv_pos_embeddings": 15, "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 12, "num_labels": 5,
}  # fmt: skip
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
SPEECH_NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec 2.0": ("Wav2Vec2", {}),
    "large wav2vec 2.0": ("Wav2Vec2", LARGE),
    "HuBERT": ("Hubert", {}),
    "large HuBERT": ("Hubert", {**LARGE, "conv_bias": False}),
    "DistilHuBERT": ("Hubert", {"num_hidden_layers": 2, "feat_proj_layer_norm": False}),
    "WavLM": ("WavLM", {"num_buckets": 20, "max_bucket_distance": 50}),
    "large WavLM": ("WavLM", {**LARGE, "num_buckets": 20, "max_bucket_distance": 50}),
}


def write(kind: str, config: Any, folder: Path, suffix: str = "Model") -> nn.Module:
    """A network written by its publishers' library, with weights large enough to reveal errors."""
    torch.manual_seed(0)
    network = getattr(transformers, f"{kind}{suffix}")(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.save_pretrained(folder)
    return network


def write_speech(name: str, folder: Path, suffix: str = "Model", **changes: Any) -> nn.Module:
    kind, options = SPEECH_NETWORKS[name]
    return write(kind, getattr(transformers, f"{kind}Config")(**{**TINY, **options, **changes}), folder, suffix)


def sounds(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("name", SPEECH_NETWORKS)
def test_every_layer_of_a_speech_network_equals_transformers(name: str, tmp_path: Path) -> None:
    published = write_speech(name, tmp_path)
    made = Wav2Vec2(SPEECH, 3, pretrained=str(tmp_path)).eval()
    x = sounds(3, 4000)

    layers = made.layers(x, torch.full((3,), 4000))
    output = published(x, output_hidden_states=True)
    # Versions differ in whether the last of these is what large networks end with.
    expected = [*output.hidden_states[1:-1], output.last_hidden_state]

    assert len(layers) == len(expected) == len(made.layer_weights)
    for layer, one in zip(layers, expected):
        assert (one[0] - one[1]).abs().max() > 0.1
        torch.testing.assert_close(layer, one, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["large wav2vec 2.0", "large HuBERT"])
def test_padding_is_excluded_as_in_the_published_classifier(name: str, tmp_path: Path) -> None:
    """Compares the logits, with the published head in place of the new one."""
    published = write_speech(name, tmp_path, "ForSequenceClassification")
    made = Wav2Vec2(SPEECH, 5, projection=12, pretrained=str(tmp_path)).eval()
    made.project, made.head = published.projector, published.classifier
    made.layer_weights.copy_(torch.tensor([0.0, 0.0, 50.0]))  # it looks at the last layer alone
    mask = torch.arange(4000) < torch.tensor([[4000], [2500], [731]])
    x = sounds(3, 4000) * mask

    expected = published(x, attention_mask=mask.long()).logits

    assert (published(x).logits - expected)[1:].abs().min() > 1e-3
    torch.testing.assert_close(made(x[:, None]), expected, atol=1e-4, rtol=1e-4)


AST_SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37, "num_mel_bins": 24,
    "max_length": 40, "patch_size": 8, "frequency_stride": 4, "time_stride": 6,
}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("frames", [40, 64, 20])
@pytest.mark.parametrize("suffix", ["Model", "ForAudioClassification"])
def test_ast_equals_transformers_at_any_length(frames: int, suffix: str, tmp_path: Path) -> None:
    """At other lengths the published network gets the fitted positions, because it has none."""
    published = write("AST", transformers.ASTConfig(**AST_SIZES), tmp_path, suffix)
    published = getattr(published, "audio_spectrogram_transformer", published)
    rows, columns = 5, (frames - 8) // 6 + 1
    positions = published.embeddings.position_embeddings
    positions.data = fit_positions(positions, (5, 6), (rows, columns))
    x = sounds(3, 1, 24, frames)

    expected = published(x[:, 0].mT).pooler_output

    assert (expected[0] - expected[1]).abs().max() > 0.1
    made = AST(FeatureShape("spectrogram", (1, 24, frames)), 3, pretrained=str(tmp_path)).eval()
    torch.testing.assert_close(made.embed(x), expected, atol=1e-4, rtol=1e-4)
    longer = AST(FeatureShape("spectrogram", (1, 24, 40)), 3, pretrained=str(tmp_path)).eval()
    torch.testing.assert_close(longer.embed(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["HuBERT", "AST"])
def test_weights_trained_at_another_sample_rate_are_refused(name: str, tmp_path: Path) -> None:
    if name == "AST":
        write("AST", transformers.ASTConfig(**AST_SIZES), tmp_path)
        cls, shape = AST, FeatureShape("spectrogram", (1, 24, 40), sample_rate=16000)
    else:
        write_speech(name, tmp_path)
        cls, shape = Wav2Vec2, replace(SPEECH, sample_rate=16000)
    for stored in ('{"sampling_rate": 16000}', "{}", "not JSON"):
        (tmp_path / "preprocessor_config.json").write_text(stored)
        cls(shape, 2, pretrained=str(tmp_path))

    (tmp_path / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')
    message = "trained on sounds of 8000 Hz, and the clips have 16000 Hz; use data.sample_rate=8000$"
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        cls(shape, 2, pretrained=str(tmp_path))


@pytest.mark.parametrize("name", [*SPEECH_NETWORKS, "AST"])
def test_weights_are_checked_on_the_meta_device(name: str, tmp_path: Path) -> None:
    if name == "AST":
        write("AST", transformers.ASTConfig(**AST_SIZES), tmp_path)
        cls, shape = AST, FeatureShape("spectrogram", (1, 24, 40))
    else:
        write_speech(name, tmp_path)
        cls, shape = Wav2Vec2, SPEECH
    with torch.device("meta"):
        assert cls(shape, 2, pretrained=str(tmp_path)).inferred_options
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 38}))
        with pytest.raises(ConfigError, match="does not hold the network that it describes"):
            cls(shape, 2, pretrained=str(tmp_path))


@pytest.mark.parametrize("name", [*SPEECH_NETWORKS, "AST"])
def test_it_can_be_fine_tuned_and_rebuilt_without_the_folder(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if name == "AST":
        write("AST", transformers.ASTConfig(**AST_SIZES), tmp_path)
        cls, shape, x = AST, FeatureShape("spectrogram", (1, 24, 40)), sounds(8, 1, 24, 40)
    else:
        write_speech(name, tmp_path)
        cls, shape, x = Wav2Vec2, SPEECH, sounds(8, 1, 4000)
        x[::3, :, 2500:] = 0
    tuned = cls(shape, 2, dropout=0.0, pretrained=str(tmp_path))
    optimizer = torch.optim.Adam(tuned.parameters(), lr=5e-3)
    losses = []
    for _ in range(12):
        loss = nn.functional.cross_entropy(tuned(x), torch.arange(8) % 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    for parameter in tuned.parameters():
        assert parameter.grad is not None
    for file in tmp_path.iterdir():
        file.unlink()

    rebuilt = cls(shape, 2, **tuned.inferred_options)
    rebuilt.load_state_dict(tuned.state_dict())

    assert losses[-1] < 0.8 * losses[0]
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.eval()(x), tuned.eval()(x), atol=0, rtol=0)
