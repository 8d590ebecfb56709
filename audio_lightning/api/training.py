"""Trainings and their run folders."""

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
    """A PNG of a run, at ``path``; a notebook shows it."""

    path: Path

    def _repr_png_(self) -> bytes:
        return self.path.read_bytes()


class Run:
    """A finished training and the files of its folder.

    Args:
        folder: of the run.
        trust: modules of the user's own whose classes its checkpoint may name.

    Raises:
        ConfigError: there is no finished run.
    """

    def __init__(self, folder: PathLike, *, trust: Trust = None) -> None:
        from audio_lightning.run_folder import RunFolder

        self.folder = Path(folder).expanduser()
        self.trust = trust
        self._files = RunFolder(self.folder)
        if not self._files.metrics.is_file():
            raise ConfigError(f"{self.folder}: expected a folder with metrics.json, as a finished training leaves it")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The contents of ``metrics.json``, flat, such as ``metrics["test/accuracy"]``."""
        return self._files.read_metrics()

    @cached_property
    def config(self) -> DictConfig:
        """The configuration of the run."""
        return self._files.read_config()

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch."""
        return self._files.read_history()

    @property
    def predictions(self) -> pd.DataFrame:
        """One row a test clip: what it is, what it was taken for, and the probability of every class."""
        return self._files.read_predictions(self._tested(self._files.predictions))

    @property
    def per_class(self) -> pd.DataFrame:
        """Precision, recall and F1 of every class on the test clips."""
        self._tested(self._files.per_class)
        return self._files.read_per_class()

    @property
    def plots(self) -> dict[str, Picture]:
        """The pictures of the run by their names, such as ``curves`` and ``confusion_matrix``; drawn if need be."""
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
            raise ConfigError(f"{self.folder} has no {path.name}: the run had no clips to test on")
        return path


def compose(*overrides: str, config_dir: PathLike | None = None) -> DictConfig:
    """The configuration of a training, checked.

    Args:
        *overrides: such as ``"model=resnet"``.
        config_dir: folder with YAML files of the user's own, laid out like ``conf/``.

    Raises:
        ConfigError: see :func:`audio_lightning.config.compose` and :func:`audio_lightning.config.check_config`.
    """
    from audio_lightning.config import check_config, quote_paths, user_extensions
    from audio_lightning.config import compose as compose_

    lines = quote_paths(overrides)
    with user_extensions(lines, config_dir):
        config = compose_(lines)
        check_config(config)
    return config


def train(*overrides: str, folder: PathLike | None = None, config_dir: PathLike | None = None) -> Run:
    """Train, choose the best epoch on the validation clips, and test it once.

    Args:
        *overrides: such as ``"model=resnet"``; ``"trust=my_sounds"`` lets classes of one's own be named.
        folder: of the run; by default one below ``runs`` with the time as its name. A run that stopped in it is gone
            on with by the same call, and one that is finished is not trained again.
        config_dir: see :func:`compose`.

    Raises:
        ConfigError: a mistake in what was asked for, or a folder with a run that had other settings.
        DataError: recordings that cannot be used.
        Interrupted: the training was told to stop.
    """
    from audio_lightning.config import absolutize_paths, check_config, quote_paths, user_extensions
    from audio_lightning.config.automatic import take_settled
    from audio_lightning.config.trust import trusted_modules
    from audio_lightning.report.model_card import write_model_card
    from audio_lightning.training.start import compose_run, train_in

    if folder is not None:
        overrides = (*overrides, f"hydra.run.dir={Path(folder).expanduser()}")
    lines = quote_paths(overrides)
    with user_extensions(lines, config_dir):
        config, files = compose_run(lines)
        with open_dict(config):
            del config["hydra"]
        if config.resume is not None:
            raise ConfigError(f"resume={config.resume}: name the run by folder=, and a training goes on in it")
        files.check_writable()
        check_config(config)
        absolutize_paths(config)
        if files.is_begun and files.config.is_file():
            saved = files.read_config()
            take_settled(config, saved)
            if _what_counts(saved) != _what_counts(config):
                raise ConfigError(f"{files.path} holds a run with other settings already: choose another folder")
        with interruptible():
            train_in(files, config, then=write_model_card)
        return Run(files.path, trust=trusted_modules())


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt what comes next, too: once it has, Lightning ignores it for as long as the process lives."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGINT, handler)


def _what_counts(config: DictConfig) -> tuple[Any, ...]:
    """What makes a run another one: whatever changes its result, and where its recordings are."""
    from audio_lightning.config import as_plain
    from audio_lightning.config.overrides import PATH_KEY
    from audio_lightning.sweeps.identity import canonical_config

    plain = as_plain(config)
    data = plain.get("data") or {}
    places = {key: data[key] for key in data if key == "table" or (PATH_KEY.search(key) and key != "cache_dir")}
    return canonical_config(plain), places
