"""The contract of all front ends, checked for every YAML in conf/feature."""

import choices
import pytest
import torch
from torch import Tensor, nn

from audio_lightning.config import choices as names
from audio_lightning.config import config_dir
from audio_lightning.config.targets import accepted
from audio_lightning.features import FrontEnd

FEATURES = names("feature")
MODES = ["none", "clip", "minmax", "statistics", [0.5, 2.0]]
RATES = [8000, 16000, 22050, 44100, 96000]
each_feature = pytest.mark.parametrize("name", FEATURES)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tone(sample_rate: int, num_samples: int, amplitude: float = 1.0) -> Tensor:
    return amplitude * torch.sin(2 * torch.pi * 440 * torch.arange(num_samples) / sample_rate)


def fitted(name: str, **options) -> FrontEnd:
    made = choices.front_end(name, **options)
    made.fit([noise(3, made.num_samples)])
    return made


@pytest.mark.parametrize("seconds", [0.02, 0.5, 4.0])
@pytest.mark.parametrize("sample_rate", RATES)
@each_feature
def test_features_are_finite_and_have_the_output_shape_at_any_rate_and_length(
    name: str, sample_rate: int, seconds: float
) -> None:
    samples = round(seconds * sample_rate)
    made = fitted(name, sample_rate=sample_rate, num_samples=samples)
    clips = [noise(samples), torch.zeros(samples), 3 * tone(sample_rate, samples).sign(), torch.eye(samples, 1)[:, 0]]

    features = made(torch.stack(clips))

    assert tuple(features.shape) == (4, *made.output_shape.dims)
    assert features.dtype == torch.float32
    assert features.isfinite().all()


@pytest.mark.parametrize("samples", [1, 2, 7, 100, 12000])
@each_feature
def test_clips_may_be_shorter_and_longer_than_usual(name: str, samples: int) -> None:
    made = fitted(name)

    features = made(noise(2, samples))

    assert features.isfinite().all()
    assert features.shape[1:-1] == made.output_shape.dims[:-1]


@pytest.mark.parametrize("normalize", MODES, ids=str)
@each_feature
def test_a_clip_does_not_depend_on_its_neighbours_in_a_single_bit(name: str, normalize: object) -> None:
    made = fitted(name, normalize=normalize)
    level = torch.tensor([1e-4, 1, 3, 0, 1e-2, 0.1, 10])
    batch = level[:, None] * noise(len(level), 8000, seed=1)
    alone = torch.cat([made(clip) for clip in batch.split(1)])

    for size in (2, 3, len(batch)):
        together = torch.cat([made(clips) for clips in batch.split(size)])
        torch.testing.assert_close(together, alone, atol=0, rtol=0)


@each_feature
def test_a_batch_computed_in_pieces_equals_its_clips(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fitted(name)
    batch = noise(5, 8000, seed=1)
    alone = torch.cat([made(clip) for clip in batch.split(1)])
    pieces = []
    compute = made.compute
    monkeypatch.setattr(made, "compute", lambda waveform: pieces.append(len(waveform)) or compute(waveform))
    monkeypatch.setattr("audio_lightning.features.base.SAMPLES_AT_ONCE", 2 * 8000)

    torch.testing.assert_close(made(batch), alone, atol=0, rtol=0)
    assert pieces == [2, 2, 1]


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@each_feature
def test_autocast_does_not_change_features(name: str, precision: torch.dtype) -> None:
    made = fitted(name)
    full_scale = tone(8000, 8000).expand(2, -1)
    expected = made(full_scale)

    with torch.autocast("cpu", dtype=precision):
        features = made(full_scale)

    assert features.dtype == torch.float32
    assert features.isfinite().all()
    torch.testing.assert_close(features, expected, atol=0, rtol=0)


@each_feature
def test_casting_the_surrounding_network_does_not_change_features(name: str) -> None:
    made = fitted(name)
    waveform = noise(2, 8000, seed=1)
    expected = made(waveform)

    nn.Sequential(made).to(torch.bfloat16)

    torch.testing.assert_close(made(waveform), expected, atol=0, rtol=0)


@pytest.mark.parametrize("mode", MODES, ids=str)
@each_feature
def test_gradients_flow_only_through_learnable_front_ends(name: str, mode: object) -> None:
    made = fitted(name, normalize=mode)

    features = made(noise(2, 8000).requires_grad_())

    assert features.requires_grad == made.learnable
    assert bool(list(made.parameters())) == made.learnable


@each_feature
def test_output_shape_is_computed_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        made = choices.front_end(name)

    assert made.output_shape == choices.front_end(name).output_shape
    assert all(tensor.is_meta for tensor in (*made.parameters(), *made.buffers()))


@each_feature
def test_a_state_dict_restores_everything(name: str) -> None:
    made, other = fitted(name, normalize="statistics"), choices.front_end(name, normalize="statistics")
    waveform = noise(2, 8000, seed=1)
    assert made.is_fitted
    assert not other.is_fitted

    other.load_state_dict(made.state_dict())

    assert other.is_fitted
    torch.testing.assert_close(other(waveform), made(waveform), atol=0, rtol=0)


@each_feature
def test_the_yaml_explains_each_option_and_gives_the_constructors_defaults(name: str) -> None:
    lines = (config_dir() / "feature" / f"{name}.yaml").read_text().splitlines()
    options = [line for line in lines if line and not line.startswith(("#", "_target_:", "defaults:", "  - "))]
    assert all(" # " in line for line in options)

    cls = choices.target("feature", name)
    if name == cls.__name__.lower():
        defaults = {
            key: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            for key, parameter in accepted(cls)[0].items()
            if parameter.default != parameter.empty
        }
        assert choices.load("feature", name) == {"_target_": f"{cls.__module__}.{cls.__name__}", **defaults}


class Gain(FrontEnd):
    """A learnable front end."""

    kind = "waveform"
    learnable = True

    def __init__(self) -> None:
        super().__init__(sample_rate=8000, num_samples=100, normalize="clip")
        self.gain = nn.Parameter(torch.ones(()))

    def compute(self, waveform: Tensor) -> Tensor:
        return (self.gain * waveform).tanh().unsqueeze(1)


def test_a_learnable_front_end_gets_gradients_and_keeps_float32() -> None:
    made, waveform = Gain(), noise(2, 100).requires_grad_()
    made(waveform).square().mean().backward()
    assert made.gain.grad is not None
    assert waveform.grad is not None

    with torch.no_grad():
        assert not made(noise(2, 100)).requires_grad
