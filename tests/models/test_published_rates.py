"""Published networks that take one sample rate, on clips of another."""

import math
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from torch import Tensor, nn

from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models.pretrained import registry
from audio_lightning.models.pretrained.backbone import Backbone
from audio_lightning.models.pretrained.embedding import Embedding
from audio_lightning.models.published import Published
from audio_lightning.planning.rules import demanded_rate

RATE, FRAME = 16_000, 400


class Spectra(Backbone):
    """Amplitudes of frames of 25 ms at 16 kHz."""

    title, licence, citation = "spectra", "", ""
    trained_rate, any_rate = RATE, False
    least_seconds, num_parameters = FRAME / RATE, 1
    layers = MappingProxyType({"frames": FRAME // 2 + 1})

    def __init__(self, sample_rate: int) -> None:
        super().__init__(sample_rate)
        assert sample_rate == RATE
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, waveform: Tensor) -> dict[str, Tensor]:
        frames = self.scale * waveform.unfold(1, FRAME, FRAME)
        return {"frames": torch.fft.rfft(frames).abs().mT}

    def load(self) -> None: ...


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BACKBONES", {"spectra": Spectra})


def tone(rate: int, hertz: float = 1000.0) -> Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(rate) / rate)[None]


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100])
def test_clips_are_resampled_to_the_rate_of_the_network(rate: int) -> None:
    network = registry.make_backbone("spectra", rate, pretrained=False, resample=True)
    found, _ = registry.layers_of(network, tone(rate))
    assert found["frames"].shape == (1, 201, RATE // FRAME)
    middle = found["frames"][0, :, 5:-5]
    expected = torch.zeros_like(middle)
    expected[1000 * FRAME // RATE] = FRAME / 2
    torch.testing.assert_close(middle, expected, atol=0.02 * FRAME / 2, rtol=0)
    with torch.device("meta"):
        planned, _ = registry.layers_of(network.to("meta"), torch.empty(2, rate))
    assert planned["frames"].shape == (2, 201, RATE // FRAME)


def test_features_and_networks_resample_on_request() -> None:
    feature = Embedding(sample_rate=8000, num_samples=8000, backbone="spectra", resample=True, normalize="none")
    same = Embedding(sample_rate=RATE, num_samples=RATE, backbone="spectra", normalize="none")
    torch.testing.assert_close(feature(tone(8000)), same(tone(RATE)), atol=1, rtol=0.02)
    shape = FeatureShape("waveform", (1, 8000), sample_rate=8000, is_sound=True)
    network = Published(shape, 3, backbone="spectra", resample=True)
    network(tone(8000).repeat(2, 1, 1) * torch.tensor([0.1, 0.2])[:, None, None]).square().sum().backward()
    assert network.backbone.scale.grad is not None


@pytest.mark.parametrize("option", ["feature", "model"])
def test_other_rates_are_refused_with_both_remedies(option: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"^{option}\.backbone=spectra takes sounds of 16000 Hz, and the clips have 8000 Hz; use "
        rf"data\.sample_rate=16000, or {option}\.resample=true$",
    ):
        registry.make_backbone("spectra", 8000, pretrained=False, option=f"{option}.backbone")


@pytest.mark.parametrize(("resample", "expected"), [(False, 16_000), (True, None)])
def test_resampling_leaves_the_rate_of_the_data_free(resample: bool, expected: int | None) -> None:
    from omegaconf import OmegaConf

    config = OmegaConf.create({"feature": {"backbone": "spectra", "resample": resample}, "model": {}})
    choice = demanded_rate(config)
    assert (choice and choice[0]) == expected


def test_a_network_described_by_a_file_keeps_its_rate(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from onnx_files import windowed

    file = tmp_path / "net.onnx"
    file.write_bytes(windowed([1, FRAME], sample_rate="32000"))
    network = registry.make_backbone(str(file), 16_000, pretrained=True, resample=True)
    assert (network.clip_rate, network.sample_rate, network.trained_rate) == (16_000, 32_000, 32_000)
    assert registry.make_backbone(str(file), None, pretrained=True).clip_rate == 32_000
    with pytest.raises(ConfigError, match=r"net\.onnx takes sounds of 32000 Hz, and .*use data\.sample_rate=32000"):
        registry.make_backbone(str(file), 16_000, pretrained=True)
