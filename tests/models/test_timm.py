"""Networks of timm on spectrograms: names, input sizes, files of weights."""

import sys
from pathlib import Path
from typing import Any

import choices
import pytest
import torch
from torch.nn import functional

from audio_lightning.config import build
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models import AudioModel, IncompatibleInput

PICTURE = FeatureShape("spectrogram", (1, 64, 101))


def network(shape: FeatureShape, **options: Any) -> AudioModel:
    return build(
        {**choices.load("model", "timm"), **options}, AudioModel, where="model", input_shape=shape, num_classes=3
    )


def test_a_missing_package_raises_an_error_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)

    with pytest.raises(ConfigError) as raised:
        network(PICTURE)

    assert str(raised.value) == "model=timm needs the package timm; pip install 'audio-lightning[timm]'"


@pytest.mark.parametrize(
    ("name", "variable"), [("test_resnet", True), ("test_efficientnet", True), ("vit_tiny_patch16_224", False)]
)
def test_networks_train_on_spectrograms_of_one_second(name: str, variable: bool) -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    model = network(PICTURE, name=name)
    x = torch.randn(2, *PICTURE.dims)

    assert model.accepts_variable_length == variable
    assert model.embed(x).shape == (2, model.embedding_dim)
    functional.cross_entropy(model(x), torch.tensor([0, 2])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.device("meta"):
        assert all(p.is_meta for p in network(PICTURE, name=name).parameters())


@pytest.mark.parametrize("name", ["hf-hub:timm/test_resnet", "resnet10x", "resnet10t.nothing"])
def test_only_names_of_timms_list_are_accepted(name: str) -> None:
    pytest.importorskip("timm")
    message = rf"^model\.name={name}: timm has no such network" + ("; did you mean " if name == "resnet10x" else "")
    with pytest.raises(ConfigError, match=message):
        network(PICTURE, name=name)


def test_an_unsupported_size_raises_an_error_with_a_supported_one() -> None:
    pytest.importorskip("timm")
    with pytest.raises(IncompatibleInput) as raised:
        network(PICTURE, name="dla34")

    assert str(raised.value).startswith(
        "timm's dla34 cannot take a spectrogram [1, 64, 101], but 64 bins and 128 frames; "
    )
    assert raised.value.least == (64, 128)
    with torch.device("meta"):
        network(FeatureShape("spectrogram", (1, 64, 128)), name="dla34")


@torch.no_grad()
def test_weights_for_one_channel_give_the_output_of_grey_images(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    published, file = timm.create_model("test_resnet"), tmp_path / "weights.pth"
    published(torch.randn(8, 3, 64, 101))  # statistics of its layers
    torch.save(published.eval().state_dict(), file)
    published.reset_classifier(0)
    x = torch.randn(2, 1, 64, 101)
    expected = published(x.expand(-1, 3, -1, -1))
    assert (expected[0] - expected[1]).norm() > 0.01 * expected.norm()

    made = network(PICTURE, name="test_resnet", pretrained=str(file)).eval()

    torch.testing.assert_close(made.embed(x), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("on", ["cpu", "meta"])
def test_other_weights_are_refused(on: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    file = tmp_path / "weights.pth"
    torch.save({"of": torch.zeros(1)}, file)
    with torch.device(on):
        with pytest.raises(ConfigError, match=rf"^model\.pretrained: {file} contains no weights of timm's test_resnet"):
            network(PICTURE, name="test_resnet", pretrained=str(file))
        with pytest.raises(ConfigError, match=r"no such file; expected weights of timm's test_resnet$"):
            network(PICTURE, name="test_resnet", pretrained=f"{file}.gz")
    assert timm.is_model("test_resnet")


def test_a_failed_download_names_the_weights_to_get(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: object) -> torch.nn.Module:
        if pretrained:
            raise OSError("no route\nto host")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConfigError) as raised:
        network(PICTURE, name="test_resnet", pretrained=True)

    assert str(raised.value) == (
        "model.pretrained=true: the weights cannot be downloaded (no route); get model.safetensors from "
        "https://huggingface.co/timm/test_resnet.r160_in1k/tree/main elsewhere "
        "and give its path as model.pretrained=FILE"
    )
