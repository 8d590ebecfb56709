"""Low-rank adapters: only adapters and head are trained, and checkpoints contain them."""

import re
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from choices import front_end, model
from omegaconf import OmegaConf
from running import Killed, kill_at, resume, run
from torch import Tensor, nn
from untrained import CNN, SMALL, write_member

from audio_lightning.classifier.checkpoint import read_checkpoint, write_checkpoint
from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.factory import check_networks
from audio_lightning.classifier.finetune import Finetuning
from audio_lightning.classifier.lora import DOWN, UP, adapter_settings, add_adapters, is_adapter, plain_name
from audio_lightning.config import compose, quote_paths
from audio_lightning.core.errors import CheckpointError, ConfigError
from audio_lightning.core.task import AudioTask, FeatureShape
from audio_lightning.inference.load import load_classifier
from audio_lightning.models import AudioModel, published
from audio_lightning.models.pretrained.aisfx import AISFX
from audio_lightning.models.pretrained.backbone import Backbone
from audio_lightning.models.pretrained.beats import BEATs, BEATsSizes
from audio_lightning.models.pretrained.dasheng import Dasheng, DashengSizes
from audio_lightning.models.pretrained.eat import EAT, EATSizes
from audio_lightning.models.pretrained.efficientnet_lite0 import EfficientNetLite0
from audio_lightning.models.pretrained.transformers_encoder import FAMILIES
from audio_lightning.models.published import Published
from audio_lightning.run_folder import RunFolder

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="pip install 'audio-lightning[lora]'")

LORA: Any = OmegaConf.to_container(compose(["finetune=lora", "finetune.lora.rank=2"]).finetune, resolve=True)
"""Node ``finetune`` of most tests."""

MISSING = "finetune=lora needs the package peft; pip install 'audio-lightning[lora]'"

AST = ["model=ast", "model.embed_dim=8", "model.num_layers=2", "model.num_heads=2"]
MODELS = {"cnn": CNN, "ensemble": [*CNN, "ensemble.num_members=2"], "ast": AST}
FINETUNE = ["finetune=lora", "finetune.lora.rank=2"]

Patch = pytest.MonkeyPatch


def spectrogram(name: str, side: int = 32, **options: Any) -> Callable[[Patch], AudioModel]:
    return lambda patch: model(name, FeatureShape("spectrogram", (1, side, side)), **options)


def small(make: Callable[[int], Backbone], seconds: float = 1.0) -> Callable[[Patch], AudioModel]:
    """A published architecture of small size."""

    def build(patch: Patch) -> AudioModel:
        backbone = make(RATE)
        patch.setattr(published, "make_backbone", lambda *_, **__: backbone)
        shape = FeatureShape("waveform", (1, int(seconds * RATE)), sample_rate=RATE)
        return Published(shape, 3, pretrained=None, pooling="mean")

    return build


def encoder(kind: str) -> Callable[[Patch], AudioModel]:
    """A small audio encoder of transformers."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    convolutions = {"conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [5, 8], "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4}
    config = {**sizes, **convolutions, **positions, "model_type": kind}
    architecture = {"config": config, "preprocessor": dict(FAMILIES[kind].front_end.defaults)}

    def build(patch: Patch) -> AudioModel:
        pytest.importorskip("transformers")
        shape = FeatureShape("waveform", (1, RATE // 2), sample_rate=RATE)
        return Published(shape, 3, backbone=f"some/{kind}", pretrained=None, architecture=architecture, pooling="mean")

    return build


RATE = 16_000
BEATS = BEATsSizes(depth=2, width=16, hidden=20, heads=2, patch_width=8)
PROJECTED = {"q_proj", "k_proj", "v_proj", "out_proj"}
NETWORKS: dict[str, tuple[Callable[[Patch], AudioModel], set[str]]] = {
    "cnn": (
        spectrogram("cnn", channels=[2, 2], hidden_dim=4),
        {"blocks.0.0", "blocks.1.0", "embedding.2"},
    ),
    "ast": (spectrogram("ast", embed_dim=8, num_layers=2, num_heads=2), {"patches", "linear1", "linear2"}),
    "kwt": (spectrogram("kwt", side=16), {"query_key_value", "out"}),
    "crnn": (spectrogram("crnn", side=64), {"0"}),
    "aisfx": (small(AISFX, 0.1), {"conv1", "conv2"}),
    "lite0": (small(EfficientNetLite0, 0.1), {"_expand_conv", "_project_conv", "_conv_head"}),
    "beats": (small(lambda rate: BEATs(rate, sizes=BEATS)), PROJECTED),
    "eat": (small(lambda rate: EAT(rate, sizes=EATSizes(depth=2, width=16, heads=2))), {"qkv", "proj"}),
    "dasheng": (small(lambda rate: Dasheng(rate, sizes=DashengSizes(depth=2, width=16, heads=2))), {"qkv", "proj"}),
    "hubert": (encoder("hubert"), PROJECTED),
    "wavlm": (
        encoder("wavlm"),
        {"conv", "projection", "gru_rel_pos_linear", "intermediate_dense", "output_dense"},
    ),
}
"""Small networks, and the ends of the names of the layers that ``targets: auto`` selects."""


def adapters(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in module.named_parameters() if is_adapter(name)}


def adapted(network: nn.Module) -> list[str]:
    return [name.removesuffix(DOWN) for name in adapters(network) if name.endswith(DOWN)]


def randomize(tensors: Mapping[str, Tensor], scale: float = 0.3) -> None:
    """Give adapters random weights, so that they change the output."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in tensors.items():
            if name.endswith(UP):
                tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))


