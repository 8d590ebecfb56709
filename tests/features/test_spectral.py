"""Spectrograms and mel filters, compared with formulas and libraries; errors for invalid options."""

from types import ModuleType

import choices
import numpy as np
import pytest
import torch
from choices import flat
from torch import Tensor

from audio_lightning.core.errors import ConfigError
from audio_lightning.features.log_mel import LogMel
from audio_lightning.features.mel import Mel
from audio_lightning.features.mfcc import MFCC
from audio_lightning.features.spectrogram import Spectrogram

RATE = 16000
USUAL = {"sample_rate": RATE, "num_samples": RATE, "normalize": "none"}
FRAMES = {"n_fft": 512, "win_length": 400, "hop_length": 160, "pad_mode": "constant"}


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """One second of noise that gets louder under a tone: [1, 16000]."""
    time = torch.arange(RATE) / RATE
    hiss = torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    return (0.3 * torch.sin(2 * torch.pi * 1000 * time) + 0.1 * (0.1 + time) * hiss)[None]


@pytest.mark.parametrize(("scale", "power"), [("magnitude", 1), ("power", 2)])
def test_spectrograms_agree_with_torchaudio(clip: Tensor, scale: str, power: int, torchaudio: ModuleType) -> None:
    expected = torchaudio.transforms.Spectrogram(power=power, **FRAMES)(clip)

    torch.testing.assert_close(flat(Spectrogram, **USUAL, scale=scale)(clip)[:, 0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("top_db", [40, 80, None])
def test_decibels_agree_with_torchaudio(clip: Tensor, top_db: float | None, torchaudio: ModuleType) -> None:
    expected = torchaudio.transforms.AmplitudeToDB("power", top_db)(torchaudio.transforms.Spectrogram(**FRAMES)(clip))

    torch.testing.assert_close(flat(Spectrogram, **USUAL, top_db=top_db)(clip)[:, 0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
def test_log_mel_agrees_with_torchaudio(clip: Tensor, mel_scale: str, norm: str | None, torchaudio: ModuleType) -> None:
    options = {"f_min": 50, "f_max": 7000, "n_mels": 40, "norm": norm, "mel_scale": mel_scale}
    mel = torchaudio.transforms.MelSpectrogram(RATE, **options, **FRAMES)
    expected = torchaudio.transforms.AmplitudeToDB("power", 80)(mel(clip))

    made = flat(LogMel, **USUAL, **options)

    torch.testing.assert_close(made(clip)[:, 0], expected, atol=1e-4, rtol=1e-4)


def hertz_to_mel(hertz: np.ndarray, scale: str) -> np.ndarray:
    """O'Shaughnessy's formula as in HTK; Slaney's Auditory Toolbox, linear up to 1 kHz."""
    if scale == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    return np.where(hertz < 1000, 3 * hertz / 200, 15 + 27 * np.log(np.maximum(hertz, 1) / 1000) / np.log(6.4))


def mel_by_formula(
    clip: Tensor, *, n_mels: int, f_min: float, f_max: float, scale: str, norm: str | None, power: int
) -> Tensor:
    """Mel spectrogram [n_mels, frames] in float64 and plain NumPy, with 400 of 512 samples under the window."""
    padded = np.pad(clip[0].double().numpy(), 256)
    frames = np.stack([padded[start : start + 512] for start in range(0, len(padded) - 511, 160)])
    window = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400), 56)
    spectrum = np.abs(np.fft.rfft(frames * window)) ** power
    fine = np.linspace(0, RATE / 2, 2**20)
    lowest, highest = hertz_to_mel(np.array([f_min, f_max]), scale)
    edges = np.interp(np.linspace(lowest, highest, n_mels + 2), hertz_to_mel(fine, scale), fine)
    height = 2 / (edges[2:] - edges[:-2]) if norm else np.ones(n_mels)
    hertz = np.arange(257) * RATE / 512
    filters = [np.interp(hertz, edges[i : i + 3], [0, height[i], 0]) for i in range(n_mels)]
    return torch.from_numpy(np.stack(filters) @ spectrum.T).float()


@pytest.mark.parametrize(("scale", "power"), [("magnitude", 1), ("power", 2)])
@pytest.mark.parametrize(("mel_scale", "norm"), [("htk", None), ("slaney", "slaney")], ids=["torchaudio", "librosa"])
def test_mel_follows_the_published_formulas(
    clip: Tensor, mel_scale: str, norm: str | None, scale: str, power: int
) -> None:
    options = {"n_mels": 40, "f_min": 50.0, "f_max": 7000.0, "norm": norm}
    expected = mel_by_formula(clip, **options, scale=mel_scale, power=power)

    made = flat(Mel, **USUAL, **options, mel_scale=mel_scale, scale=scale)

    torch.testing.assert_close(made(clip)[0, 0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("scale", "power"), [("magnitude", 1), ("power", 2)])
@pytest.mark.parametrize(("mel_scale", "norm"), [("htk", None), ("slaney", "slaney")])
def test_mel_agrees_with_torchaudio(
    clip: Tensor, mel_scale: str, norm: str | None, scale: str, power: int, torchaudio: ModuleType
) -> None:
    expected = torchaudio.transforms.MelSpectrogram(
        RATE, f_min=20, n_mels=40, norm=norm, mel_scale=mel_scale, power=power, **FRAMES
    )(clip)

    made = flat(Mel, **USUAL, n_mels=40, mel_scale=mel_scale, norm=norm, scale=scale)

    torch.testing.assert_close(made(clip)[:, 0], expected, atol=1e-4, rtol=1e-4)


def test_the_logmel_librosa_choice_follows_librosas_formula(clip: Tensor, torchaudio: ModuleType) -> None:
    """The YAML of this name is compared with librosa below, if that is installed."""
    made = choices.front_end("logmel_librosa", sample_rate=22050, num_samples=22050, normalize="none")

    assert (len(made.mel.power.window), made.mel.power.n_fft, made.mel.power.hop_length) == (2048, 2048, 512)
    expected = torchaudio.transforms.AmplitudeToDB("power", 80)(librosas_mel(clip, torchaudio))
    torch.testing.assert_close(made(clip)[:, 0], expected)


def librosas_mel(clip: Tensor, torchaudio: ModuleType) -> Tensor:
    return torchaudio.transforms.MelSpectrogram(
        22050, n_fft=2048, hop_length=512, n_mels=128, norm="slaney", mel_scale="slaney", pad_mode="constant"
    )(clip)


@pytest.mark.full
def test_the_logmel_librosa_choice_agrees_with_librosa(clip: Tensor) -> None:
    librosa = pytest.importorskip("librosa")
    made = choices.front_end("logmel_librosa", sample_rate=22050, num_samples=22050, normalize="none")
    expected = librosa.power_to_db(librosa.feature.melspectrogram(y=clip[0].numpy(), sr=22050))

    torch.testing.assert_close(made(clip)[0, 0], torch.from_numpy(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("top_db", [80, None])
def test_silence_lies_at_100_db_below_full_scale(top_db: float | None) -> None:
    assert flat(LogMel, **USUAL, top_db=top_db)(torch.zeros(1, RATE)).unique().tolist() == [-100]


def test_lengths_are_given_in_seconds_and_rounded_to_samples() -> None:
    made = flat(LogMel, sample_rate=22050, num_samples=22050, window_seconds=0.025, hop_seconds=512 / 44100)

    assert (len(made.mel.power.window), made.mel.power.hop_length) == (551, 256)
    assert made.output_shape.dims == (1, 64, 1 + 22050 // 256)


def test_a_quiet_clip_keeps_its_detail_beside_a_loud_one(clip: Tensor) -> None:
    made = flat(LogMel, **USUAL)
    quiet = 1e-2 * clip

    together = made(torch.cat([clip, quiet]))

    torch.testing.assert_close(together[1:], made(quiet), atol=1e-4, rtol=0)
    torch.testing.assert_close(together[1] + 40, together[0], atol=0.1, rtol=0)


@pytest.mark.parametrize(("sample_rate", "n_mels", "n_fft"), [(16000, 64, 512), (16000, 128, 1024), (8000, 128, 512)])
def test_the_transform_is_as_long_as_the_filters_need(sample_rate: int, n_mels: int, n_fft: int) -> None:
    made = flat(LogMel, sample_rate=sample_rate, num_samples=8000, n_mels=n_mels)

    assert made.mel.power.n_fft == n_fft
    assert (made.mel.weights.amax(1) > 0).all()


def test_empty_filters_raise_an_error_with_working_remedies() -> None:
    with pytest.raises(ConfigError) as raised:
        flat(LogMel, **USUAL, n_fft=400, n_mels=128)

    assert str(raised.value) == (
        "3 of 128 mel filters between 20 and 8000 Hz are empty with n_fft=400 at 16000 Hz; "
        "use n_fft=1024 (the smallest power of two that fills them) or n_mels of at most 110"
    )
    flat(LogMel, **USUAL, n_fft=1024, n_mels=128)
    flat(LogMel, **USUAL, n_fft=400, n_mels=110)
    for still_wrong in ({"n_fft": 512, "n_mels": 128}, {"n_fft": 400, "n_mels": 111}):
        with pytest.raises(ConfigError, match=r"filters .* are empty"):
            flat(LogMel, **USUAL, **still_wrong)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"f_max": 8001}, "f_max is 8001, above half the sample rate of 16000 Hz; use null or at most 8000"),
        ({"f_min": 4000, "f_max": 4000}, "f_min is 4000, expected at least 0 and less than f_max"),
        ({"f_min": -1}, "f_min is -1, expected at least 0"),
        ({"f_min": 0, "f_max": 8}, "64 of 64 mel filters between 0 and 8 Hz .* use a wider band"),
        ({"n_mels": 5000}, "4490 of 5000 mel filters .*; use n_mels of at most 126$"),
        ({"n_mels": 0}, "n_mels is 0, expected a number greater than 0"),
        ({"n_fft": 399}, "n_fft is 399, expected an even number of at least 400 samples"),
        ({"n_fft": 513}, "n_fft is 513, expected an even number"),
        ({"n_fft": 0}, "n_fft is 0, expected an even number"),
        ({"hop_seconds": 1e-5}, "hop_seconds is 1e-05, shorter than one sample at 16000 Hz"),
        ({"window_seconds": 0}, "window_seconds is 0, shorter than one sample"),
        ({"top_db": -80}, "top_db is -80, expected a number greater than 0"),
        ({"mel_scale": "bark"}, "mel_scale is 'bark', expected one of: htk, slaney"),
        ({"norm": "htk"}, "norm is 'htk', expected one of: null, slaney"),
        (
            {"normalize": "batch"},
            r"normalize is 'batch', expected one of: none, clip, minmax, statistics, \[mean, std\]",
        ),
        ({"normalize": [1.0, 2.0, 3.0]}, r"normalize is \[1.0, 2.0, 3.0\], expected one of"),
        ({"normalize": [1.0, 0.0]}, r"std in normalize=\[mean, std\] is 0.0, expected a number greater than 0"),
        ({"n_mfcc": 65}, "n_mfcc is 65, more than the 64 bands; use at most n_mels"),
        ({"n_mfcc": 0}, "n_mfcc is 0, expected a number greater than 0"),
        ({"deltas": 3}, "deltas is 3, expected one of: 0, 1, 2"),
    ],
    ids=str,
)
def test_invalid_options_raise_an_error_with_the_reason(option: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        flat(MFCC, **{**USUAL, **option})
