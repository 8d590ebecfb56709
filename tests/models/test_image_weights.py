"""Image networks of torchvision on spectrograms: their sizes, their published weights, one step of training."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import choices
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.vision import EfficientNet, MobileNet, ResNet

PICTURE = FeatureShape("spectrogram", (1, 64, 101))
"""64 bands of one second."""

NETWORKS: dict[str, tuple[str, str, int]] = {
    "alexnet": ("alexnet", "classifier.6", 61_100_840),
    "vgg": ("vgg16", "classifier.6", 138_357_544),
    "googlenet": ("googlenet", "fc", 6_624_904),
    "resnet": ("resnet18", "fc", 11_689_512),
    "densenet": ("densenet121", "classifier", 7_978_856),
    "squeezenet": ("squeezenet1_1", "classifier", 1_235_496),
    "mobilenet": ("mobilenet_v3_small", "classifier.3", 2_542_856),
    "efficientnet": ("efficientnet_b0", "classifier.1", 5_288_548),
}
"""Torchvision's name, its layers after the embedding, and the number of parameters with three channels and 1000
classes; that of GoogLeNet is without its auxiliary heads."""

each = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.full if name == "vgg" else ()) for name in NETWORKS]
)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_network_has_the_published_size(name: str) -> None:
    with torch.device("meta"):
        rgb = choices.model(name, FeatureShape("spectrogram", (3, 224, 224)), num_classes=1000)
        mono = choices.model(name, PICTURE, num_classes=1000)

    assert count(rgb) == NETWORKS[name][2]
    kernel = next(rgb.backbone.parameters())
    assert count(rgb) - count(mono) == kernel.numel() * 2 // 3


@pytest.mark.parametrize(
    ("model", "published", "options"),
    [
        (ResNet, "resnet34", {"depth": 34}),
        (ResNet, "resnet50", {"depth": 50}),
        (MobileNet, "mobilenet_v3_large", {"variant": "v3_large"}),
        (EfficientNet, "efficientnet_b1", {"variant": "b1"}),
        (EfficientNet, "efficientnet_b2", {"variant": "b2"}),
        (EfficientNet, "efficientnet_v2_s", {"variant": "v2_s"}),
    ],
)
def test_a_variant_has_the_published_size(model: type, published: str, options: dict[str, Any]) -> None:
    with torch.device("meta"):
        made = model(FeatureShape("spectrogram", (3, 64, 50)), 1000, **options)
        expected = torchvision.models.get_model(published)

    assert count(made) == count(expected)
    assert made.embed(torch.empty(2, 3, 64, 50, device="meta")).shape == (2, made.embedding_dim)


@pytest.mark.parametrize(
    ("model", "option", "message"),
    [
        (ResNet, {"depth": 19}, "depth is 19, expected one of: 18, 34, 50"),
        (MobileNet, {"variant": "v4"}, "variant is 'v4', expected one of: v3_small, v3_large"),
        (EfficientNet, {"variant": "b9"}, "variant is 'b9', expected one of: b0, b1, b2, v2_s"),
    ],
)
def test_an_unknown_variant_raises_an_error_with_the_choices(model: type, option: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model(PICTURE, 10, **option)


@each
def test_a_spectrogram_of_one_second_trains(name: str) -> None:
    torch.manual_seed(0)
    model = choices.model(name, PICTURE, num_classes=3).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = {key: value.detach().clone() for key, value in model.named_parameters()}

    loss = functional.cross_entropy(model(torch.randn(2, *PICTURE.dims)), torch.tensor([0, 2]))
    loss.backward()
    optimizer.step()

    assert loss.isfinite()
    for key, value in model.named_parameters():
        assert value.isfinite().all(), key
    changed = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert {next(iter(before)), *(key for key in before if key.startswith("head."))} <= changed


# Weights of ImageNet


def trained(name: str) -> nn.Module:
    """A torchvision network with random weights and the statistics of batch normalization after training."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    network = torchvision.models.get_model(name, weights=None, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 101))
    return network.eval()