def clips(network: AudioModel) -> Tensor:
    return 0.3 * torch.randn(2, *network.input_shape.dims, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=NETWORKS)
def made(request: pytest.FixtureRequest, monkeypatch: Patch) -> tuple[AudioModel, set[str]]:
    pytest.importorskip("peft")
    build, ends = NETWORKS[request.param]
    torch.manual_seed(0)
    return build(monkeypatch), ends


def test_new_adapters_do_not_change_the_output(made: tuple[AudioModel, set[str]]) -> None:
    network, ends = made
    network.eval()
    waveforms, stages = clips(network), list(network.stages())
    with torch.no_grad():
        before = network(waveforms)
        add_adapters(network, LORA)
        assert torch.equal(network(waveforms), before)
    assert {name if name in ends else name.rpartition(".")[2] for name in adapted(network)} == ends
    assert list(network.stages()) == stages


def test_only_adapters_and_head_train(made: tuple[AudioModel, set[str]]) -> None:
    network, _ = made
    add_adapters(network, LORA)
    finetuning = Finetuning(LORA, network, nn.Identity())
    finetuning.start_epoch(0, processes=1)
    optimizer = torch.optim.SGD(finetuning.parameter_groups(), lr=0.1, momentum=0.9, weight_decay=0.1)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    waveforms = clips(network)
    for _ in range(2):  # only from the second step on, the first matrix has a gradient other than zero
        optimizer.zero_grad()
        network(waveforms).square().sum().backward()
        optimizer.step()
    head = {id(parameter) for parameter in network.head.parameters()}
    trained = {name for name, parameter in network.named_parameters() if is_adapter(name) or id(parameter) in head}
    assert {name for name, parameter in network.named_parameters() if parameter.grad is not None} == trained
    after = network.state_dict()
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert {name for name in moved if not name.startswith("normalize.")} == trained
    frozen = sum(p.numel() for p in network.parameters()) - sum(network.get_parameter(name).numel() for name in trained)
    assert str(finetuning).endswith(f", {frozen:,} of them frozen")


def test_each_adapter_counts_in_evaluation(made: tuple[AudioModel, set[str]]) -> None:
    """Also for fused or hand-written attention, which reads the weights of some layers."""
    network, _ = made
    network.eval()
    waveforms = clips(network)
    add_adapters(network, LORA)
    with torch.inference_mode():
        before = network(waveforms)
        for name, tensor in adapters(network).items():
            randomize({name: tensor}, 1.0)
            if name.endswith(UP):
                assert not torch.equal(network(waveforms), before), name
                tensor.zero_()


@needs_peft
def test_adapters_freeze_a_learnable_front_end() -> None:
    network, pcen = NETWORKS["cnn"][0](Patch()), front_end("pcen", learnable=True)
    add_adapters(network, LORA)
    Finetuning(LORA, network, pcen)
    assert [parameter.requires_grad for parameter in pcen.parameters()] == [False] * len(list(pcen.parameters()))


@needs_peft
def test_dropout_of_adapters_drops_in_training() -> None:
    network = NETWORKS["cnn"][0](Patch())
    node = {**LORA, "lora": {"rank": 2, "dropout": 0.5}}
    add_adapters(network, node)
    randomize(adapters(network))
    finetuning = Finetuning(node, network, nn.Identity())
    finetuning.start_epoch(0, processes=1)
    spectra = clips(network)
    assert not torch.equal(network.embed(spectra), network.embed(spectra))
    network.eval()
    assert torch.equal(network.embed(spectra), network.embed(spectra))


