"""Stages of all networks, by which fine-tuning freezes layers and decays learning rates."""

import choices
import pytest
import torch
from torch import nn

from audio_lightning.classifier.finetune import Finetuning
from audio_lightning.config import choices as names
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape, InputKind
from audio_lightning.models import AudioModel

AMPLE: dict[InputKind, tuple[int, ...]] = {"waveform": (1, 16000), "spectrogram": (1, 128, 128)}

LAYERS = {
    "resnet": ["conv1", *(f"layer{layer}.{block}" for layer in (1, 2, 3, 4) for block in (0, 1)), "head"],
    "cnn": ["blocks.0.0", "blocks.1.0", "blocks.2.0", "embedding.2", "head"],
    "kwt": ["project", *(f"layers.{layer}" for layer in range(12)), "head"],
    "sincnet": ["filters", "convolutions.0.0", "convolutions.1.0", "embedding.2", "head"],
}


@pytest.fixture(scope="module", params=names("model"))
def model(request: pytest.FixtureRequest) -> AudioModel:
    """On the meta device, because only the assignment of parameters is tested."""
    if request.param == "timm":
        pytest.importorskip("timm")
    kind = choices.target("model", request.param).input_kind
    with torch.device("meta"):
        return choices.model(request.param, FeatureShape(kind, AMPLE[kind]))


def test_every_parameter_is_in_one_stage(model: AudioModel) -> None:
    stages = model.stages()

    placed = [id(parameter) for stage in stages.values() for parameter in stage]
    assert sorted(placed) == sorted(id(parameter) for parameter in model.parameters())
    assert all(stages.values())
    assert stages["head"] == list(model.head.parameters())
    assert len(stages) >= (1 if is_a_head(model) else 2)


def is_a_head(model: AudioModel) -> bool:
    """Whether a model has no parameters before the head, as model=linear."""
    return list(model.parameters()) == list(model.head.parameters())


def test_stages_come_in_the_order_of_their_use(model: AudioModel) -> None:
    number = {parameter: place for place, stage in enumerate(model.stages().values()) for parameter in stage}
    used: list[int] = []
    handles = []
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and module is not model:  # whose own parameters are used when others of their stage are
            handles.append(module.register_forward_pre_hook(lambda *_, place=number[own[0]]: used.append(place)))

    model.train()(torch.empty(2, *model.input_shape.dims, device="meta"))
    for handle in handles:
        handle.remove()

    first = list(dict.fromkeys(used))
    assert first == sorted(first)
    assert len(first) == len(model.stages())


@pytest.mark.parametrize("name", LAYERS)
def test_stages_are_layers_and_blocks(name: str) -> None:
    kind = choices.target("model", name).input_kind
    with torch.device("meta"):
        made = choices.model(name, FeatureShape(kind, AMPLE[kind]))

    assert list(made.stages()) == LAYERS[name]


def test_parameters_outside_layers_belong_to_the_stage_that_uses_them() -> None:
    class Network(AudioModel):
        input_kind = "waveform"

        def __init__(self) -> None:
            super().__init__(FeatureShape("waveform", (1, 8)), 2)
            self.backbone = nn.Module()
            self.backbone.token = nn.Parameter(torch.zeros(1, 8))
            self.backbone.layers = nn.ModuleList([nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8)])
            self.positions = nn.Parameter(torch.zeros(1, 8))
            self.layer_weights = nn.Parameter(torch.zeros(2))
            self.head = nn.Linear(8, 2)

        def embed(self, x: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError

    made = Network()
    names = {parameter: name.removeprefix("backbone.") for name, parameter in made.named_parameters()}
    found = {stage: {names[parameter] for parameter in part} for stage, part in made.stages().items()}
    assert found == {
        "layers.0": {"token", "positions", "layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"},
        "layers.2": {"layers.2.weight", "layers.2.bias", "layer_weights"},
        "head": {"head.weight", "head.bias"},
    }


def test_any_network_can_be_frozen_up_to_its_middle(model: AudioModel) -> None:
    if is_a_head(model):
        with pytest.raises(ConfigError, match=f"leaves nothing of {model.title.lower()} to train"):
            Finetuning({"freeze": "head"}, model, nn.Identity())
        return
    stages = model.stages()
    last = list(stages)[len(stages) // 2 - 1]
    finetuning = Finetuning({"freeze": last, "unfreeze_epoch": 1}, model, nn.Identity())
    trainable = {parameter for parameter in model.parameters() if parameter.requires_grad}

    finetuning.start_epoch(0, processes=1)
    frozen = {parameter for name in list(stages)[: len(stages) // 2] for parameter in stages[name]}
    assert {parameter for parameter in model.parameters() if parameter.requires_grad} == trainable - frozen
    for module in model.modules():
        if own := set(module.parameters()):
            assert module.training == bool(own - frozen)

    finetuning.start_epoch(1, processes=1)
    assert {parameter for parameter in model.parameters() if parameter.requires_grad} == trainable
    assert all(module.training for module in model.modules())
