"""The contract of all models, checked for every YAML in conf/model on the smallest valid input."""

import copy
import inspect
from dataclasses import replace
from pathlib import Path

import choices
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from audio_lightning.classifier.autocast import use_float32_where_needed
from audio_lightning.config import choices as names
from audio_lightning.config import config_dir
from audio_lightning.core.task import FeatureShape, InputKind
from audio_lightning.models import AudioModel, IncompatibleInput

NUM_CLASSES = 3
LABELS = torch.arange(8) % NUM_CLASSES

WITHOUT_GRADIENT: dict[str, dict[str, str]] = {
    "timm": {
        f"backbone.layer{number}.0.{part}": "the last normalization of a block starts with a scale of zero"
        for number in range(1, 5)
        for part in ("conv1.weight", "conv2.weight", "bn1.weight", "bn1.bias")
    }
}
"""Trainable parameters without gradient of each model, with the reason."""

GENTLY: dict[str, float] = {"alexnet": 1e-4, "conv2d_vgg": 1e-4, "vgg": 1e-4}
"""Learning rates of models that, as published, have no normalization between many or wide layers."""

HEAVY = ("alexnet", "conv1d_vgg", "conv1d_vgg_skip", "conv2d_vgg", "resnet", "vgg")
"""Models whose training step takes at least a quarter of a second, ten times as long in emulated bfloat16."""

TRAINED = [pytest.param(name, marks=pytest.mark.full if name in HEAVY else ()) for name in names("model")]
"""For tests of more than one step."""

DISTINCT: dict[InputKind, tuple[int, ...]] = {"waveform": (1600,), "spectrogram": (32, 32)}
"""Large enough for eight random clips to differ clearly; some models accept smaller inputs."""


def input_shapes(name: str) -> tuple[FeatureShape, FeatureShape]:
    """The smallest valid input of a model, and one large enough for training."""
    kind, minimum = choices.smallest(name)
    return (
        FeatureShape(kind, (1, *minimum)),
        FeatureShape(kind, (1, *map(max, minimum, DISTINCT[kind]))),
    )


def clips(shape: FeatureShape, count: int = 8) -> Tensor:
    return torch.randn(count, *shape.dims, generator=torch.Generator().manual_seed(0))


def informed(name: str, shape: FeatureShape) -> AudioModel:
    """A network that has memorized the clips of the tests, if it memorizes training clips."""
    return choices.memorized(choices.model(name, shape, num_classes=NUM_CLASSES), clips(shape), LABELS)


@pytest.fixture(scope="module", params=names("model"))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def shape(name: str) -> FeatureShape:
    return input_shapes(name)[1]


@pytest.fixture(scope="module")
def model(name: str, shape: FeatureShape) -> AudioModel:
    """A model in evaluation mode, shared by tests that do not change it."""
    torch.manual_seed(0)
    return informed(name, shape).eval()


@torch.no_grad()
def test_logits_are_the_head_on_the_embedding(model: AudioModel, shape: FeatureShape) -> None:
    x = clips(shape, 2)

    embedding, logits = model.embed(x), model(x)

    assert embedding.shape == (2, model.embedding_dim)
    assert logits.shape == (2, NUM_CLASSES)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits, model.head(embedding), atol=0, rtol=0)


def test_each_trainable_parameter_gets_a_finite_gradient(name: str, model: AudioModel, shape: FeatureShape) -> None:
    trained = copy.deepcopy(model).train()
    functional.cross_entropy(trained(clips(shape)), LABELS).backward()

    trainable = {key: value for key, value in trained.named_parameters() if value.requires_grad}
    missing = {key for key, value in trainable.items() if value.grad is None or not value.grad.any()}
    assert missing == set(WITHOUT_GRADIENT.get(name, {}))
    assert all(value.grad.isfinite().all() for value in trainable.values() if value.grad is not None)


# Not the fixtures: they would be kept from one parametrization by name to the other when the order of tests is mixed.
@pytest.mark.parametrize("learner", TRAINED)
def test_overfits_a_tiny_batch(learner: str) -> None:
    """Within 100 steps; 40 at most were taken on x86-64 with AVX2, and no other CPU was tried.

    Normalization by the statistics of the batch itself: running ones lag behind the weights by tens of steps, and by
    how many depends on how the CPU rounds.
    """
    _, shape = input_shapes(learner)
    torch.manual_seed(0)
    model = informed(learner, shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=GENTLY.get(learner, 1e-3))
    x, target = clips(shape), LABELS
    accuracies = []

    for _ in range(10):
        model.train()
        for _ in range(10):
            optimizer.zero_grad()
            functional.cross_entropy(model(x), target).backward()
            optimizer.step()
        model.eval()
        for norm in model.modules():
            if isinstance(norm, _BatchNorm):
                norm.train()
        with torch.no_grad():
            accuracies.append((model(x).argmax(1) == target).float().mean().item())
        if accuracies[-1] == 1:
            break

    assert accuracies[-1] == 1, accuracies


