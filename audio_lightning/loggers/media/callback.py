"""When the parts of a dashboard are made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import FSDPStrategy

from audio_lightning.classifier.classifier import AudioClassifier
from audio_lightning.classifier.costs import costs
from audio_lightning.config.targets import check_arguments
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.messages import print_and_log
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.manifest import TEST, VALIDATION
from audio_lightning.loggers.loggers import DashboardLogger, why
from audio_lightning.loggers.media.items import Item

if TYPE_CHECKING:
    from audio_lightning.loggers.media.outputs import Answers

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """What is shown.

    Attributes:
        mistakes: wrongly answered clips with the highest losses.
        augmented: training clips as the network sees them.
        gradient_norms: norm of the whole gradient, before it is clipped, in every step that is logged.
    """

    mistakes: int = 16
    augmented: int = 8
    gradient_norms: bool = True


class Dashboard(Callback):
    """Shows a run in those of its loggers that can show more than numbers; without such a logger it does nothing.

    What cannot be shown is said in a line, and the training goes on.

    Args:
        config: the node ``dashboard`` of the configuration; what is missing is as :class:`Settings` has it.

    Raises:
        ConfigError: another key or value.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        check_arguments(Settings, config or {}, {}, where="dashboard")
        self.settings = Settings(**(config or {}))
        for name in ("mistakes", "augmented"):
            if getattr(self.settings, name) < 0:
                raise ConfigError(f"dashboard.{name}={getattr(self.settings, name)}: expected 0 or more clips")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what the network costs and what it is to see."""
        assert isinstance(pl_module, AudioClassifier)
        loggers = _loggers(trainer)
        if not loggers or trainer.current_epoch:
            return
        facts = _attempt("the size of the network", lambda: costs(pl_module))
        for logger in loggers:
            logger.log_facts(facts or {})
        if self.settings.augmented:
            from audio_lightning.loggers.media.clips import augmented

            data = _data(trainer)
            shown = _attempt("augmented clips", lambda: augmented(pl_module, data, self.settings.augmented))
            self._show(loggers, [shown] if shown else [])

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Log the norm of the gradient; where parameters are spread over devices nobody has all of it."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not (self.settings.gradient_norms and every and (trainer.global_step + 1) % every == 0):
            return
        if _loggers(trainer) and not isinstance(trainer.strategy, FSDPStrategy):
            gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
            pl_module.log("train/gradient_norm", torch.nn.utils.get_total_norm(gradients), rank_zero_only=True)

    def show_results(self, trainer: pl.Trainer, classifier: AudioClassifier, datamodule: AudioDataModule) -> None:
        """Show what the best weights answer: to the test clips, or to the validation clips where there are none.

        Args:
            trainer: which has tested, where there are test clips.
            classifier: with the best weights.
            datamodule: that it was trained with.
        """
        part = next((part for part in (TEST, VALIDATION) if len(datamodule.numbers(part))), None)
        loggers = _loggers(trainer)
        if not loggers or part is None:
            return

        from audio_lightning.loggers.media.clips import mistakes
        from audio_lightning.loggers.media.outputs import answered
        from audio_lightning.loggers.media.results import results

        def worst(answers: "Answers") -> list[Item]:
            found = mistakes(classifier, datamodule, answers, self.settings.mistakes)
            return [found] if found else []

        answers = _attempt("answers", lambda: answered(classifier, datamodule, part))
        if answers is None:
            return
        self._show(loggers, _attempt("results", lambda: results(classifier, answers)) or [])
        if self.settings.mistakes:
            self._show(loggers, _attempt("mistakes", lambda: worst(answers)) or [])

    @staticmethod
    def _show(loggers: list[DashboardLogger], items: list[Any]) -> None:
        for logger in loggers:
            for item in items:
                logger.show(item)


def _loggers(trainer: pl.Trainer) -> list[DashboardLogger]:
    """Those that show more than numbers, in the process that writes."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, DashboardLogger)]
    return loggers if trainer.is_global_zero else []


def _data(trainer: pl.Trainer) -> AudioDataModule:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return data


def _attempt(what: str, make: Callable[[], T]) -> T | None:
    """The result, or None and a line that says why there is none."""
    try:
        return make()
    except Exception as error:  # nothing that is only shown may end a training
        print_and_log(f"dashboard: no {what} ({why(error)})")
        return None
