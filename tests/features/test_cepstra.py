"""Cepstral coefficients and their deltas against torchaudio and the formula."""

from types import ModuleType

import choices
import numpy as np
import pytest
import scipy.fft
import torch
from choices import flat
from torch import Tensor

from audio_lightning.core.errors import ConfigError
from audio_lightning.features.cepstrum import orthonormal_dct
from audio_lightning.features.lfcc import LFCC
from audio_lightning.features.mfcc import MFCC

RATE = 16000
USUAL = {"sample_rate": RATE, "num_samples": RATE, "normalize": "none"}
FRAMES = {"n_fft": 512, "win_length": 400, "hop_length": 160, "pad_mode": "constant"}


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """One second of noise that gets louder under a tone: [1, 16000]."""
    time = torch.arange(RATE) / RATE
    hiss = torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    return (0.3 * torch.sin(2 * torch.pi * 1000 * time) + 0.1 * (0.1 + time) * hiss)[None]


def test_mfcc_agrees_with_torchaudio(clip: Tensor, torchaudio: ModuleType) -> None:
    expected = torchaudio.transforms.MFCC(RATE, n_mfcc=13, melkwargs={"n_mels": 40, "f_min": 20, **FRAMES})(clip)

    torch.testing.assert_close(flat(MFCC, **USUAL, n_mfcc=13, n_mels=40)(clip)[:, 0], expected, atol=1e-4, rtol=1e-4)


def test_lfcc_agrees_with_torchaudio(clip: Tensor, torchaudio: ModuleType) -> None:
    expected = torchaudio.transforms.LFCC(RATE, n_filter=50, n_lfcc=20, f_min=100, f_max=7000, speckwargs=FRAMES)(clip)

    made = flat(LFCC, **USUAL, n_filters=50, n_lfcc=20, f_min=100, f_max=7000)

    torch.testing.assert_close(made(clip)[:, 0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("coefficients", "bands"), [(1, 1), (13, 40), (20, 64), (40, 40), (80, 229)])
def test_the_dct_is_that_of_torchaudio_to_the_last_bit(coefficients: int, bands: int, torchaudio: ModuleType) -> None:
    expected = torchaudio.functional.create_dct(coefficients, bands, norm="ortho").T

    assert torch.equal(orthonormal_dct(coefficients, bands), expected)


@pytest.mark.parametrize(("coefficients", "bands"), [(1, 1), (13, 40), (80, 229)])
def test_the_dct_follows_its_formula(coefficients: int, bands: int) -> None:
    expected = torch.from_numpy(scipy.fft.dct(np.eye(bands), norm="ortho", axis=0)[:coefficients]).float()

    torch.testing.assert_close(orthonormal_dct(coefficients, bands), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["mfcc", "lfcc"])
def test_deltas_are_further_channels(name: str, clip: Tensor, torchaudio: ModuleType) -> None:
    plain, both = (choices.front_end(name, **USUAL, deltas=deltas) for deltas in (0, 2))
    expected = [plain(clip)[:, 0]]
    for _ in range(2):
        expected.append(torchaudio.functional.compute_deltas(expected[-1], win_length=5))

    assert both.output_shape.dims == (3, *plain.output_shape.dims[1:])
    torch.testing.assert_close(both(clip), torch.stack(expected, dim=1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(choices.front_end(name, **USUAL, deltas=1)(clip), both(clip)[:, :2])


def test_half_a_second_at_12_khz_gives_13_coefficients_in_49_frames() -> None:
    made = choices.front_end("mfcc13", sample_rate=12000, num_samples=6000)

    assert made.output_shape.dims == (1, 13, 49)


def test_uncentred_frames_start_at_multiples_of_the_hop_and_cover_the_clip() -> None:
    made = choices.front_end("mfcc13", sample_rate=12000, num_samples=6000)
    noise = torch.randn(1, 6000, generator=torch.Generator().manual_seed(0))
    frames = torch.nn.functional.pad(noise, (0, 48 * 120 + 300 - 6000)).unfold(-1, 300, 120)
    power = torch.fft.rfft(frames * torch.hann_window(300), 512).abs().square().mT

    assert made.mel.power.n_fft == 512
    torch.testing.assert_close(made.mel.power(noise), power, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (300, 1), (301, 2), (420, 2), (421, 3)])
def test_remaining_samples_get_a_padded_frame(samples: int, frames: int) -> None:
    made = choices.front_end("mfcc13", sample_rate=12000, num_samples=samples)

    assert made.output_shape.dims == (1, 13, frames)


def test_empty_linear_filters_raise_an_error_with_working_remedies() -> None:
    with pytest.raises(
        ConfigError, match=r"of 1000 linear filters .* use n_fft=1024 .* or n_filters of at most 5\d\d$"
    ):
        flat(LFCC, **USUAL, n_filters=1000, n_fft=512)
    with pytest.raises(ConfigError, match="n_lfcc is 80, more than the 64 bands; use at most n_filters"):
        flat(LFCC, **USUAL, n_lfcc=80)
