"""What a run leaves behind, and where."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from audio_lightning.errors import ConfigError
from audio_lightning.files import write_text


@dataclass(frozen=True)
class RunFolder:
    """The files of one run (``hydra.run.dir``)."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """Test and validation metrics and costs, flat; there once the run is finished."""
        return self.path / "metrics.json"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.path / "history.csv"

    @property
    def steps(self) -> Path:
        """One row a logged value."""
        return self.path / "steps.csv"

    @property
    def predictions(self) -> Path:
        """One row a test clip."""
        return self.path / "predictions.csv"

    @property
    def per_class(self) -> Path:
        """Precision, recall and F1 of every class on the test clips."""
        return self.path / "per_class.csv"

    @property
    def problems(self) -> Path:
        """What is wrong with the data, where something is."""
        return self.path / "problems.csv"

    @property
    def environment(self) -> Path:
        """Machine and versions."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """What was logged, with times."""
        return self.path / "train.log"

    @property
    def best(self) -> Path:
        """Checkpoint of the epoch with the best validation metric."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """Checkpoint of the last epoch, which a resumed training goes on from."""
        return self.path / "checkpoints" / "last.ckpt"

    def check_unused(self) -> None:
        """Refuse a folder that holds a run, which would be overwritten.

        Raises:
            ConfigError: it does.
        """
        if self.config.exists():
            raise ConfigError(
                f"{self.path} holds a run already: go on with it by resume={self.path}, or choose another hydra.run.dir"
            )

    def write_config(self, config: DictConfig) -> None:
        """Write the resolved configuration."""
        write_text(self.config, OmegaConf.to_yaml(config, resolve=True))

    def read_config(self) -> DictConfig:
        """The configuration of the run.

        Raises:
            ConfigError: the folder holds no run.
        """
        if not self.config.is_file():
            expected = "expected a folder with config.yaml, as a training leaves it"
            raise ConfigError(f"{self.path}: {expected}" + ("" if self.path.exists() else "; there is no such folder"))
        config: Any = OmegaConf.load(self.config)
        OmegaConf.set_struct(config, True)
        return config
