"""Layers that a device cannot compute in 16 bits, simulated by broken layers on every machine."""

import copy
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from running import run
from torch import Tensor, nn

from audio_lightning.classifier.autocast import use_float32_where_needed
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.task import FeatureShape
from audio_lightning.models import AudioModel
from audio_lightning.run_folder import RunFolder

PICTURE = FeatureShape("spectrogram", (1, 32, 32))


class Garbage(torch.autograd.Function):
    """Identity with a wrong gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return torch.full_like(gradient, 3.0)


def refuse(patch: pytest.MonkeyPatch, kind: type[nn.Module], *, only: torch.dtype | None = None) -> None:
    """Make all layers of a kind fail under autocast like the LSTM of oneDNN, for one type of inputs or all."""
    forward = kind.forward

    def failing(layer: nn.Module, x: Tensor, *rest: Any) -> Any:
        if torch.is_autocast_enabled("cpu") and only in (None, x.dtype):
            raise RuntimeError("could not create a primitive descriptor\nmore of it")
        return forward(layer, x, *rest)

    patch.setattr(kind, "forward", failing)


def spoil(patch: pytest.MonkeyPatch) -> None:
    """Make recurrent layers return wrong gradients under autocast."""
    forward = nn.LSTM.forward

    def spoiled(layer: nn.LSTM, x: Tensor) -> Any:
        y, state = forward(layer, x)
        return (Garbage.apply(y) if torch.is_autocast_enabled("cpu") else y), state

    patch.setattr(nn.LSTM, "forward", spoiled)


class Small(AudioModel):
    """A convolution smaller than its input, one larger than its input, and a recurrent layer."""

    input_kind = "spectrogram"

    def __init__(self) -> None:
        super().__init__(PICTURE, 3)
        self.wide = nn.Conv2d(1, 2, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d((4, 2))
        self.norm = nn.BatchNorm2d(2)
        self.narrow = nn.Conv2d(2, 2, 3, padding=1)
        self.recurrent = nn.LSTM(8, 4, 2, batch_first=True, dropout=0.5)
        self.head = nn.Linear(4, 3)

    def embed(self, x: Tensor) -> Tensor:
        x = self.narrow(self.norm(self.pool(self.wide(x))))
        return self.recurrent(x.permute(0, 3, 1, 2).flatten(2).float())[0].mean(1)


@pytest.fixture
def network() -> Small:
    torch.manual_seed(0)
    return Small()


def half(network: AudioModel) -> dict[str, torch.dtype]:
    """The type of each layer's output under autocast."""
    types: dict[str, torch.dtype] = {}
    hooks = [
        layer.register_forward_hook(
            lambda _, __, y, name=name: types.update({name: (y[0] if isinstance(y, tuple) else y).dtype})
        )
        for name, layer in network.named_children()
    ]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(torch.randn(2, *PICTURE.dims)).float().sum().backward()
    for hook in hooks:
        hook.remove()
    return types


def test_float32_probes_no_layer(network: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Small, "forward", lambda *_: pytest.fail("it was run"))
    assert use_float32_where_needed(network, "32-true") == []


def test_a_layer_that_fails_runs_in_float32_and_the_others_do_not(
    network: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch, nn.LSTM)
    assert use_float32_where_needed(network, "bf16-mixed") == ["Conv2d", "LSTM"]
    types = half(network)
    assert types["recurrent"] == types["narrow"] == torch.float32
    assert types["wide"] == torch.bfloat16


@pytest.mark.parametrize(("fails", "found"), [(torch.float32, ["Conv2d", "GRU"]), (torch.bfloat16, ["Conv2d"])])
def test_layers_are_probed_with_their_own_inputs(
    network: Small, monkeypatch: pytest.MonkeyPatch, fails: torch.dtype, found: list[str]
) -> None:
    """The LSTM of oneDNN fails for inputs in float32 only."""
    network.recurrent = nn.GRU(8, 4, batch_first=True)
    refuse(monkeypatch, nn.GRU, only=fails)
    assert use_float32_where_needed(network, "bf16-mixed") == found


