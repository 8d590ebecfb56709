"""Exact effects of single augmentations of waveforms."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from audio_lightning.augment.background_noise import BackgroundNoise
from audio_lightning.augment.codec import Codec
from audio_lightning.augment.colored_noise import ColoredNoise
from audio_lightning.augment.filter import Filter
from audio_lightning.augment.gain import Gain
from audio_lightning.augment.mu_law import MuLaw
from audio_lightning.augment.polarity import Polarity
from audio_lightning.augment.random_crop import RandomCrop
from audio_lightning.augment.reverberation import Reverberation
from audio_lightning.augment.room_response import RoomResponse
from audio_lightning.augment.spectrum import fast_length
from audio_lightning.augment.speed import Speed
from audio_lightning.augment.time_shift import TimeShift
from audio_lightning.core.errors import ConfigError, DataError

RATE = 8000


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def tone(hertz: float, samples: int = RATE, clips: int = 1) -> Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(samples) / RATE).expand(clips, -1)


def decibels(ratio: Tensor) -> Tensor:
    """Ratio of amplitudes in decibels."""
    return 20 * ratio.log10()


def level(waveform: Tensor) -> Tensor:
    return decibels(waveform.square().mean(dim=1).sqrt())


def test_gain_is_drawn_from_its_range() -> None:
    x = torch.randn(500, 10)

    gains = decibels(Gain(sample_rate=RATE, gain_db=(-12.0, 6.0), p=1.0)(x) / x)

    torch.testing.assert_close(gains, gains[:, :1].expand_as(gains), atol=1e-3, rtol=0)
    assert -12.001 <= gains.min() < -11
    assert 5 < gains.max() <= 6.001


def test_polarity_inverts() -> None:
    x = torch.randn(3, 10)

    assert torch.equal(Polarity(sample_rate=RATE, p=1.0)(x), -x)


@pytest.mark.parametrize("fill", ["zero", "roll"])
def test_shifts_are_integers_in_both_directions(fill: str) -> None:
    x = torch.arange(1, 101).float().expand(2000, -1)

    shifted = TimeShift(sample_rate=1000, max_seconds=0.005, fill=fill, p=1.0)(x)

    amounts = (50 - (shifted[:, 50] - 1)).long()
    assert sorted(set(amounts.tolist())) == list(range(-5, 6))
    for amount in range(-5, 6):
        expected = x[0].roll(amount)
        if fill == "zero":
            expected[: max(0, amount)] = 0
            expected[len(expected) + min(0, amount) :] = 0
        assert torch.equal(shifted[amounts == amount][0], expected)
    assert (amounts + 5).bincount().tolist() == pytest.approx([2000 / 11] * 11, rel=0.25), "all equally probable"


def test_a_shift_may_be_longer_than_the_clip() -> None:
    x = torch.arange(1, 8).float().expand(200, -1)

    rolled = TimeShift(sample_rate=1000, max_seconds=0.1, fill="roll", p=1.0)(x)
    zeroed = TimeShift(sample_rate=1000, max_seconds=0.1, fill="zero", p=1.0)(x)

    assert torch.equal(rolled.sort(dim=1).values, x)
    assert {int(row.count_nonzero()) for row in zeroed} == set(range(8))


def test_colored_noise_has_the_requested_snr_per_clip() -> None:
    x = torch.randn(64, 4000) * torch.logspace(-4, 0, 64)[:, None]

    noisy = ColoredNoise(sample_rate=RATE, snr_db=(20.0, 20.0), p=1.0)(x)

    torch.testing.assert_close(level(x) - level(noisy - x), torch.full((64,), 20.0), atol=0.05, rtol=0)


def test_ratios_are_drawn_from_their_range() -> None:
    x = torch.randn(200, 1000)

    ratios = level(x) - level(ColoredNoise(sample_rate=RATE, snr_db=(5.0, 15.0), p=1.0)(x) - x)

    assert 4.9 < ratios.min() < 6
    assert 14 < ratios.max() < 15.1


@pytest.mark.parametrize(("color", "slope"), [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
def test_colored_noise_has_the_slope_of_its_color(color: str, slope: float) -> None:
    x = torch.randn(256, 4096)

    noise = ColoredNoise(sample_rate=RATE, snr_db=(0.0, 0.0), colors=[color], p=1.0)(x) - x

    power = torch.fft.rfft(noise * torch.hann_window(4096)).abs().square().mean(dim=0)
    octaves = torch.stack([10 * power[start : 2 * start].mean().log10() for start in (16, 32, 64, 128, 256, 512)])
    torch.testing.assert_close(octaves.diff(), torch.full((5,), slope), atol=0.35, rtol=0)


def ramp_noise(
    volume: tuple[float, float] | None = (1.0, 1.0), snr_db: tuple[float, float] | None = None
) -> BackgroundNoise:
    """Two recordings: the numbers from 100 to 119, and from 1000 to 1004."""
    made = BackgroundNoise(sample_rate=RATE, volume=volume, snr_db=snr_db, p=1.0)
    samples = torch.cat([torch.zeros(3), torch.arange(100, 120), torch.zeros(7), torch.arange(1000, 1005)])
    made.set_recordings(samples.float(), torch.tensor([3, 30]), torch.tensor([23, 35]))
    return made


def test_background_noise_is_an_excerpt_and_short_recordings_repeat() -> None:
    added = ramp_noise()(torch.zeros(2000, 8))

    long, short = added[added[:, 0] < 1000], added[added[:, 0] >= 1000]
    assert len(long) == pytest.approx(1000, rel=0.1), "recordings are drawn with equal probability"
    assert torch.equal(long, long[:, :1] + torch.arange(8))
    assert set(long[:, 0].tolist()) == set(range(100, 113)), "every place that holds a whole clip"
    assert torch.equal(short, 1000 + (short[:, :1] - 1000 + torch.arange(8)) % 5)
    assert set(short[:, 0].tolist()) == set(range(1000, 1005))


def test_background_noise_has_the_requested_volume_or_snr() -> None:
    x = torch.randn(300, 8)

    # Within an excerpt, neighbours differ by one (except at repetitions), so the steps equal the volume.
    volumes = (ramp_noise(volume=(0.0, 0.1))(x) - x).diff(dim=1).median(dim=1).values
    assert 0 <= volumes.min() < 0.005
    assert 0.095 < volumes.max() <= 0.1001

    noisy = ramp_noise(volume=None, snr_db=(7.0, 7.0))(x)
    torch.testing.assert_close(level(x) - level(noisy - x), torch.full((300,), 7.0), atol=0.01, rtol=0)


def test_a_silent_recording_adds_nothing_at_any_ratio() -> None:
    made = BackgroundNoise(sample_rate=RATE, volume=None, snr_db=(0.0, 0.0), p=1.0)
    made.set_recordings(torch.zeros(100), torch.tensor([0]), torch.tensor([100]))
    x = torch.randn(4, 50)

    assert torch.equal(made(x), x)


def test_background_noise_needs_recordings() -> None:
    made = BackgroundNoise(sample_rate=RATE, p=1.0)
    assert not made.has_recordings
    with pytest.raises(RuntimeError, match="has no recordings; call set_recordings"):
        made(torch.zeros(2, 8))
    for starts, stops in (([], []), ([0], [5]), ([3], [3]), ([-1], [3])):
        with pytest.raises(ValueError, match="recording"):
            made.set_recordings(
                torch.zeros(4), *(torch.tensor(places, dtype=torch.int64) for places in (starts, stops))
            )


@pytest.mark.parametrize(
    ("low_hz", "high_hz", "order", "hertz", "expected"),
    [
        (None, (1000.0, 1000.0), 2, 1000, -3.01),
        (None, (1000.0, 1000.0), 2, 2000, -12.30),
        (None, (1000.0, 1000.0), 2, 250, -0.02),
        ((1000.0, 1000.0), None, 1, 1000, -3.01),
        ((1000.0, 1000.0), None, 1, 250, -12.30),
        ((500.0, 500.0), (2000.0, 2000.0), 4, 1000, -0.03),
        ((500.0, 500.0), (2000.0, 2000.0), 4, 250, -24.10),
    ],
)
def test_filters_have_the_response_of_butterworth(
    low_hz: tuple[float, float] | None, high_hz: tuple[float, float] | None, order: int, hertz: float, expected: float
) -> None:
    x = tone(hertz)

    filtered = Filter(sample_rate=RATE, low_hz=low_hz, high_hz=high_hz, order=order, p=1.0)(x)

    middle = slice(2000, 6000)
    assert (level(filtered[:, middle]) - level(x[:, middle])).item() == pytest.approx(expected, abs=0.02)


def test_filters_have_no_delay_and_do_not_wrap_around() -> None:
    x = torch.zeros(2, RATE)
    x[0, 4000] = x[1, -1] = 1

    filtered = Filter(sample_rate=RATE, high_hz=(500.0, 500.0), p=1.0)(x)

    assert filtered[0].argmax() == 4000
    torch.testing.assert_close(filtered[0, 3000:4000], filtered[0, 4001:5001].flip(0), atol=1e-6, rtol=0)
    assert filtered[1, :4000].abs().max() < 1e-5


def test_cutoffs_are_drawn_log_uniformly() -> None:
    clicks = torch.zeros(2000, 512)
    clicks[:, 0] = 1

    filtered = Filter(sample_rate=RATE, high_hz=(100.0, 1600.0), order=1, p=1.0)(clicks)

    energy = filtered.square().sum(dim=1)
    at_400 = Filter(sample_rate=RATE, high_hz=(400.0, 400.0), order=1, p=1.0)(clicks[:1]).square().sum()
    assert (energy < at_400).float().mean().item() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.06, 1.25])
def test_speed_moves_the_pitch_and_keeps_the_middle(speed: float) -> None:
    x = tone(440)

    faster = Speed(sample_rate=RATE, speed=(speed, speed), p=1.0)(x)[0]

    time = (torch.arange(RATE) - (RATE - 1) / 2) * speed + (RATE - 1) / 2
    expected = torch.sin(2 * math.pi * 440 * time.double() / RATE).float()
    inside = slice(1000, 7000)
    torch.testing.assert_close(faster[inside], expected[inside], atol=0.02, rtol=0)
    beyond = (time < -2) | (time > RATE + 1)
    assert not faster[beyond].any()
    assert beyond.any() == (speed > 1)


def test_speed_removes_aliasing() -> None:
    made = Speed(sample_rate=RATE, speed=(1.25, 1.25), p=1.0)

    assert level(made(tone(3600))[:, 2000:6000]).item() < -50
    assert level(made(tone(1000))[:, 2000:6000]).item() == pytest.approx(-3.01, abs=0.1)


def test_mu_law_rounds_to_its_levels() -> None:
    x = torch.cat([torch.linspace(-1, 1, 100_001), torch.tensor([-2.0, 2.0, 0.0])])[None]

    coded = MuLaw(sample_rate=RATE, levels=256, p=1.0)(x)

    assert len(coded.unique()) == 255
    torch.testing.assert_close(coded[0, -3:], torch.tensor([-1.0, 1.0, 0.0]))
    steps = coded.unique().diff()
    assert steps.max() / steps.min() > 100
    assert ((coded - x)[0, :-3].abs() <= 0.023).all(), "half of the widest step"
    loud = x.abs() > 0.01
    assert ((coded - x).abs()[loud] / x.abs()[loud].clamp(max=1)).sort().values[:-3].max() < 0.05


def test_reverberation_decays_by_60_db_in_rt60() -> None:
    made = Reverberation(sample_rate=RATE, rt60_seconds=(0.4, 0.4), direct_db=(6.0, 6.0), p=1.0)

    impulse = made.impulse_responses(torch.zeros(400, RATE))

    assert (impulse[:, 0] == 1).all()
    torch.testing.assert_close(impulse[:, 1:].square().sum(dim=1), torch.full((400,), 10**-0.6), atol=1e-4, rtol=0)
    decay = 10 * impulse[:, 1:].square().mean(dim=0).log10()
    early, late = decay[:200].mean(), decay[1600:1800].mean()
    assert (late - early).item() == pytest.approx(-60 * 1600 / (0.4 * RATE), abs=1)


def test_reverberation_follows_the_sound_and_keeps_its_level() -> None:
    x = torch.zeros(4, RATE)
    x[:, 5000] = 0.5

    echoing = Reverberation(sample_rate=RATE, p=1.0)(x)

    assert echoing[:, :5000].abs().max() < 1e-5
    assert (echoing.abs().argmax(dim=1) == 5000).all()
    assert echoing[:, 5001:6000].abs().max() > 1e-3
    torch.testing.assert_close(level(echoing), level(x), atol=1e-3, rtol=0)


def hall(*responses: Tensor, max_seconds: float = 1.0) -> RoomResponse:
    made = RoomResponse(sample_rate=RATE, max_seconds=max_seconds, p=1.0)
    stops = torch.tensor([len(response) for response in responses]).cumsum(0)
    made.set_recordings(torch.cat(responses), torch.cat([torch.zeros(1).long(), stops[:-1]]), stops)
    return made


def test_room_responses_are_convolved_and_aligned_at_the_peak() -> None:
    """50 samples of silence, a rise of 3 samples, the peak, and echoes."""
    response = torch.cat([torch.zeros(50), torch.tensor([0.1, 0.2, -2.0]), 0.3 * torch.randn(400)])
    x = torch.randn(3, 1000)

    echoing = hall(response)(x)

    expected = torch.stack([torch.from_numpy(np.convolve(clip, response)[52:1052]) for clip in x])
    torch.testing.assert_close(
        echoing, expected * (x.norm(dim=1) / expected.norm(dim=1))[:, None], atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(level(echoing), level(x), atol=1e-3, rtol=0)


def test_anechoic_response_is_identity_and_long_responses_are_cut() -> None:
    x = torch.randn(2, 500)
    click = torch.zeros(300)
    click[100] = 0.25
    torch.testing.assert_close(hall(click)(x), x, atol=1e-5, rtol=0)

    late = click.clone()
    late[200] = 0.2
    assert (hall(late)(x) - x).abs().max() > 0.1
    torch.testing.assert_close(hall(late, max_seconds=100 / RATE)(x), x, atol=1e-5, rtol=0)


def test_each_clip_draws_a_room() -> None:
    clicks = torch.zeros(400, 200)
    clicks[:, 20] = 1
    near, far = torch.zeros(50), torch.zeros(120)
    near[0] = far[0] = 1
    near[30] = far[90] = 0.5

    echoing = hall(near, far)(clicks)

    echo = echoing[:, 21:].argmax(dim=1) + 1
    assert sorted(set(echo.tolist())) == [30, 90]
    assert (echo == 30).float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_silent_and_missing_room_responses_are_errors() -> None:
    with pytest.raises(DataError, match="1 of 2 impulse responses are silent; leave them out of rir_dir"):
        hall(torch.ones(5), torch.zeros(5))
    with pytest.raises(RuntimeError, match="RoomResponse has no recordings"):
        RoomResponse(sample_rate=RATE, p=1.0)(torch.zeros(2, 8))


@pytest.mark.parametrize("fill", ["zero", "repeat"])
def test_crop_is_a_segment_of_the_clip(fill: str) -> None:
    x = torch.arange(1, 101).float().expand(2000, -1)

    cropped = RandomCrop(sample_rate=RATE, share=(0.2, 0.6), fill=fill, p=1.0)(x)

    start = cropped[:, 0].long()
    rising = (cropped == start[:, None] + torch.arange(100)).cumprod(dim=1)
    kept = rising.sum(dim=1)
    assert (kept.min(), kept.max()) == (20, 60)
    assert start.min() == 1
    assert (start + kept - 1).max() == 100
    place = torch.arange(100)
    repeated = start[:, None] + place % kept[:, None]
    assert torch.equal(cropped, repeated.float() if fill == "repeat" else repeated * (place < kept[:, None]))
    early = (start - 1) / (100 - kept)
    assert early.mean().item() == pytest.approx(0.5, abs=0.03), "all places are equally probable"


CODECS = [("mp3", RATE), ("mp3", 22050), ("vorbis", RATE), ("opus", RATE), ("opus", 22050)]


def chirp(rate: int) -> Tensor:
    """Half a second of a sweep from 200 Hz to 2 kHz, whose position reveals any shift."""
    time = torch.arange(rate // 2) / rate
    rising = 0.3 * torch.sin(2 * math.pi * (200 * time + 1800 * time**2)) * torch.hann_window(len(time))
    return functional.pad(rising, (rate // 3, rate // 7))[None]


@pytest.mark.parametrize(("name", "rate"), CODECS)
def test_codecs_keep_length_and_timing(name: str, rate: int) -> None:
    x = chirp(rate)

    coded = Codec(sample_rate=rate, formats=[name], compression=(0.5, 0.5), p=1.0)(x)

    assert coded.shape == x.shape
    n_fft = 2 * x.shape[1]
    alike = torch.fft.irfft(torch.fft.rfft(coded, n_fft) * torch.fft.rfft(x, n_fft).conj(), n_fft)
    assert alike.argmax() == 0, "the delay of the encoder is taken off"
    assert level(coded).item() == pytest.approx(level(x).item(), abs=0.6)
    assert 0.001 < (coded - x).norm() / x.norm() < 0.3


@pytest.mark.parametrize(("name", "rate"), CODECS)
def test_more_compression_removes_more(name: str, rate: int) -> None:
    x = 0.1 * torch.randn(1, rate)

    errors = [
        (Codec(sample_rate=rate, formats=[name], compression=(share, share), p=1.0)(x) - x).norm() / x.norm()
        for share in (0.0, 0.99)
    ]

    assert errors[0] < 0.8 * errors[1]


def test_a_clip_beyond_full_scale_is_not_clipped() -> None:
    made = Codec(sample_rate=RATE, formats=["mp3"], compression=(0.0, 0.0), p=1.0)

    torch.testing.assert_close(made(50 * chirp(RATE)) / 50, chirp(RATE), atol=0.05, rtol=0)


def test_each_clip_draws_a_format() -> None:
    x = chirp(RATE).expand(24, -1)

    coded = Codec(sample_rate=RATE, formats=["mp3", "vorbis"], compression=(0.5, 0.5), p=1.0)(x)

    assert len(coded.unique(dim=0)) == 2


def test_unavailable_format_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soundfile.available_subtypes", lambda container: {"VORBIS": "Vorbis"})
    with pytest.raises(ConfigError, match="formats: mp3 cannot be written by libsndfile"):
        Codec(sample_rate=RATE)


def test_transforms_have_a_fast_length() -> None:
    assert [fast_length(samples) for samples in (1, 2, 7, 97, 101, 4001, 88_201)] == [2, 2, 8, 100, 108, 4050, 90_000]


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (Gain, {"gain_db": (3.0, -3.0)}, r"gain_db is \[3.0, -3.0\], expected \[lowest, highest\]: two finite numbers"),
        (Gain, {"gain_db": (3.0,)}, r"gain_db is \[3.0\], expected"),
        (Gain, {"gain_db": (0.0, float("inf"))}, r"gain_db is \[0.0, inf\], expected"),
        (TimeShift, {"max_seconds": 0.00001}, "max_seconds is 1e-05, shorter than one sample at 8000 Hz"),
        (TimeShift, {"fill": "edge"}, "fill is 'edge', expected one of: zero, roll"),
        (ColoredNoise, {"colors": ["blue"]}, r"colors is \['blue'\], expected a list of some of: white, pink, brown"),
        (ColoredNoise, {"colors": []}, r"colors is \[\], expected a list"),
        (BackgroundNoise, {"snr_db": (0.0, 5.0)}, "give a range for one, and null for the other"),
        (BackgroundNoise, {"volume": None}, "give a range for one, and null for the other"),
        (BackgroundNoise, {"volume": (-1.0, 1.0)}, "two finite numbers of at least 0"),
        (Filter, {"high_hz": None}, "low_hz and high_hz are both null"),
        (Filter, {"high_hz": (0.0, 5.0)}, "high_hz is .* two finite numbers greater than 0"),
        (Filter, {"low_hz": (100.0, 3000.0)}, "they must not overlap"),
        (Filter, {"order": 0}, "order is 0, expected at least 1"),
        (Speed, {"speed": (0.0, 1.0)}, "speed is .* two finite numbers greater than 0"),
        (MuLaw, {"levels": 2}, "levels is 2, expected at least 3"),
        (Reverberation, {"rt60_seconds": (0.0, 1.0)}, "rt60_seconds is .* greater than 0"),
        (RoomResponse, {"max_seconds": 0.0}, "max_seconds is 0.0, shorter than one sample at 8000 Hz"),
        (RandomCrop, {"share": (0.5, 1.5)}, r"share is \[0.5, 1.5\], expected at most 1"),
        (RandomCrop, {"share": (0.0, 0.5)}, "share is .* greater than 0"),
        (RandomCrop, {"fill": "roll"}, "fill is 'roll', expected one of: zero, repeat"),
        (Codec, {"formats": ["aac"]}, r"formats is \['aac'\], expected a list of some of: mp3, vorbis, opus"),
        (Codec, {"formats": []}, r"formats is \[\], expected a list"),
        (Codec, {"compression": (0.5, 1.0)}, r"compression is \[0.5, 1.0\], expected at most 0.99"),
        (Codec, {"compression": (-0.5, 0.5)}, "compression is .* two finite numbers of at least 0"),
    ],
    ids=str,
)
def test_invalid_options_are_explained(cls: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cls(sample_rate=RATE, **options)