@needs_peft
def test_settings_are_those_of_the_paper() -> None:
    network = NETWORKS["cnn"][0](Patch()).eval()
    add_adapters(network, {"lora": {"rank": 3, "alpha": 12, "targets": ["embedding.2"]}})
    assert adapted(network) == ["embedding.2"]
    found = dict(adapters(network))
    down, up = found[f"embedding.2{DOWN}"], found[f"embedding.2{UP}"]
    layer = network.get_submodule("embedding.2")
    randomize(found)
    x = torch.randn(2, down.shape[1])
    with torch.no_grad():
        expected = nn.functional.linear(x, layer.base_layer.weight, layer.base_layer.bias) + 4 * x @ down.T @ up.T
        torch.testing.assert_close(layer(x), expected)
    assert len(down) == 3


class Twice(AudioModel):
    """Layers with the same ends of names."""

    input_kind = "spectrogram"

    def __init__(self) -> None:
        super().__init__(FeatureShape("spectrogram", (1, 2, 2)), 3)
        self.embedding_dim = 4
        self.first, self.unused = nn.Linear(4, 4), nn.ModuleDict({"first": nn.Linear(4, 4)})
        self.head = nn.Linear(4, 3)

    def embed(self, x: Tensor) -> Tensor:
        return self.first(x.flatten(1)) + nn.functional.linear(x.flatten(1), self.unused["first"].weight)


@needs_peft
def test_a_name_is_not_the_end_of_another() -> None:
    network = Twice()
    add_adapters(network, LORA)
    assert adapted(network) == ["first"]


@needs_peft
@pytest.mark.parametrize("targets", [["q_proj"], ["encoder.layers.1.attention.out_proj", "conv"]])
def test_a_layer_that_is_not_called_is_refused(targets: list[str], monkeypatch: Patch) -> None:
    network = NETWORKS["wavlm"][0](monkeypatch)
    message = (
        rf"^finetune\.lora\.targets: wavlm, trained further, reads the weights of \S+{targets[0]} without calling "
    )
    with pytest.raises(ConfigError, match=message) as caught:
        add_adapters(network, {"lora": {"targets": targets}})
    assert "\n" not in str(caught.value)
    assert "others: conv, projection" in str(caught.value)


REFUSED = {
    "finetune.lora.rank=0": "finetune.lora.rank=0: expected a whole number, at least 1",
    "finetune.lora.alpha=0": "finetune.lora.alpha=0: expected a number above 0",
    "finetune.lora.dropout=1.0": "finetune.lora.dropout=1.0: expected at least 0.0 and less than 1.0",
    "finetune.lora.targets=all": "finetune.lora.targets=all: expected auto, or a list of names such as [q_proj,v_proj]",
    "finetune.lora.targets=[]": "finetune.lora.targets=[]: expected auto, or a list",
    "finetune.lora.targets=[q_proj]": "finetune.lora.targets: before its head, cnn has no linear layer and no "
    "convolution in one group, without dilation, called q_proj; use one of: blocks.0.0, ",
    "finetune.lora.targets=[head]": "called head; use one of: ",
    "finetune.freeze=all": "finetune.freeze=all: with finetune.lora, all weights but adapters and head are frozen",
    "finetune.unfreeze_epoch=1": "use finetune.unfreeze_epoch=null",
    "model=linear": "finetune=lora: linear has no layer before its head that supports adapters; use finetune=full",
}


