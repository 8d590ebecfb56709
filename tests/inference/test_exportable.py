"""Front ends as convolutions compute the same features as in training."""

import choices
import pytest
import torch

from audio_lightning.config import choices as names
from audio_lightning.features.cqt import CQT
from audio_lightning.features.fbank import FBank
from audio_lightning.features.stft import FrameSettings, PowerSpectrogram
from audio_lightning.inference.export.exportable import make_exportable

RATE = 16_000

TRANSFORMED = [name for name in names("feature") if name not in ("embedding", "waveform")]


def clips(samples: int = RATE, number: int = 2) -> torch.Tensor:
    time = torch.arange(samples) / RATE
    noise = torch.randn(number, samples, generator=torch.Generator().manual_seed(0))
    return 0.05 * noise + 0.3 * torch.sin(2 * torch.pi * 440 * time)


@pytest.mark.parametrize("name", TRANSFORMED)
@pytest.mark.parametrize("samples", [RATE, RATE - 37])
def test_exportable_features_equal_those_of_the_training(name: str, samples: int) -> None:
    front_end = choices.front_end(name, sample_rate=RATE, num_samples=samples)
    front_end.fit([clips(samples)])
    expected = front_end(clips(samples)).clone()
    before = {type(module) for module in front_end.modules()}
    make_exportable(front_end)
    assert {type(module) for module in front_end.modules()} != before
    found = front_end(clips(samples))
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)  # of features with standard deviation 1


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("window", "n_fft"), [(0.025, None), (0.02, 512), (0.0301, 1024), (0.001, 1024)])
@pytest.mark.parametrize("samples", [1, 200, 1000, 1003])
def test_convolved_power_equals_the_fourier_transform(
    window: float, n_fft: int | None, center: bool, samples: int
) -> None:
    power = PowerSpectrogram(RATE, FrameSettings(window, 0.01, n_fft), center=center)
    expected = power(clips(samples))
    make_exportable(power)
    found = power(clips(samples))
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.max()), rtol=0)


@pytest.mark.parametrize("samples", [10, 400, 4003])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_filter_bank_removes_the_mean_of_a_frame(samples: int, offset: float) -> None:
    fbank = FBank(sample_rate=RATE, num_samples=samples, n_mels=40, min_frames=8, normalize="none")
    given = clips(samples) + offset
    expected = fbank(given)
    make_exportable(fbank)
    torch.testing.assert_close(fbank(given), expected, atol=1e-2, rtol=0)


def test_silence_stays_silence() -> None:
    silent = torch.zeros(1, 4000)
    for front_end in (
        FBank(sample_rate=RATE, num_samples=4000, n_mels=40, normalize="none"),
        CQT(sample_rate=RATE, num_samples=4000, n_bins=24, f_min=200, normalize="none"),
    ):
        expected = front_end(silent)
        make_exportable(front_end)
        torch.testing.assert_close(front_end(silent), expected)
