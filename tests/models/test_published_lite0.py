"""EfficientNet-Lite0, compared with outputs of efficientnet-lite-pytorch 0.1.0 for the same image."""

import numpy as np
import pytest
import torch
from torch import Tensor

from audio_lightning.features.filters import MelSettings
from audio_lightning.features.log_mel import LogMel
from audio_lightning.models.pretrained.efficientnet_lite0 import EfficientNetLite0

RATE = 32_000

needs_weights = pytest.mark.skipif(not EfficientNetLite0.file.is_here, reason=EfficientNetLite0.file.remedy)


def fill(network: torch.nn.Module) -> None:
    """Deterministic weights, derived from the position of each tensor in the state dict."""
    for place, (name, tensor) in enumerate(network.state_dict().items()):
        if not tensor.dtype.is_floating_point:
            continue
        value = torch.from_numpy(np.random.RandomState(place).randn(tensor.numel())).reshape(tensor.shape)
        if tensor.dim() == 4:
            value = value * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith("running_var"):
            value = 1 + 0.1 * value.abs()
        else:
            value = 1 + 0.1 * value if name.endswith("weight") else 0.1 * value
        tensor.copy_(value)


def picture(bands: int, frames: int) -> Tensor:
    """Waves in three colours, and noise."""
    y, x = np.mgrid[:bands, :frames] / 32
    waves = np.stack([np.sin(3 * y + colour) * np.cos(2 * x - y) for colour in range(3)])
    return torch.from_numpy((0.5 * waves + 0.1 * np.random.RandomState(7).randn(*waves.shape)).astype(np.float32))[None]


def sound(samples: int = RATE) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    tone = torch.sin(0.3 * torch.arange(samples)) * torch.linspace(0, 1, samples)
    return torch.stack([0.3 * tone, 0.1 * torch.randn(samples, generator=generator)])


