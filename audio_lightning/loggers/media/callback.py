"""Callback that logs figures, tables and clips of a run to every logger that supports media."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import FSDPStrategy

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.costs import costs
from audio_lightning.classifier.trainer_state import logs_at
from audio_lightning.config.targets import check_arguments
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.messages import print_and_log
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST, VALIDATION
from audio_lightning.loggers.loggers import RunLogger, why
from audio_lightning.loggers.media.items import Item
from audio_lightning.loggers.media.writers import show, shows_media

T = TypeVar("T")


@dataclass(frozen=True)
class MediaSettings:
    """Settings of the node ``dashboard`` of the configuration.

    Attributes:
        mistakes: number of wrongly predicted clips to show, those with the highest losses.
        augmented: number of augmented training clips to show.
        gradient_norms: log the norm of the whole gradient, before clipping, at every logged step.

    Raises:
        ConfigError: a negative number of clips.
    """

    mistakes: int = 16
    augmented: int = 8
    gradient_norms: bool = True

    def __post_init__(self) -> None:
        for name in ("mistakes", "augmented"):
            if getattr(self, name) < 0:
                raise ConfigError(f"dashboard.{name}={getattr(self, name)}: expected 0 or more clips")


class MediaCallback(Callback):
    """Callback that logs media to the loggers that support them; without such a logger it does nothing.

    A failure to make or write media is reported in one line, and the training continues.

    Args:
        config: the node ``dashboard`` of the configuration, with :class:`MediaSettings` as defaults.

    Raises:
        ConfigError: an unknown key or an invalid value.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        check_arguments(MediaSettings, config or {}, {}, where="dashboard")
        self.settings = MediaSettings(**(config or {}))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the computational cost of the network, and augmented training clips."""
        assert isinstance(pl_module, AudioClassifier)
        loggers = _loggers(trainer)
        if not loggers or trainer.current_epoch:
            return
        self._attempt("size of the network", lambda: _log_costs(loggers, pl_module))
        if most := self.settings.augmented:
            from audio_lightning.loggers.media.galleries import augmented

            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            self._show("augmented clips", trainer, lambda: [augmented(pl_module, data, most)])

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Log the norm of the gradient, except with FSDP, where no process has the whole gradient."""
        if not (self.settings.gradient_norms and logs_at(trainer, trainer.global_step + 1)):
            return
        if _loggers(trainer) and not isinstance(trainer.strategy, FSDPStrategy):
            gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
            pl_module.log("train/gradient_norm", torch.nn.utils.get_total_norm(gradients), rank_zero_only=True)

    def show_results(self, trainer: pl.Trainer, classifier: AudioClassifier, datamodule: AudioDataModule) -> None:
        """Log the results of the best weights on the test clips, or on the validation clips if there are none.

        Args:
            trainer: trainer that has run the test, if there are test clips.
            classifier: classifier with the best weights.
            datamodule: data of the training.
        """
        part = next((part for part in (TEST, VALIDATION) if len(datamodule.numbers(part))), None)
        if part is None or not _loggers(trainer):
            return

        from audio_lightning.loggers.media.galleries import mistakes
        from audio_lightning.loggers.media.per_class import collect_outputs, per_class_items

        outputs = self._attempt("results", lambda: collect_outputs(classifier, datamodule, part))
        if outputs is not None:
            self._show("results", trainer, lambda: per_class_items(classifier, outputs))
            if most := self.settings.mistakes:
                self._show("mistakes", trainer, lambda: [mistakes(classifier, datamodule, outputs, most)])

    def _show(self, what: str, trainer: pl.Trainer, make: Callable[[], Sequence[Item | None]]) -> None:
        items = [item for item in self._attempt(what, make) or () if item is not None]
        for logger in _loggers(trainer):
            for item in items:
                self._attempt(item.name, partial(show, logger, item, trainer.current_epoch))

    @staticmethod
    def _attempt(what: str, make: Callable[[], T]) -> T | None:
        """Return the result; on failure, print one line with the reason and return None."""
        try:
            return make()
        except Exception as error:  # a failure of media must not end the training
            print_and_log(f"dashboard: no {what} ({why(error)})")
            return None


def _log_costs(loggers: Sequence[Logger], classifier: AudioClassifier) -> None:
    facts = costs(classifier)
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.log_summary(facts)


def _loggers(trainer: pl.Trainer) -> list[Logger]:
    """Return the loggers that support media; empty on all ranks but the first."""
    return [logger for logger in trainer.loggers if shows_media(logger)] if trainer.is_global_zero else []
