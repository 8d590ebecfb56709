"""Giving up a trial of a search that does worse than others did."""

from functools import cached_property
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from audio_lightning.sweeps.search.storage import import_optuna, open_storage


class Pruning(Callback):
    """Report the objective to the study after each epoch, and stop a trial that does worse by ``optuna.TrialPruned``.

    The storage, a URL, is the only thing that the trial's process and the sweep share. An epoch that was reported
    before the training was interrupted is not reported again. It is for trainings on one device.
    """

    def __init__(self, storage: str, study: str, number: int, pruner: str, monitor: str) -> None:
        self.storage, self.study, self.number = storage, study, number
        self.pruner, self.monitor = pruner, monitor

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report and ask.

        Raises:
            optuna.TrialPruned: the trial is to be given up.
        """
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        if self._report(value, trainer.current_epoch):
            raise import_optuna().TrialPruned(f"{self.monitor} {value:.4g} after {trainer.current_epoch + 1} epochs")

    def _report(self, value: float, epoch: int) -> bool:
        """Whether the study says that enough has been seen."""
        trial = self._trial
        # Optuna would keep the first value, too, but warn at every epoch that is trained again.
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
            # Others note something in the study when a trial is opened.
            sampler=optuna.samplers.RandomSampler(),
            pruner=make_pruner(self.pruner),
        )
        identity = storage.get_trial_id_from_study_id_trial_number(
            storage.get_study_id_from_name(self.study), self.number
        )
        return optuna.trial.Trial(study, identity)