@needs_peft
@pytest.mark.parametrize(("override", "message"), REFUSED.items(), ids=REFUSED)
def test_invalid_settings_are_one_line_before_audio_is_read(override: str, message: str) -> None:
    more = ["feature=waveform", "feature.normalize=none"] if override == "model=linear" else []
    plain: Any = OmegaConf.to_container(compose(["finetune=lora", override, *more]), resolve=True)
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        check_networks(plain, AudioTask(("a", "b"), 16000, 16000))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (8, "finetune.lora=8: expected its keys, as in finetune.lora.rank=8"),
        ({"rnak": 8}, "there is no key finetune.lora.rnak; did you mean rank?"),
        ({"rank": 1.5}, "finetune.lora.rank=1.5: expected a whole number, at least 1"),
        ({"rank": True}, "finetune.lora.rank=True: expected a whole number, at least 1"),
        ({"targets": [1]}, "finetune.lora.targets=[1]: expected auto, or a list of names such as [q_proj,v_proj]"),
    ],
)
def test_adapter_settings_of_a_file_are_validated(node: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        adapter_settings({"lora": node})
    assert str(caught.value) == message


def test_a_missing_package_is_one_line_with_the_install_command(monkeypatch: Patch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    plain: Any = OmegaConf.to_container(compose(["finetune=lora"]), resolve=True)
    with pytest.raises(ConfigError) as caught:
        check_networks(plain, AudioTask(("a", "b"), 16000, 16000))
    assert str(caught.value) == MISSING


@needs_peft
def test_loading_adapters_without_the_package_names_it(tmp_path: Path, monkeypatch: Patch) -> None:
    path = write_member(tmp_path / "run.ckpt", *CNN, *FINETUNE)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(CheckpointError) as caught:
        load_classifier(path)
    assert str(caught.value) == f"{path}: refused: {MISSING}"


def write(path: Path, *overrides: str) -> AudioClassifier:
    """Build a classifier with adapters that change its output, and write its checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = read_checkpoint(write_member(path, *overrides))
    randomize(checkpoint["state_dict"])
    write_checkpoint(path, checkpoint)
    classifier = AudioClassifier(**checkpoint["hyper_parameters"]).eval()
    classifier.load_state_dict(checkpoint["state_dict"])
    return classifier


@needs_peft
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_a_checkpoint_with_adapters_loads_alone(options: list[str], tmp_path: Path, monkeypatch: Patch) -> None:
    path = tmp_path / "run.ckpt"
    classifier = write(path, *options, *FINETUNE)
    # What auto means may have changed since.
    monkeypatch.setattr("audio_lightning.classifier.lora._target_layers", lambda *_: ["nothing"])
    loaded = load_classifier(path)
    assert isinstance(loaded, AudioClassifier)
    waveforms = 0.1 * torch.randn(3, 2000)
    assert adapted(loaded)
    assert torch.equal(loaded.probabilities(waveforms), classifier.probabilities(waveforms))


def begun(run: Path, *overrides: str) -> AudioClassifier:
    """A classifier with other random weights and a warm start from a run."""
    plain: Any = OmegaConf.to_container(
        compose(quote_paths([*SMALL, *overrides, f"model.pretrained={run}"])), resolve=True
    )
    task = AudioTask(tiny.CLASSES, tiny.RATE, 2000, "zero", False)
    check_networks(plain, task)
    torch.manual_seed(1)
    classifier = AudioClassifier(plain, task.to_dict(), [4] * len(tiny.CLASSES), 12).eval()
    assert classifier.begin() is not None
    return classifier


@needs_peft
@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(("first", "second"), [(True, False), (True, True), (False, True)])
def test_a_warm_start_merges_the_adapters_of_a_run(
    options: list[str], first: bool, second: bool, tmp_path: Path
) -> None:
    before = write(RunFolder(tmp_path).best, *options, *FINETUNE * first)
    after = begun(tmp_path, *options, *FINETUNE * second)
    waveforms = 0.1 * torch.randn(3, 2000)
    torch.testing.assert_close(after.probabilities(waveforms), before.probabilities(waveforms))
    assert bool(adapters(after)) == second
    assert not any(parameter.any() for name, parameter in adapters(after).items() if name.endswith(UP))


@needs_peft
def test_adapters_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).best
    write(path, *CNN, *FINETUNE)
    checkpoint = read_checkpoint(path)
    name = next(name for name in checkpoint["state_dict"] if name.endswith(UP))
    del checkpoint["state_dict"][name]
    write_checkpoint(path, checkpoint)
    with pytest.raises(CheckpointError, match=rf"the adapter of {re.escape(name.removesuffix(UP))} does not fit"):
        begun(tmp_path, *CNN)


@needs_peft
def test_a_training_counts_what_is_frozen_and_resumes_bit_for_bit(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["finetune=lora", "finetune.lora.dropout=0.3", "model.dropout=0.5", "trainer.max_epochs=3"]
    metrics = run(tiny_urbansound8k, tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        kill_at(patch, epoch=2, batch=1)
        with pytest.raises(Killed):
            run(tiny_urbansound8k, tmp_path / "killed", *options)

    resume(tmp_path / "killed")

    whole, resumed = (read_checkpoint(tmp_path / name / "checkpoints/last.ckpt") for name in ("whole", "killed"))
    torch.testing.assert_close(resumed["state_dict"], whole["state_dict"], rtol=0, atol=0)
    torch.testing.assert_close(resumed["optimizer_states"], whole["optimizer_states"], rtol=0, atol=0)
    histories = [pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "killed")]
    assert histories[0]["validation/loss"].equals(histories[1]["validation/loss"])
    classifier = load_classifier(tmp_path / "whole/checkpoints/last.ckpt")
    assert isinstance(classifier, AudioClassifier)
    sizes = {name: parameter.numel() for name, parameter in classifier.network.named_parameters()}
    trained = sum(size for name, size in sizes.items() if is_adapter(name) or name.startswith("head."))
    assert (metrics["parameters"], metrics["frozen_parameters"]) == (trained, sum(sizes.values()) - trained)
    assert f"{sum(sizes.values()) - trained:,} of them frozen" in capsys.readouterr().out
    assert any(tensor.any() for name, tensor in adapters(classifier).items() if name.endswith(UP))


@pytest.mark.parametrize("name", ["network.blocks.0.0.weight", "network.head.bias"])
def test_names_without_adapters_stay(name: str) -> None:
    assert plain_name(name) == name
    assert not is_adapter(name)
