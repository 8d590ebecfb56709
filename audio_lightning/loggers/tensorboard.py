"""TensorBoard logger: event files in the run folder."""

import threading
from importlib.util import find_spec
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger as LightningTensorBoardLogger
from omegaconf import OmegaConf

from audio_lightning.core.task import metric_names
from audio_lightning.loggers.loggers import RunLogger, flat


class TensorBoardLogger(RunLogger):
    """TensorBoard logger.

    The x axis is the epoch for metrics of an epoch, and the step for metrics of steps and learning rates. The tab
    ``HPARAMS`` has the configuration and ``results/...``, the numbers of ``metrics.json`` (NaN until the run ends).

    Args:
        save_dir: the run folder.
        name: subfolder of the event files in the run folder.
        flush_seconds: longest time in seconds until a logged value is on the disk.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.

    Example:
        >>> TensorBoardLogger("runs/example", flush_seconds=5).name
        'tensorboard'
    """

    title = "TensorBoard"

    def __init__(self, save_dir: str, name: str = "tensorboard", flush_seconds: int = 30) -> None:
        if find_spec("tensorboard") is None:
            raise ModuleNotFoundError("No module named 'tensorboard'")
        super().__init__(save_dir)
        self._subfolder, self._flush_seconds = name, flush_seconds
        self._hook = threading.excepthook

    def open(self) -> LightningTensorBoardLogger:
        """Begin an event file."""
        # An error of the writer thread is raised in this thread, too, and reported there in one line.
        self._hook, threading.excepthook = threading.excepthook, self._except_writers
        return LightningTensorBoardLogger(
            self.folder.path,
            name=self._subfolder,
            version="",
            default_hp_metric=False,
            flush_secs=self._flush_seconds,
        )

    def write_config(self, config: dict[str, Any], *, multilabel: bool) -> None:
        """Log the configuration as text and as hyperparameters, with placeholders for the results."""
        text = OmegaConf.to_yaml(OmegaConf.create(config))
        self.backend.experiment.add_text("config", f"```yaml\n{text}\n```", 0)
        names = [*metric_names(multilabel=multilabel), *config.get("metrics", {})]
        results = {f"results/{part}/{name}": float("nan") for part in ("validation", "test") for name in names}
        self.backend.log_hyperparams(flat(config), results, 0)

    def close(self, backend: Any, exit_code: int) -> None:
        """Write the remaining events."""
        try:
            super().close(backend, exit_code)
        finally:
            if threading.excepthook == self._except_writers:
                threading.excepthook = self._hook

    def _except_writers(self, failure: threading.ExceptHookArgs) -> None:
        if type(failure.thread).__name__ != "_AsyncWriterThread":
            self._hook(failure)
