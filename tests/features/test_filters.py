"""Triangular filters equal those of torchaudio, to the last bit."""

from types import ModuleType

import pytest
import torch

from audio_lightning.features.filters import LinearFilters, MelFilters

BANDS = [
    (16000, 512, 64, 0, None),
    (16000, 512, 1, 20, None),
    (8000, 256, 128, 20, 3900),  # filters without a frequency
    (22050, 2048, 128, 31.7, 999.5),  # below the bend of Slaney's scale
    (11025, 1024, 40, 1000, 2000),  # above it; and a rate that is odd
    (44100, 4096, 229, 50, None),
]
"""Sample rate, length of the transform, number of filters, lower and upper edge."""


@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")
@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
@pytest.mark.parametrize(("rate", "n_fft", "count", "f_min", "f_max"), BANDS)
def test_mel_filters_are_those_of_torchaudio(
    rate: int,
    n_fft: int,
    count: int,
    f_min: float,
    f_max: float | None,
    mel_scale: str,
    norm: str | None,
    torchaudio: ModuleType,
) -> None:
    expected = torchaudio.functional.melscale_fbanks(
        n_fft // 2 + 1, f_min, f_max or rate / 2, count, rate, norm, mel_scale
    )

    assert torch.equal(MelFilters(rate, count, f_min, f_max, mel_scale, norm).weights(n_fft), expected)


@pytest.mark.parametrize(("rate", "n_fft", "count", "f_min", "f_max"), BANDS)
def test_linear_filters_are_those_of_torchaudio(
    rate: int, n_fft: int, count: int, f_min: float, f_max: float | None, torchaudio: ModuleType
) -> None:
    expected = torchaudio.functional.linear_fbanks(n_fft // 2 + 1, f_min, f_max or rate / 2, count, rate)

    assert torch.equal(LinearFilters(rate, count, f_min, f_max).weights(n_fft), expected)
