"""Networks described by their own files: training, saving, and loading without the files."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiny
import torch
from onnx_files import convolved
from running import run

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.core.errors import ConfigError
from audio_lightning.inference.load import load_classifier
from audio_lightning.models.pretrained import hub_files
from audio_lightning.models.pretrained.registry import BACKBONES, is_described, make_backbone, required_rate

pytestmark = pytest.mark.published

TABLE = Path(__file__).parents[2] / "docs/how-to/published.md"


def clips(classifier: AudioClassifier) -> torch.Tensor:
    return 0.1 * torch.randn(3, classifier.task.num_samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="pip install onnxruntime")
def test_a_checkpoint_contains_the_onnx_file(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(convolved(["n", "samples"]))
    root = tiny.write_urbansound8k(tmp_path / "data")
    chosen = [f"feature.backbone={file}", "feature.pretrained=true", "feature.layers=[frames]", "trainer.max_epochs=1"]
    run(root, tmp_path / "run", *chosen, settings=tiny.FROZEN_OVERRIDES)
    trained = load_classifier(tmp_path / "run")
    assert isinstance(trained, AudioClassifier)
    before = trained(clips(trained))
    file.unlink()
    again = load_classifier(tmp_path / "run")
    assert torch.equal(again(clips(trained)), before)


@pytest.mark.parametrize("route", ["frozen", "trained further"])
def test_a_checkpoint_contains_the_transformers_encoder(route: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.HubertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=20,
        conv_dim=(8, 8, 8),
        conv_kernel=(10, 3, 3),
        conv_stride=(5, 4, 4),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4,
    )
    folder = tmp_path / "hubert"
    transformers.HubertModel(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)
    assert required_rate(str(folder)) == 16_000
    root = tiny.write_urbansound8k(tmp_path / "data")
    common = ["data.sample_rate=16000", "trainer.max_epochs=1"]
    if route == "frozen":
        chosen = [f"feature.backbone={folder}", "feature.pretrained=true"]
        run(root, tmp_path / "run", *chosen, *common, settings=tiny.FROZEN_OVERRIDES)
    else:
        chosen = ["feature=waveform", "feature.normalize=none", "model=published", f"model.backbone={folder}"]
        chosen += ["model.layers=weighted", "model.pooling=attention", "finetune=full", "finetune.unfreeze_epoch=1"]
        run(root, tmp_path / "run", *chosen, *common, settings=tiny.FROZEN_OVERRIDES[3:])
    trained = load_classifier(tmp_path / "run")
    assert isinstance(trained, AudioClassifier)
    before = trained(clips(trained))
    shutil.rmtree(folder)
    again = load_classifier(tmp_path / "run")
    torch.testing.assert_close(again(clips(trained)), before)


@pytest.mark.parametrize("name", ["owner/network", "net.onnx"])
def test_no_files_are_looked_up_without_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a checkpoint of another author without a description of its network."""

    def look(self: object) -> Path:
        raise AssertionError("looked for")

    monkeypatch.setattr(hub_files.HubFolder, "path", look)
    assert is_described(name)
    with pytest.raises(ConfigError, match=r"without its weights, the architecture of this network is unknown"):
        make_backbone(name, 16_000, pretrained=False)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_layers_and_rate_of_every_network_hold_on_the_meta_device(name: str) -> None:
    """Layers, minimum length and rate hold on the meta device, at full size."""
    cls = BACKBONES[name]
    with torch.device("meta"), torch.no_grad():
        network = cls(cls.trained_rate).eval()
        samples = max(cls.trained_rate, -(-int(cls.least_seconds * 1e6) * cls.trained_rate // 10**6))
        found = network(torch.empty(2, samples))
    assert {layer: tensor.shape[1] for layer, tensor in found.items()} == dict(network.layers)
    assert all(len(tensor) == 2 and tensor.dim() == 3 and tensor.shape[2] for tensor in found.values())
    if cls.trainable:
        assert sum(one.numel() for one in network.parameters()) == pytest.approx(cls.num_parameters, rel=0.02)
    assert required_rate(name) == (None if cls.any_rate else cls.trained_rate)
    row = next(line for line in TABLE.read_text("utf-8").splitlines() if line.startswith(f"| `{name}` |"))
    rate, size = f"| {cls.trained_rate / 1000:g} kHz{', any' if cls.any_rate else ''} |", cls.num_parameters / 1e6
    values = f"| {2 * sum(cls.layers.values()):,} |"
    for text in (f"| {cls.licence} |", rate, values, f"| {size:.1f} million |" if size < 1000 else " billion |"):
        assert text in row
    for text in (cls.title, cls.licence, cls.citation, cls.file.remedy):
        assert text
        assert "\n" not in text
