"""Pruning: early stopping of unpromising trials of a search."""

from functools import cached_property
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from audio_lightning.sweeps.search.storage import import_optuna, open_storage


class Pruning(Callback):
    """Callback that reports the objective to the study after each epoch, and stops a pruned trial.

    The process of the trial and the sweep share only the storage, a URL. An epoch that was reported before an
    interruption is not reported again. It supports trainings on one device only.
    """

    def __init__(self, storage: str, study: str, number: int, pruner: str, monitor: str) -> None:
        self.storage, self.study, self.number = storage, study, number
        self.pruner, self.monitor = pruner, monitor

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the objective, and stop the trial if the pruner decides so.

        Raises:
            optuna.TrialPruned: the trial is pruned.
        """
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        if self._report(value, trainer.current_epoch):
            raise import_optuna().TrialPruned(f"{self.monitor} {value:.4g} after {trainer.current_epoch + 1} epochs")

    def _report(self, value: float, epoch: int) -> bool:
        """Report a value, and return whether the pruner stops the trial."""
        trial = self._trial
        # Optuna keeps the first value, too, but warns at every epoch that is trained again.
        if epoch not in trial.storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(value, epoch)
        return bool(trial.should_prune())

    @cached_property
    def _trial(self) -> Any:
        optuna = import_optuna()
        from audio_lightning.sweeps.search.samplers import make_pruner

        storage = open_storage(self.storage)
        study = optuna.load_study(
            study_name=self.study,
            storage=storage,
            # Other samplers write to the study when a trial is opened.
            sampler=optuna.samplers.RandomSampler(),
            pruner=make_pruner(self.pruner),
        )
        identity = storage.get_trial_id_from_study_id_trial_number(
            storage.get_study_id_from_name(self.study), self.number
        )
        return optuna.trial.Trial(study, identity)
