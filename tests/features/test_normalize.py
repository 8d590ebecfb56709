"""Normalization per clip and by training statistics."""

import pytest
import torch
from choices import flat
from torch import Tensor

from audio_lightning.features.flat_spectrogram import FlatSpectrogram
from audio_lightning.features.log_mel import LogMel
from audio_lightning.features.normalize import (
    ClipNormalization,
    MinMaxNormalization,
    StatisticsNormalization,
    make_normalization,
)
from audio_lightning.features.waveform import Waveform


@pytest.fixture
def batches() -> list[Tensor]:
    """Uneven batches of features [B, 1, 5, 20] whose bins differ in level and spread."""
    generator = torch.Generator().manual_seed(0)
    level, spread = torch.tensor([-90.0, -50, 0, 3, 1e4]), torch.tensor([20.0, 1, 0.01, 5, 300])
    return [
        level[:, None] + spread[:, None] * torch.randn(size, 1, 5, 20, generator=generator) + batch
        for batch, size in enumerate([16, 3, 1])
    ]


def test_training_data_get_mean_0_and_deviation_1_in_each_bin(batches: list[Tensor]) -> None:
    normalization = StatisticsNormalization()
    normalization.fit(batches)

    features = normalization(torch.cat(batches)).double()

    torch.testing.assert_close(features.mean((0, 1, 3)), torch.zeros(5).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(features.std((0, 1, 3), correction=0), torch.ones(5).double(), atol=1e-3, rtol=0)


def test_merged_statistics_equal_those_of_all_data_at_once(batches: list[Tensor]) -> None:
    normalization = StatisticsNormalization()
    normalization.fit(iter(batches))
    std, mean = torch.std_mean(torch.cat(batches).double(), dim=(0, 3), correction=0)

    torch.testing.assert_close(normalization.mean[..., 0], mean.float(), atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(normalization.std[..., 0], std.float(), atol=0, rtol=1e-4)


def test_a_front_end_fits_statistics_to_waveforms() -> None:
    waveforms = [torch.randn(n, 4000, generator=torch.Generator().manual_seed(n)) / n for n in (1, 2, 3)]
    made = flat(LogMel, sample_rate=8000, num_samples=4000, n_mels=16)
    made.fit(waveforms)

    features = torch.cat([made(waveform) for waveform in waveforms])

    assert made.normalization.mean.shape == (1, 16, 1)
    torch.testing.assert_close(features.mean((0, 1, 3)), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std((0, 1, 3), correction=0), torch.ones(16), atol=1e-4, rtol=0)


def test_a_waveform_has_one_mean_and_one_deviation() -> None:
    made = Waveform(sample_rate=8000, num_samples=4, normalize="statistics")
    made.fit([torch.tensor([[1.0, 1, 3, 3]]), torch.tensor([[1.0, 3, 1, 3]])])

    assert made.normalization.mean.tolist() == [[2]]
    assert made.normalization.std.tolist() == [[1]]


def test_a_bin_that_was_constant_in_training_does_not_explode() -> None:
    training = 10 * torch.randn(4, 1, 3, 50, generator=torch.Generator().manual_seed(0))
    training[:, :, 1] = -100 + 1e-6 * training[:, :, 1]
    training[:, :, 2] = 0
    normalization = StatisticsNormalization()
    normalization.fit([training])

    assert normalization(training + 60).abs().amax() < 20


def test_silent_training_data_are_divided_by_one() -> None:
    normalization = StatisticsNormalization()
    normalization.fit([torch.full((2, 1, 3, 5), -100.0)])

    assert normalization(torch.full((1, 1, 3, 5), -99.0)).unique().tolist() == [1]


def test_missing_statistics_raise_an_error() -> None:
    made = flat(LogMel, sample_rate=8000, num_samples=8000)
    assert made.needs_statistics
    assert not made.is_fitted

    with pytest.raises(RuntimeError, match=r"has no statistics yet; call the front end's fit\(\)"):
        made(torch.zeros(1, 8000))
    with pytest.raises(ValueError, match="no training features"):
        made.fit([])


def test_modes_without_statistics_read_no_training_data() -> None:
    made = flat(LogMel, sample_rate=8000, num_samples=8000, normalize="clip")
    assert not made.needs_statistics
    assert made.is_fitted

    made.fit(pytest.fail("training data were read") for _ in range(1))


def test_each_clip_gets_mean_0_and_deviation_1() -> None:
    clips = torch.randn(3, 1, 8, 50, generator=torch.Generator().manual_seed(0))
    clips *= torch.tensor([1e-3, 1, 300])[:, None, None, None]

    features = ClipNormalization()(clips - 7 * clips.abs().amax((1, 2, 3), keepdim=True))

    torch.testing.assert_close(features.mean((1, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(features.std((1, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [0.0, -100.0, 0.3])
def test_a_constant_clip_becomes_zeros(level: float) -> None:
    features = ClipNormalization()(torch.full((1, 1, 64, 401), level))

    assert features.abs().amax() < 0.1


def test_each_clip_reaches_from_0_to_1() -> None:
    clips = torch.randn(3, 1, 8, 50, generator=torch.Generator().manual_seed(0))
    clips = clips * torch.tensor([1e-12, 1, 300])[:, None, None, None] - 7e-12

    features = MinMaxNormalization()(clips)

    assert features.amin((1, 2, 3)).tolist() == [0, 0, 0]
    assert features.amax((1, 2, 3)).tolist() == [1, 1, 1]
    torch.testing.assert_close(features[1], (clips[1] - clips[1].min()) / (clips[1].max() - clips[1].min()))
    assert MinMaxNormalization()(torch.full((2, 1, 3, 5), -100.0)).unique().tolist() == [0]


def test_two_numbers_are_a_mean_and_a_standard_deviation() -> None:
    normalization = make_normalization((-4.0, 2.0))

    assert normalization(torch.tensor([[-4.0, -2.0, 4.0]])).tolist() == [[0, 1, 4]]
    assert normalization.is_fitted
    assert not normalization.needs_statistics
    assert not normalization.state_dict()


@pytest.mark.parametrize("normalize", ["clip", "minmax"])
@pytest.mark.parametrize(
    ("cls", "options"), [(Waveform, {}), (LogMel, {"n_mels": 16, "window_seconds": 0.02, "hop_seconds": 0.01})]
)
def test_a_sound_is_scaled_alike_however_much_silence_fills_up_its_clip(
    cls: type, options: dict[str, object], normalize: str
) -> None:
    made = flat(cls, sample_rate=8000, num_samples=8000, normalize=normalize, **options)
    sound = 0.1 * torch.randn(1, 4000, generator=torch.Generator().manual_seed(0)) + 0.02
    alone, padded = made(sound), made(torch.nn.functional.pad(sound, (0, 4000)))

    frames = 4000 // 80 - 2 if cls is LogMel else 4000  # the last windows reach into the padding
    assert padded[..., 2:frames].std() > 0.05
    torch.testing.assert_close(padded[..., 2:frames], alone[..., 2:frames], atol=0.05, rtol=0.02)
    assert (padded[..., -frames // 2 :] == 0).all()


def test_constant_ends_of_vectors_that_are_not_sound_are_not_padding() -> None:
    made = FlatSpectrogram(sample_rate=8000, num_samples=800, normalize="clip")
    padded = torch.nn.functional.pad(torch.randn(1, 400, generator=torch.Generator().manual_seed(0)), (0, 400))

    assert abs(float(made(padded).mean())) < 1e-4
    assert not (made(padded) == 0).any()
