"""Every callback of Lightning can be named by its own path, or is refused with the reason."""

from pathlib import Path

import lightning.pytorch.callbacks
import pytest
from running import run

from audio_lightning.core.errors import ConfigError
from audio_lightning.training.lightning_callbacks import UNSUITABLE

ARGUMENTS = {
    "EMAWeightAveraging": "decay: 0.9",
    "EarlyStopping": "monitor: validation/loss",
    "GradientAccumulationScheduler": "scheduling: {0: 2}",
    "OnExceptionCheckpoint": "dirpath: kept",
    "StochasticWeightAveraging": "swa_lrs: 0.01",
    "Timer": "duration: 00:01:00:00",
}
"""Required arguments."""

WARNS = {
    "OnExceptionCheckpoint": [".*was called without a model", ".*there is no last checkpoint available"],
    "StochasticWeightAveraging": ["SWA is currently only supported every epoch"],  # the schedule here is by step
}
"""Warnings of Lightning although a callback works."""

QUICK = ("Timer", "TQDMProgressBar")


def marks(name: str) -> list[pytest.MarkDecorator]:
    expected = [pytest.mark.filterwarnings(f"ignore:{message}") for message in WARNS.get(name, [])]
    return expected if name in QUICK else [pytest.mark.full, *expected]


def named(name: str) -> str:
    arguments = f", {ARGUMENTS[name]}" if name in ARGUMENTS else ""
    return f"+callbacks.own={{_target_: lightning.pytorch.callbacks.{name}{arguments}}}"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=marks(name)) for name in lightning.pytorch.callbacks.__all__ if name not in UNSUITABLE],
)
def test_a_callback_of_lightning_takes_part(
    name: str, tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen = []
    cls = getattr(lightning.pytorch.callbacks, name)
    setup = cls.setup
    monkeypatch.setattr(cls, "setup", lambda self, *rest, **named: (seen.append(self), setup(self, *rest, **named)))
    metrics = run(tiny_urbansound8k, tmp_path / "run", named(name), "trainer.max_epochs=2")
    assert metrics["epochs"] >= 2
    assert any(type(callback) is cls for callback in seen)


@pytest.mark.parametrize("name", sorted(UNSUITABLE))
def test_an_unsuitable_callback_is_refused_with_the_reason(name: str, tiny_urbansound8k: Path, tmp_path: Path) -> None:
    assert name in lightning.pytorch.callbacks.__all__
    with pytest.raises(ConfigError, match=rf"^callbacks\.own\._target_=lightning.*\.{name} cannot be used: "):
        run(tiny_urbansound8k, tmp_path / "run", named(name))