@each
@torch.no_grad()
def test_equal_channels_give_the_output_of_grey_images(name: str, tmp_path: Path) -> None:
    published, head, _ = NETWORKS[name]
    network = trained(published)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    network.set_submodule(head, nn.AdaptiveAvgPool2d(1) if name == "squeezenet" else nn.Identity())
    grey = torch.randn(2, 1, 64, 101)
    expected = network(grey.expand(-1, 3, -1, -1))
    assert (expected[0] - expected[1]).norm() > 0.01 * expected.norm(), "nothing comes through that could differ"

    for channels in (1, 2, 3):
        shape = FeatureShape("spectrogram", (channels, 64, 101))
        made = choices.model(name, shape, pretrained=str(tmp_path / "weights.pth")).eval()

        embedding = made.embed(grey.expand(-1, channels, -1, -1))
        assert (embedding - expected).norm() < 1e-4 * expected.norm()
        torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_googlenet_weights_are_adapted_to_standardized_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision then uses ``transform_input``. The edges differ, so the interior of the first layer is compared."""
    network = trained("googlenet")
    network.transform_input = True
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / torchvision.models.GoogLeNet_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    place.parent.mkdir(parents=True)
    torch.save(network.state_dict(), place)
    grey = torch.randn(2, 1, 64, 101)
    expected = network.conv1(network._transform_input(grey.expand(-1, 3, -1, -1)))[..., 2:-2, 2:-2]

    for pretrained in (True, str(place)):
        made = choices.model("googlenet", PICTURE, pretrained=pretrained).eval()
        torch.testing.assert_close(made.backbone.conv1(grey)[..., 2:-2, 2:-2], expected, atol=1e-4, rtol=1e-4)
    assert not made.backbone.transform_input


@torch.no_grad()
def test_older_names_in_densenet_weights_are_translated(tmp_path: Path) -> None:
    made = choices.model("densenet", FeatureShape("spectrogram", (3, 32, 32)))
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for key, value in made.backbone.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "old.pth")

    loaded = choices.model("densenet", FeatureShape("spectrogram", (3, 32, 32)), pretrained=str(tmp_path / "old.pth"))

    for key, value in made.backbone.state_dict().items():
        torch.testing.assert_close(loaded.backbone.state_dict()[key], value)


def test_a_missing_file_of_weights_is_refused_before_building(tmp_path: Path) -> None:
    with torch.device("meta"), pytest.raises(ConfigError) as raised:
        choices.model("vgg", PICTURE, pretrained=f"{tmp_path}/none.pth")

    assert str(raised.value) == (
        f"model.pretrained={tmp_path}/none.pth: no such file; expected a state dict of torchvision's vgg16"
    )


def test_other_files_are_refused_as_weights(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    for content, message in (
        (torchvision.models.squeezenet1_0().state_dict(), "contains no state dict of torchvision's squeezenet1_1"),
        ([1, 2], "contains no state dict of torchvision's squeezenet1_1"),
        (Path("code"), "is no file of weights"),  # an object that is not among the types that are safe to read
    ):
        torch.save(content, file)
        for device in ("meta", "cpu"):  # before any audio is read, networks are built without memory
            with torch.device(device), pytest.raises(ConfigError, match=message) as raised:
                choices.model("squeezenet", PICTURE, pretrained=str(file))
            assert str(file) in str(raised.value)
            assert "\n" not in str(raised.value)


def test_a_failed_download_is_one_line_with_address_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(ConfigError) as raised:
        choices.model("squeezenet", PICTURE, pretrained=True)

    url = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    place = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    assert f"get {url} elsewhere and put it at {place}, or give its path as model.pretrained=FILE" in str(raised.value)
    assert "\n" not in str(raised.value)

    torch.save(torchvision.models.squeezenet1_1().state_dict(), place)
    assert choices.model("squeezenet", PICTURE, pretrained=True).backbone is not None


def test_the_checksum_of_downloaded_weights_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked: list[dict[str, Any]] = []

    def download(url: str, place: str, **options: Any) -> None:
        asked.append({"url": url, **options})
        torch.save(torchvision.models.squeezenet1_1().state_dict(), place)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    choices.model("squeezenet", PICTURE, pretrained=True)
    choices.model("squeezenet", PICTURE, pretrained=True)

    assert len(asked) == 1, "the second finds it there"
    assert asked[0]["url"].endswith(f"-{asked[0]['hash_prefix']}.pth")