def test_wrong_gradients_are_found(network: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch)
    assert use_float32_where_needed(network, "bf16-mixed") == ["Conv2d", "LSTM"]


def test_kernels_larger_than_their_input_are_not_tested_on_a_cpu(
    network: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their gradients are uninitialized memory, which may be right in one call and wrong in the next."""
    network.recurrent = nn.GRU(8, 4, batch_first=True)  # not every CPU has an LSTM
    monkeypatch.setattr("audio_lightning.classifier.autocast._is_right", lambda *_: True)
    assert use_float32_where_needed(network, "bf16-mixed") == ["Conv2d"]
    types = half(network)
    assert (types["wide"], types["narrow"]) == (torch.bfloat16, torch.float32)


def test_probing_changes_only_the_type(network: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, nn.LSTM)
    network.train()
    network.norm.eval()  # as what is frozen
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    use_float32_where_needed(network, "bf16-mixed")
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert {name for name, child in network.named_children() if not child.training} == {"norm"}
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.recurrent.dropout == 0.5


def test_a_copy_computes_with_its_own_weights(network: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, nn.LSTM)
    use_float32_where_needed(network, "bf16-mixed")
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.recurrent.parameters():
            parameter.zero_()
    x = torch.randn(2, *PICTURE.dims)
    assert not other.embed(x).any()
    assert network.embed(x).any()


def test_other_failures_are_one_line(network: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, nn.BatchNorm2d)
    with pytest.raises(ConfigError) as raised:
        use_float32_where_needed(network, "bf16-mixed")
    assert str(raised.value) == (
        "trainer.precision=bf16-mixed: Small cannot be computed in it on this device (could not create a primitive "
        "descriptor); use trainer.precision=32-true"
    )
    assert all("forward" not in vars(module) for module in network.modules())


class Narrowing(AudioModel):
    """Convolutions with wide and strided kernels; the last ones get one frame."""

    input_kind = "spectrogram"

    def __init__(self) -> None:
        super().__init__(PICTURE, 3)
        kernels = [(1, 7, 4), (8, 5, 2), (8, 3, 2), (8, 5, 2), (8, 7, 2), (8, 3, 1)]
        layers = [nn.Conv2d(before, 8, size, step, size // 2) for before, size, step in kernels]
        self.layers = nn.Sequential(*(part for layer in layers for part in (layer, nn.GELU())))
        self.head = nn.Linear(8, 3)

    def embed(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten(1)


def test_gradients_of_small_inputs_are_right_on_this_machine() -> None:
    """On any CPU, for layers that stay in bfloat16 and for layers moved to float32."""
    torch.manual_seed(0)
    network, x = Narrowing(), torch.randn(8, *PICTURE.dims)
    use_float32_where_needed(network, "bf16-mixed")
    gradients = []
    for enabled in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            logits = network(x)
        nn.functional.cross_entropy(logits.float(), torch.arange(8) % 3).backward()
        gradients.append([value.grad.clone() for value in network.parameters()])
    for one, other in zip(*gradients):
        torch.testing.assert_close(other, one, rtol=0, atol=0.1 * float(one.norm()))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_training_reports_float32_layers_and_continues(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    compiled: bool,
) -> None:  # fmt: skip
    refuse(monkeypatch, nn.LSTM)
    if compiled:
        original = nn.Module.compile
        monkeypatch.setattr(nn.Module, "compile", lambda self: original(self, backend="eager"))
        torch._dynamo.reset()
    settings = [line for line in tiny.TRAIN_OVERRIDES if not line.startswith("model")]
    options = ["model=lstm", "model.hidden_dim=4", "trainer.precision=bf16-mixed", "trainer.max_epochs=1"]
    metrics = run(tiny_urbansound8k, tmp_path / "run", *options, f"compile={str(compiled).lower()}", settings=settings)
    assert metrics["precision"] == "bf16-mixed"
    assert metrics["float32_layers"] == "LSTM"
    assert RunFolder(tmp_path / "run").read_metrics() == metrics
    line = "trainer.precision=bf16-mixed is not supported on this device for LSTM; using float32 there\n"
    assert capsys.readouterr().err.count(line) == 1
