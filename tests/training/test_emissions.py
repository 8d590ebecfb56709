"""Energy of a training, with a tracker that measures nothing real."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from running import resume, run

from audio_lightning.core.errors import ConfigError
from audio_lightning.report.model_card import write_model_card
from audio_lightning.training import emissions


class Tracker:
    """codecarbon's, with known figures."""

    made: list[dict[str, Any]] = []

    def __init__(self, **options: Any) -> None:
        if options["country_iso_code"] == "XXX":
            raise ValueError("no such country")
        Tracker.made.append(options)
        self.started = self.stopped = False

    def start(self) -> None:
        self.started = True

    def stop(self) -> None:
        assert self.started
        self.stopped = True

    @property
    def final_emissions_data(self) -> SimpleNamespace:
        assert self.stopped
        return SimpleNamespace(energy_consumed=0.25, emissions=0.125)


@pytest.fixture(autouse=True)
def codecarbon(monkeypatch: pytest.MonkeyPatch) -> None:
    Tracker.made = []
    module = ModuleType("codecarbon")
    module.OfflineEmissionsTracker = Tracker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "codecarbon", module)
    monkeypatch.setattr(emissions, "find_spec", lambda name: object())
    monkeypatch.setattr(emissions, "version", lambda name: "3.0")


def test_a_training_writes_its_energy(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    run(tiny_urbansound8k, tmp_path / "run", "callbacks=emissions", "callbacks.emissions.country=DEU")
    found = json.loads((tmp_path / "run/energy.json").read_text())
    assert (found["energy_kwh"], found["emissions_kg"], found["country"]) == (0.25, 0.125, "DEU")
    assert found["seconds"] > 0
    assert "0.25 kWh, or 0.125 kg of CO2" in write_model_card(tmp_path / "run").read_text(encoding="utf-8")
    (options,) = Tracker.made
    assert options["save_to_file"] is False


def test_a_resumed_training_adds_to_it(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    run(tiny_urbansound8k, tmp_path / "run", "callbacks=emissions", "trainer.max_epochs=1")
    resume(tmp_path / "run", "trainer.max_epochs=2")
    found = json.loads((tmp_path / "run/energy.json").read_text())
    assert (found["energy_kwh"], found["emissions_kg"]) == (0.5, None)


def test_an_unknown_country_is_one_line(tiny_urbansound8k: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.emissions\.country=XXX: no such country"):
        run(tiny_urbansound8k, tmp_path / "run", "callbacks=emissions", "callbacks.emissions.country=XXX")


def test_without_the_package_it_is_named(
    tiny_urbansound8k: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emissions, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'audio-lightning\[energy\]'"):
        run(tiny_urbansound8k, tmp_path / "run", "callbacks=emissions")