@torch.no_grad()
def test_a_state_dict_restores_the_predictions(
    name: str, model: AudioModel, shape: FeatureShape, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    other, x = choices.model(name, shape, num_classes=NUM_CLASSES).eval(), clips(shape, 2)
    assert not torch.equal(other(x), model(x))

    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))

    torch.testing.assert_close(other(x), model(x), atol=0, rtol=0)


@pytest.mark.parametrize("learner", TRAINED)
def test_it_trains_under_bfloat16_autocast(learner: str) -> None:
    _, shape = input_shapes(learner)
    torch.manual_seed(0)
    trained = informed(learner, shape).train()
    use_float32_where_needed(trained, "bf16-mixed")

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = trained(clips(shape))
        loss = functional.cross_entropy(logits.float(), LABELS)
    loss.backward()

    assert logits.isfinite().all()
    assert all(value.grad.isfinite().all() for value in trained.parameters() if value.grad is not None)


@pytest.mark.parametrize("learner", TRAINED)
def test_minimum_input_is_exact(learner: str) -> None:
    """One that it can be trained on; little or nothing may be learned from so little.

    In bfloat16 only the logits are checked: PyTorch 2.11 on a CPU returns uninitialized memory as the gradient of
    kernels that reach beyond an input of one frame on both sides.
    """
    smallest, _ = input_shapes(learner)
    torch.manual_seed(0)
    made = choices.model(learner, smallest, num_classes=NUM_CLASSES).train()
    logits = made(clips(smallest))
    assert logits.shape == (8, NUM_CLASSES)
    functional.cross_entropy(logits, LABELS).backward()
    gradients = {key: value.grad for key, value in made.named_parameters() if value.requires_grad}
    assert [key for key, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    use_float32_where_needed(made, "bf16-mixed")
    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert made(clips(smallest)).isfinite().all()
        assert made.eval().embed(clips(smallest, 2)).shape == (2, made.embedding_dim)

    for axis in range(1, len(smallest.dims)):
        dims = list(smallest.dims)
        dims[axis] -= 1
        if dims[axis] > 0:
            with pytest.raises(IncompatibleInput, match=rf"^{made.__class__.__name__.lower()} needs at least .*; use "):
                choices.model(learner, replace(smallest, dims=tuple(dims)))


@torch.no_grad()
def test_accepts_variable_length_holds(model: AudioModel, shape: FeatureShape) -> None:
    longer = clips(replace(shape, dims=(*shape.dims[:-1], 2 * shape.dims[-1])), 2)
    if model.accepts_variable_length:
        assert model(longer).shape == (2, NUM_CLASSES)
    else:
        with pytest.raises(RuntimeError):
            model(longer)


@torch.no_grad()
def test_it_takes_any_number_of_channels(name: str, shape: FeatureShape) -> None:
    stereo = replace(shape, dims=(2, *shape.dims[1:]))

    assert choices.model(name, stereo).eval()(clips(stereo, 2)).isfinite().all()


def test_it_can_be_built_on_the_meta_device(name: str, shape: FeatureShape) -> None:
    with torch.device("meta"):
        made = choices.model(name, shape)

    assert all(tensor.is_meta for tensor in (*made.parameters(), *made.buffers()))


def test_the_wrong_kind_of_input_is_refused_before_any_layer_is_built(
    name: str, shape: FeatureShape, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = (
        FeatureShape("spectrogram", (1, 64, 401)) if shape.kind == "waveform" else FeatureShape("waveform", (1, 8000))
    )
    monkeypatch.setattr(nn.Module, "__setattr__", lambda *args: pytest.fail("something was built"))

    with pytest.raises(IncompatibleInput) as raised:
        choices.model(name, wrong)

    assert str(raised.value).startswith(f"{choices.target('model', name).__name__.lower()} takes a {shape.kind}, and ")
    assert str(raised.value).endswith(f"or a model for {wrong.kind}s")


def test_the_yaml_explains_each_option_and_gives_the_constructors_defaults(name: str) -> None:
    lines = (config_dir() / "model" / f"{name}.yaml").read_text().splitlines()
    options = [line for line in lines if line and not line.startswith(("#", "_target_:", "defaults:", "  - "))]
    assert all(" # " in line for line in options)

    cls = choices.target("model", name)
    if name == cls.__name__.lower():
        defaults = {
            parameter.name: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            for parameter in inspect.signature(cls).parameters.values()
            if parameter.default is not parameter.empty
        }
        expected = {"_target_": f"{cls.__module__}.{cls.__name__}", "pretrained": None, **defaults}
        assert choices.load("model", name) == expected
