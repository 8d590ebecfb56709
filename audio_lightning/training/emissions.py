"""Energy consumption and CO2 emissions of a training, estimated by codecarbon."""

import time
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from audio_lightning.core.errors import ConfigError, FileError
from audio_lightning.core.files import read_json, write_json
from audio_lightning.run_folder import RunFolder

ANY_COUNTRY = "USA"
"""Placeholder if no country is set, which codecarbon requires; the energy does not depend on it."""


class Emissions(Callback):
    """Callback that writes ``energy.json``: energy in kWh, and kg of CO2 equivalent from a country's electricity mix.

    codecarbon (Courty et al., github.com/mlco2/codecarbon) reads the energy counters of CPU and GPU if it has access,
    and otherwise estimates their power from the hardware model. It runs offline and sends nothing. A resumed training
    adds to the earlier values. With several devices, the first process measures those of its own machine.

    Args:
        country: location of the training, as an ISO 3166 code of three letters such as ``DEU``; None: energy alone.
        measure_power_secs: seconds between measurements.

    Example:
        >>> Emissions(country="DEU").country
        'DEU'
    """

    def __init__(self, country: str | None = None, measure_power_secs: float = 15.0) -> None:
        self.country, self.measure_power_secs = country, measure_power_secs
        self._tracker: Any = None
        self._started = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start measuring when the training begins.

        Raises:
            ConfigError: codecarbon is not installed, or does not know the country.
        """
        if stage != "fit" or not trainer.is_global_zero:
            return
        if find_spec("codecarbon") is None:
            raise ConfigError("callbacks=emissions: codecarbon is not installed; pip install 'audio-lightning[energy]'")
        codecarbon: Any = import_module("codecarbon")
        try:
            self._tracker = codecarbon.OfflineEmissionsTracker(
                country_iso_code=self.country or ANY_COUNTRY,
                measure_power_secs=self.measure_power_secs,
                save_to_file=False,
                log_level="error",
                allow_multiple_runs=True,
            )
        except Exception as error:  # codecarbon documents no exception types
            raise ConfigError(f"callbacks.emissions.country={self.country}: {error or type(error).__name__}") from error
        self._tracker.start()
        self._started = time.perf_counter()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Write the measurements."""
        self._write(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the measurements up to the error."""
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        if self._tracker is None:
            return
        tracker, self._tracker = self._tracker, None
        tracker.stop()
        found = tracker.final_emissions_data
        file = RunFolder(Path(trainer.default_root_dir)).energy
        before = _before(file)
        measured = {
            "energy_kwh": float(found.energy_consumed),
            "emissions_kg": float(found.emissions),
            "seconds": time.perf_counter() - self._started,
        }
        total: dict[str, float | None] = {name: value + before.get(name, 0.0) for name, value in measured.items()}
        if self.country is None:
            total["emissions_kg"] = None
        write_json(file, {**total, "country": self.country, "codecarbon": version("codecarbon")})


def _before(file: Path) -> dict[str, float]:
    """Return the measurements of the earlier parts of a resumed training."""
    try:
        found = read_json(file) if file.exists() else {}
    except FileError:
        return {}
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}
