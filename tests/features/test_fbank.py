"""Filter bank energies against torchaudio's port of Kaldi."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor

from audio_lightning.core.errors import ConfigError
from audio_lightning.features.fbank import FBank

AST = {"htk_compat": True, "use_energy": False, "window_type": "hanning", "dither": 0.0, "frame_shift": 10}
"""The arguments in the code of the Audio Spectrogram Transformer."""


@pytest.fixture(scope="module")
def clips() -> Tensor:
    """Noise, noise that fades in beside an offset, and a tone: [3, 16000]."""
    generator, time = torch.Generator().manual_seed(0), torch.arange(16000) / 16000
    noise = 0.1 * torch.randn(2, 16000, generator=generator)
    return torch.stack([noise[0], 0.2 + time * noise[1], torch.sin(2 * torch.pi * 1000 * time)])


@pytest.fixture(scope="module")
def by_kaldi(torchaudio: ModuleType) -> Callable[..., Tensor]:
    def fbank(clips: Tensor, **options) -> Tensor:
        made = [torchaudio.compliance.kaldi.fbank(clip[None], **{**AST, **options}).T for clip in clips]
        return torch.stack(made)[:, None]

    return fbank


@pytest.mark.parametrize("window", ["hanning", "povey"])
@pytest.mark.parametrize(
    ("sample_rate", "n_mels", "f_max"), [(16000, 128, None), (16000, 40, 7600), (8000, 128, None), (22050, 80, None)]
)
def test_a_batch_agrees_with_kaldi(
    clips: Tensor, sample_rate: int, n_mels: int, f_max: float | None, window: str, by_kaldi: Callable[..., Tensor]
) -> None:
    expected = by_kaldi(
        clips, sample_frequency=sample_rate, num_mel_bins=n_mels, window_type=window, high_freq=f_max or 0.0
    )

    made = FBank(
        sample_rate=sample_rate, num_samples=16000, n_mels=n_mels, f_max=f_max, window=window, normalize="none"
    )

    torch.testing.assert_close(made(clips), expected, atol=1e-4, rtol=0)


def test_defaults_with_mean_and_std_equal_the_published_preprocessing(
    clips: Tensor, by_kaldi: Callable[..., Tensor]
) -> None:
    made = FBank(sample_rate=16000, num_samples=16000, normalize=(-4.2677393, 2 * 4.5689974))
    noise = clips[:1] - clips[:1].mean()
    expected = (by_kaldi(noise, sample_frequency=16000, num_mel_bins=128) + 4.2677393) / (2 * 4.5689974)

    assert made.output_shape.dims == (1, 128, 98)
    torch.testing.assert_close(made(clips[:1]), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (400, 1), (559, 1), (560, 2)])
def test_frames_lie_within_the_clip_and_there_is_always_one(samples: int, frames: int) -> None:
    assert FBank(sample_rate=16000, num_samples=samples).output_shape.dims == (1, 128, frames)


def test_an_unknown_window_raises_an_error_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="window is 'hamming', expected one of: hanning, povey"):
        FBank(sample_rate=16000, num_samples=16000, window="hamming")


def test_a_short_spectrogram_is_padded_with_zeros_before_it_is_normalized() -> None:
    """As the authors of the Audio Spectrogram Transformer do (``dataloader.py``): 98 frames of 1 s become 128."""
    made = FBank(sample_rate=16000, num_samples=16000, min_frames=128, normalize=[-6.845978, 2 * 5.5654526])
    plain = FBank(sample_rate=16000, num_samples=16000, normalize="none")
    clip = 0.1 * torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))

    features = made(clip)

    assert made.output_shape.dims == (1, 128, 128)
    torch.testing.assert_close(features[..., :98], (plain(clip) + 6.845978) / 11.1309052)
    torch.testing.assert_close(features[..., 98:], torch.full((2, 1, 128, 30), 0.6150424))
    assert made(torch.cat([clip, clip], dim=1)).shape[-1] == 198  # nothing is cut