def some(found: dict[str, Tensor]) -> dict[str, list[float]]:
    """A few values of each layer averaged over frequency; maximum and mean of the published embedding."""
    chosen: dict[str, list[float]] = {}
    for name, value in found.items():
        mean = value.mean(2)[0]
        rows = mean.sum(1).topk(4).indices if name == "head" else torch.arange(0, len(mean), len(mean) // 4)
        chosen[name] = mean[rows, :: max(1, mean.shape[1] // 3)].flatten()[:8].tolist()
    pooled = found["head"].mean((2, 3))[0]
    return {**chosen, "pooled": [*pooled.topk(7).values.tolist(), float(pooled.mean())]}


# With weights of fill(), and with the published ones; the square picture has the size that those were trained on.
SEEDED = {
    "stage2": [0.136399, -0.435974, -0.363486, -0.428602, 0.202487, -0.445138, -0.416471, -0.140718],
    "stage3": [-0.166607, 0.598234, 0.501433, -0.063256, -0.189938, -0.579115, -0.621028, -0.2198],
    "stage5": [-3.239677, -3.694763, -3.493164, -2.084577, -0.257813, 2.130293, 0.395734, 1.007476],
    "stage7": [-0.411043, -0.546781, 0.248378, 0.023475, 0.128614, -0.439042, 1.174233, -0.912369],
    "head": [5.53579, 6.0, 5.619275, 5.676665, 4.973928, 5.019338, 6.0, 5.184375],
    "pooled": [5.561131, 5.465195, 5.453108, 5.437968, 5.431859, 5.345772, 5.338477, 1.351911],
}

PUBLISHED = {
    "stage2": [-1.57297, -6.619632, -6.264867, -6.17917, 11.271513, -7.177786, -5.741078, -7.965503],
    "stage3": [-2.933139, -3.896573, -5.6133, -1.793411, 23.466854, 0.056879, 1.102272, 3.773448],
    "stage5": [3.669664, 2.962598, 1.581147, -1.082319, 4.293779, -2.781095, 1.490246, 2.619147],
    "stage7": [-0.579697, -0.962635, -0.322706, -0.82221, 0.213275, -0.205158, -0.153693, 1.106048],
    "head": [3.188521, 5.31096, 5.05653, 4.897608, 3.240345, 2.143879, 3.95467, 4.485367],
    "pooled": [4.338793, 3.542157, 3.443569, 2.912905, 2.901831, 2.791605, 2.74101, 0.111683],
}

PUBLISHED_SQUARE = {
    "stage2": [-7.246905, -8.809896, -6.794848, -6.300209, -5.938581, -6.394546, -6.74021, -6.82375],
    "stage3": [-3.233531, -4.290671, -4.183253, -3.258009, 2.756105, 2.011612, 1.593342, 3.196767],
    "stage5": [2.210299, 0.146331, 1.157437, -0.368587, -0.452295, 1.685769, 2.854248, 3.057676],
    "stage7": [-0.108714, 1.331472, 0.535741, 0.319952, 1.04809, 1.392349, 1.557103, 0.917798],
    "head": [4.037542, 5.920018, 5.877872, 4.104153, 4.587292, 4.975822, 5.168527, 4.677152],
    "pooled": [5.318311, 4.87641, 4.810871, 4.227479, 3.96716, 3.555315, 3.461637, 0.149787],
}


def require_close(found: dict[str, list[float]], expected: dict[str, list[float]]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(values), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_it_equals_the_package() -> None:
    backbone = EfficientNetLite0().eval()
    fill(backbone.network)
    require_close(some(backbone.maps(picture(128, 150))), SEEDED)


@pytest.mark.published
@needs_weights
@torch.no_grad()
def test_it_equals_the_package_with_the_published_weights() -> None:
    backbone = EfficientNetLite0().eval()
    backbone.load()
    require_close(some(backbone.maps(picture(128, 150))), PUBLISHED)
    require_close(some(backbone.maps(picture(224, 224))), PUBLISHED_SQUARE)


def test_it_has_the_published_tensors() -> None:
    expected: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{name}.{part}"] = (width,)
        expected[f"{name}.num_batches_tracked"] = ()

    expected["_conv_stem.weight"] = (32, 3, 3, 3)
    norm("_bn0", 32)
    widths = [32, 16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]
    kernels = [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
    for number, kernel in enumerate(kernels):
        block, inputs, outputs = f"_blocks.{number}", widths[number], widths[number + 1]
        inside = 6 * inputs if number else inputs
        if number:
            expected[f"{block}._expand_conv.weight"] = (inside, inputs, 1, 1)
            norm(f"{block}._bn0", inside)
        expected[f"{block}._depthwise_conv.weight"] = (inside, 1, kernel, kernel)
        norm(f"{block}._bn1", inside)
        expected[f"{block}._project_conv.weight"] = (outputs, inside, 1, 1)
        norm(f"{block}._bn2", outputs)
    expected["_conv_head.weight"] = (1280, 320, 1, 1)
    norm("_bn1", 1280)
    network = EfficientNetLite0().network
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == expected
    number = sum(parameter.numel() for parameter in network.parameters())
    assert number == pytest.approx(EfficientNetLite0.num_parameters, rel=1e-3)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {(module.eps, module.momentum) for module in norms} == {(1e-3, 0.01)}


@pytest.mark.parametrize("rate", [8000, 16_000, RATE, 44_100])
def test_the_input_is_a_log_mel_spectrogram_as_a_grey_image(rate: int) -> None:
    seen = EfficientNetLite0(rate).picture(sound())
    front_end = LogMel(sample_rate=rate, num_samples=RATE, n_mels=128, mel=MelSettings(), normalize="clip")
    grey = front_end(sound())
    assert seen.shape == (2, 3, *grey.shape[2:])
    mean, std = (torch.tensor(rgb).reshape(3, 1, 1) for rgb in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pixels = 255 * (grey * std + mean)
    torch.testing.assert_close(seen, (pixels - 127) / 128, atol=1e-5, rtol=1e-5)


def test_layers_are_means_over_frequency() -> None:
    backbone = EfficientNetLite0().eval()
    with torch.no_grad():
        found = backbone(sound())
        maps = backbone.maps(backbone.picture(sound()))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "stage2": (2, 24, 26), "stage3": (2, 40, 13), "stage5": (2, 112, 7), "stage7": (2, 320, 4),
        "head": (2, 1280, 4),
    }  # fmt: skip
    assert {name: value.shape[1] for name, value in found.items()} == backbone.layers
    torch.testing.assert_close(found["head"].mean(2), maps["head"].mean((2, 3)))
    meta = {name: value.shape for name, value in EfficientNetLite0().to("meta")(sound().to("meta")).items()}
    assert meta == {name: value.shape for name, value in found.items()}


def test_silence_and_a_single_sample_are_valid_inputs() -> None:
    backbone = EfficientNetLite0().eval()
    for clip in (torch.zeros(1, RATE), torch.ones(1, 1)):
        assert all(torch.isfinite(value).all() for value in backbone(clip).values())


def test_gradients_reach_all_weights() -> None:
    backbone = EfficientNetLite0()
    assert backbone.trainable
    backbone(sound(8000))["head"].square().mean().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    assert backbone.network._conv_stem.weight.grad is not None
    assert backbone.network._conv_stem.weight.grad.abs().sum() > 0
