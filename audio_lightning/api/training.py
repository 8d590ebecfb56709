"""Training, run folders and composed configurations."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from omegaconf import DictConfig, open_dict

from audio_lightning.core.errors import ConfigError

if TYPE_CHECKING:
    from audio_lightning.classifier.base import Classifier

PathLike = str | Path
Trust = str | Iterable[str] | None


@dataclass(frozen=True)
class Picture:
    """A PNG figure of a run; a notebook displays it.

    Attributes:
        path: the file.

    Example:
        >>> from pathlib import Path
        >>> from audio_lightning import Picture
        >>> Picture(Path("runs/first/curves.png")).path.name
        'curves.png'
    """

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


class Run:
    """A finished training and the files of its run folder.

    Args:
        folder: the run folder.
        trust: modules of the user's own whose classes the checkpoint may name.

    Raises:
        ConfigError: the folder contains no finished run.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import audio_lightning as al
        >>> with tempfile.TemporaryDirectory() as folder:  # stands for the folder of a training
        ...     _ = Path(folder, "metrics.json").write_text('{"test/accuracy": 0.75}')
        ...     al.Run(folder).metrics["test/accuracy"]
        0.75
    """

    def __init__(self, folder: PathLike, *, trust: Trust = None) -> None:
        from audio_lightning.run_folder import RunFolder

        self.folder = Path(folder).expanduser()
        self.trust = trust
        self._files = RunFolder(self.folder)
        if not self._files.metrics.is_file():
            raise ConfigError(f"{self.folder}: no finished training, as metrics.json is missing; name a finished run")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Contents of ``metrics.json``, a flat dictionary with keys such as ``test/accuracy``."""
        return self._files.read_metrics()

    @cached_property
    def config(self) -> DictConfig:
        """The resolved configuration of the run."""
        return self._files.read_config()

    @property
    def history(self) -> pd.DataFrame:
        """Table with one row per epoch: losses, metrics, learning rates and times."""
        return self._files.read_history()

    @property
    def predictions(self) -> pd.DataFrame:
        """Table with one row per test clip: label, predicted class and the probability of every class."""
        return self._files.read_predictions(self._tested(self._files.predictions))

    @property
    def per_class(self) -> pd.DataFrame:
        """Table with one row per class: precision, recall and F1 on the test clips."""
        self._tested(self._files.per_class)
        return self._files.read_per_class()

    @property
    def plots(self) -> dict[str, Picture]:
        """Figures of the run by name, such as ``curves`` and ``confusion_matrix``; drawn now if they are missing."""
        if not (self.folder / "curves.png").exists():
            from audio_lightning.figures.run_figures import draw_run

            draw_run(self.folder)
        return {path.stem: Picture(path) for path in sorted(self.folder.glob("*.png"))}

    @cached_property
    def classifier(self) -> "Classifier":
        """The classifier of the best epoch, on the CPU, in evaluation mode."""
        from audio_lightning.inference.load import load_classifier

        return load_classifier(self.folder, trust=self.trust)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        shown = {name: value for name, value in self.metrics.items() if name.startswith(("test/", "validation/"))}
        frame = pd.DataFrame({"": shown}).map(lambda value: f"{value:.4f}")
        return f"<p>{escape(str(self.folder))}</p>{frame.to_html(border=0)}"

    def _tested(self, path: Path) -> Path:
        if not path.is_file():
            raise ConfigError(f"{self.folder}: no {path.name}, as the run had no test clips; evaluate it on other data")
        return path


def compose(*overrides: str, config_dir: PathLike | None = None) -> DictConfig:
    """Compose and validate the configuration of a training.

    Args:
        *overrides: such as ``"model=resnet"``.
        config_dir: folder with YAML files of the user's own, laid out like ``conf/``.

    Raises:
        ConfigError: see :func:`audio_lightning.config.compose` and :func:`audio_lightning.config.check_config`.

    Example:
        >>> import audio_lightning as al
        >>> config = al.compose("data=demo", "model=cnn", "optimizer.lr=3e-4")
        >>> config.optimizer.lr, config.model._target_
        (0.0003, 'audio_lightning.models.cnn.CNN')
    """
    from audio_lightning.config import check_config, quote_paths, user_extensions
    from audio_lightning.config import compose as compose_

    lines = quote_paths(overrides)
    with user_extensions(lines, config_dir):
        config = compose_(lines)
        check_config(config)
    return config


def train(*overrides: str, folder: PathLike | None = None, config_dir: PathLike | None = None) -> Run:
    """Train a classifier, select the best epoch on the validation clips, and test it once.

    Args:
        *overrides: such as ``"model=resnet"``; ``"trust=my_sounds"`` allows classes of a module of your own.
        folder: the run folder; None for one below ``runs``, named after the time. The same call resumes a run that was
            interrupted there, and returns a finished run without training again.
        config_dir: see :func:`compose`.

    Raises:
        ConfigError: an invalid override, or a folder that holds a sweep, a fit or a run with other settings.
        DataError: recordings that cannot be used.
        Interrupted: the training was interrupted by a signal.

    Example:
        >>> import audio_lightning as al
        >>> run = al.train("data=demo", "model=cnn", "trainer.max_epochs=5", folder="runs/first")  # doctest: +SKIP
        >>> run.metrics["test/accuracy"]  # doctest: +SKIP
        >>> run.plots["confusion_matrix"]  # doctest: +SKIP
    """
    from audio_lightning.config import absolutize_paths, check_config, quote_paths, user_extensions
    from audio_lightning.config.automatic import take_settled
    from audio_lightning.config.trust import trusted_modules
    from audio_lightning.core.files import check_creatable, check_owner
    from audio_lightning.report.model_card import write_model_card
    from audio_lightning.run_folder import RUN_KEY
    from audio_lightning.training.start import compose_run, train_in

    if folder is not None:
        overrides = (*overrides, f"hydra.run.dir={Path(folder).expanduser()}")
    lines = quote_paths(overrides)
    with user_extensions(lines, config_dir):
        config, files = compose_run(lines)
        with open_dict(config):
            del config["hydra"]
        if config.resume is not None:
            raise ConfigError(f"resume={config.resume}: not supported by al.train(); use folder=RUN_DIR, which resumes")
        check_creatable(files.path, key=RUN_KEY)
        check_owner(files.path, "run", key=RUN_KEY)
        check_config(config)
        absolutize_paths(config)
        if files.is_begun and files.config.is_file():
            saved = files.read_config()
            take_settled(config, saved)
            if _identity(saved) != _identity(config):
                raise ConfigError(f"{files.path}: holds a run with other settings; choose another folder")
        with interruptible():
            train_in(files, config, then=write_model_card)
        return Run(files.path, trust=trusted_modules())


@contextmanager
def interruptible() -> Iterator[None]:
    """Restore the SIGINT handler at the end: after Lightning has stopped a training, Ctrl-C would be ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGINT, handler)


def _identity(config: DictConfig) -> tuple[Any, ...]:
    """Return the settings that identify a run: everything that changes its result, and the paths of its data."""
    from audio_lightning.config import as_plain
    from audio_lightning.config.overrides import PATH_KEY
    from audio_lightning.sweeps.identity import canonical_config

    plain = as_plain(config)
    data = plain.get("data") or {}
    places = {key: data[key] for key in data if key == "table" or (PATH_KEY.search(key) and key != "cache_dir")}
    return canonical_config(plain), places
