"""Constant-Q transform: tones, clicks, and comparison with the defining sum."""

import numpy as np
import pytest
import torch
from choices import flat
from torch import Tensor

from audio_lightning.core.errors import ConfigError
from audio_lightning.features.cqt import CQT
from audio_lightning.features.log_mel import LogMel
from audio_lightning.features.log_mel_cqt import LogMelCQT

RATE = 16000
USUAL = {"sample_rate": RATE, "num_samples": RATE, "normalize": "none"}


def tone(hertz: float, amplitude: float = 1.0) -> Tensor:
    return amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(RATE, dtype=torch.float64) / RATE).float()[None]


@pytest.mark.parametrize("bin_number", [0, 5, 11, 12, 40, 83])
def test_a_tone_lies_on_its_bin_at_its_level(bin_number: int) -> None:
    levels = CQT(**USUAL, f_min=55.0)(tone(55 * 2 ** (bin_number / 12), amplitude=0.1))[0, 0, :, 50]

    assert levels.argmax() == bin_number
    torch.testing.assert_close(levels[bin_number], torch.tensor(-20.0), atol=0.2, rtol=0)
    others = torch.arange(84).sub(bin_number).abs() >= 3
    assert levels[others].amax() < -50


@pytest.mark.parametrize("bins_per_octave", [12, 24])
def test_an_octave_shifts_the_spectrogram_along_the_bins(bins_per_octave: int) -> None:
    made = CQT(**USUAL, f_min=55.0, n_bins=5 * bins_per_octave, bins_per_octave=bins_per_octave, top_db=40.0)
    low, high = (made(tone(hertz) + tone(1.5 * hertz, 0.5))[0, 0, :, 50] for hertz in (220, 440))

    torch.testing.assert_close(high[bins_per_octave:], low[:-bins_per_octave], atol=1, rtol=0)


@pytest.mark.parametrize("bin_number", [0, 30, 59])
def test_a_value_is_the_windowed_sum_centred_on_its_frame(bin_number: int) -> None:
    made = CQT(**USUAL, f_min=100.0, n_bins=60, top_db=None)
    noise = 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    hertz = 100 * 2 ** (bin_number / 12)
    length = RATE / hertz / (2 ** (1 / 12) - 1)
    for frame in (0, 37, 100):
        time = np.arange(-RATE, RATE)
        window = np.where(np.abs(time) < length / 2, 0.5 + 0.5 * np.cos(2 * np.pi * time / length), 0)
        around = np.pad(noise.double().numpy(), RATE)[frame * 160 : frame * 160 + 2 * RATE]
        value = 2 * np.sum(around * window * np.exp(-2j * np.pi * hertz * time / RATE)) / window.sum()

        found = made(noise[None])[0, 0, bin_number, frame]

        torch.testing.assert_close(float(found), 20 * np.log10(abs(value)), atol=1e-2, rtol=0)


def test_frames_are_centred_on_multiples_of_the_hop_in_every_octave() -> None:
    click = torch.zeros(1, RATE)
    click[0, 40 * 160] = 1

    levels = CQT(**USUAL, top_db=None)(click)[0, 0]

    assert levels.shape == (84, 101)
    assert levels.argmax(dim=1).tolist() == [40] * 84


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"f_min": 110.0},
            r"the highest of 84 bins lies at 13290 Hz, not below .* 16000 Hz; use n_bins of at most 75$",
        ),
        ({"f_min": 8000.0}, "use a lower f_min$"),
        ({"n_bins": 0}, "n_bins is 0, expected a number greater than 0"),
        ({"bins_per_octave": -12}, "bins_per_octave is -12, expected a number greater than 0"),
        ({"f_min": 0.0}, "f_min is 0.0, expected a number greater than 0"),
    ],
    ids=str,
)
def test_invalid_options_raise_an_error_with_the_reason(option: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CQT(**{**USUAL, **option})


def test_the_number_of_bins_suggested_by_the_error_works() -> None:
    assert CQT(**USUAL, f_min=110.0, n_bins=75).output_shape.dims == (1, 75, 101)


@pytest.mark.parametrize("normalize", ["none", "statistics"])
def test_the_second_channel_equals_the_single_front_end(normalize: str) -> None:
    clips = 0.1 * torch.randn(3, RATE, generator=torch.Generator().manual_seed(0))
    usual = {**USUAL, "normalize": normalize, "hop_seconds": 0.02, "top_db": 30.0}
    mel = {"window_seconds": 0.05, "f_min": 50.0, "f_max": 7000.0, "mel_scale": "slaney", "norm": "slaney"}
    together = flat(LogMelCQT, **usual, **mel, n_bins=60, bins_per_octave=10, cqt_f_min=60.0)
    alone = [flat(LogMel, **usual, **mel, n_mels=60), CQT(**usual, n_bins=60, bins_per_octave=10, f_min=60.0)]

    for made in (together, *alone):
        made.fit([clips])

    torch.testing.assert_close(together(clips), torch.cat([made(clips) for made in alone], dim=1))
