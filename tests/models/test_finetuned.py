"""Fine-tuning of published networks, with random weights."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from running import run
from torch import Tensor

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.finetune import Finetuning
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.inference.load import load_classifier
from audio_lightning.models.pretrained.pooling import AttentionPooling, pool_layers
from audio_lightning.models.published import Published

SHAPE = FeatureShape("waveform", (1, 8000), sample_rate=8000)

FINETUNED = [
    "feature=waveform",
    "feature.normalize=none",
    "model=published",
    "model.pretrained=null",
    *tiny.FROZEN_OVERRIDES[3:],
]


def layer(*rows: list[float]) -> Tensor:
    return torch.tensor([rows])


def test_layers_are_pooled_over_frames_that_are_not_padding() -> None:
    found = {"a": layer([1.0, 3, 9]), "b": layer([-4.0, -2], [0.0, 6])}
    assert pool_layers(found, ["b", "a"], "mean_max")[0].tolist() == pytest.approx([-3, 3, -2, 6, 13 / 3, 9])
    counts = {"a": torch.tensor([[True, True, False]]), "b": torch.tensor([[True, False]])}
    assert pool_layers(found, ["a", "b"], "mean", counts).tolist() == [[2, -4, 0]]
    assert pool_layers(found, ["a", "b"], "max", counts).tolist() == [[3, -4, 0]]


def test_attention_pooling_weights_frames() -> None:
    pooling = AttentionPooling({"a": 1})
    with torch.no_grad():
        pooling.scores["a"].weight.fill_(100)
    found = {"a": layer([1.0, 3, 9])}
    assert pooling(found).item() == pytest.approx(9)
    assert pooling(found, {"a": torch.tensor([[True, True, False]])}).item() == pytest.approx(3)


@pytest.mark.parametrize("pooling", ["mean", "max", "mean_max", "attention"])
@pytest.mark.parametrize("layers", ["all", "last", ["conv_block2", "conv_block3"]])
def test_every_weight_gets_a_gradient(pooling: Any, layers: Any) -> None:
    network = Published(SHAPE, 3, layers=layers, pooling=pooling, hidden_dims=[4], pretrained=None)
    waveform = 0.1 * torch.randn(3, 1, 8000, generator=torch.Generator().manual_seed(0))
    assert network.embed(waveform).shape == (3, network.embedding_dim)
    network(waveform).square().sum().backward()
    used = {name: parameter.grad is not None for name, parameter in network.named_parameters()}
    unused = {name for name, got in used.items() if not got}
    expected = {name for name in used if "conv_block4" in name} if layers not in ("all", "last") else set()
    assert unused == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "weighted"}, r"model\.layers=weighted: the layers of aisfx differ in width \(conv_block1 64, "),
        ({"backbone": "aisfy"}, r"model\.backbone=aisfy: no such network; did you mean aisfx\?"),
        ({"pretrained": "runs/gone"}, r"model\.pretrained=runs/gone: there is no such run or checkpoint; use"),
        ({"pooling": "median"}, r"pooling is 'median', expected one of: mean, max, mean_max, attention"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Published(SHAPE, 3, **{"pretrained": None, **options})


def test_networks_that_cannot_be_trained_are_refused() -> None:
    shape = FeatureShape("waveform", (1, 16000), sample_rate=16000)
    with pytest.raises(ConfigError, match=r"experiment=frozen feature\.backbone=speech_embedding"):
        Published(shape, 3, backbone="speech_embedding", pretrained=None)


def test_a_constant_value_is_not_amplified() -> None:
    network = Published(SHAPE, 3, layers="last", pooling="mean", pretrained=None)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        values = torch.randn(8, network.embedding_dim, generator=generator)
        values[:, 0] = 0
        network.normalize(values)
    network.eval()
    assert network.normalize(torch.full((1, network.embedding_dim), 0.3))[0, 0] < 50


def test_weights_of_layers_and_frames_belong_to_the_head() -> None:
    shape = FeatureShape("waveform", (1, 16_000), sample_rate=16_000)
    with torch.device("meta"):
        network = Published(shape, 3, backbone="eat", layers="weighted", pooling="attention", pretrained=None)
        assert network(torch.empty(2, 1, 16_000)).shape == (2, 3)
    assert "clip" not in network.layers
    stages = network.stages()
    assert any(parameter is network.layer_weights for parameter in stages["head"])
    assert sum(map(len, stages.values())) == len(list(network.parameters()))
    finetuning = Finetuning({"backbone_lr_ratio": 0.1}, network, torch.nn.Identity())
    rates = [group["decay"] for group in finetuning.parameter_groups()]
    assert rates == [1.0, *[0.1] * (len(rates) - 1)]


def test_published_batch_normalization_is_frozen(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path / "data")
    head_first = ["finetune=full", "finetune.unfreeze_epoch=1", "trainer.max_epochs=2", "scheduler=none"]
    run(root, tmp_path / "run", *head_first, "model.layers=last", settings=FINETUNED)
    trained = load_classifier(tmp_path / "run/checkpoints/last.ckpt")
    assert isinstance(trained, AudioClassifier)
    state = trained.network.state_dict()
    assert (state["backbone.blocks.conv_block1.bn1.running_mean"] == 0).all()
    assert (state["backbone.blocks.conv_block1.bn1.weight"] != 1).any()
    assert (state["normalize.running_mean"] != 0).any()


@pytest.mark.full
def test_blocks_behind_the_chosen_layers_need_no_gradient_on_several_devices(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path / "data")
    two = ["trainer=ddp_sim", "data.batch_size=4", "trainer.max_epochs=2", "model.layers=[conv_block1]"]
    metrics = run(root, tmp_path / "run", *two, settings=FINETUNED)
    assert (metrics["devices"], metrics["epochs"]) == (2, 2)


def test_fine_tuning_starts_from_a_classifier_on_embeddings(tmp_path: Path) -> None:
    root = tiny.write_urbansound8k(tmp_path / "data")
    head = ["model=dnn", "model.hidden_dims=[5]", "feature.layers=[conv_block1]", "trainer.max_epochs=1"]
    run(root, tmp_path / "probe", *head, settings=tiny.FROZEN_OVERRIDES)
    same = ["model.hidden_dims=[5]", "model.layers=[conv_block1]", "model.dropout=0.2"]
    rest = ["optimizer.lr=1e-12", "finetune.batch_norm=frozen", "trainer.max_epochs=1"]
    run(root, tmp_path / "tuned", *same, *rest, f"model.pretrained={tmp_path / 'probe'}", settings=FINETUNED)
    probe, tuned = load_classifier(tmp_path / "probe"), load_classifier(tmp_path / "tuned")
    assert isinstance(tuned, AudioClassifier)
    tuned.network.normalize.load_state_dict(  # a step of training has moved them
        {
            "running_mean": probe.state_dict()["front_end.normalization.mean"].flatten(),
            "running_var": probe.state_dict()["front_end.normalization.std"].flatten().square(),
            "num_batches_tracked": torch.tensor(0),
        }
    )
    waveform = 0.1 * torch.randn(4, probe.task.num_samples, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(tuned(waveform), probe(waveform), atol=1e-3, rtol=1e-3)
