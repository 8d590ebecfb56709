"""The LightningModule in which every model is trained."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from audio_lightning import __version__
from audio_lightning.augment import Augmentation
from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.checkpoint import CHECKPOINT_VERSION, read_checkpoint, write_checkpoint
from audio_lightning.classifier.distillation import TEACHER, distillation
from audio_lightning.classifier.finetune import Finetuning
from audio_lightning.classifier.loading import load
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.classifier.optimizers import make_optimizer
from audio_lightning.classifier.provenance import TRAINED_ON, check_same_data, packed
from audio_lightning.classifier.schedulers import TrainingLength, end_epoch, make_scheduler, monitored
from audio_lightning.classifier.sounding_seconds import SOUNDING
from audio_lightning.classifier.teacher import Teacher, check_same_teacher, load_teacher
from audio_lightning.classifier.trainer_state import logs_at
from audio_lightning.classifier.validated import VALIDATED
from audio_lightning.classifier.warm_start import Beginning, own_checkpoint, read_beginning
from audio_lightning.core.errors import ConfigError
from audio_lightning.core.messages import print_and_log
from audio_lightning.core.seeding import seed_generators
from audio_lightning.core.task import AudioTask, metric_names
from audio_lightning.data.loading.batches import Batch
from audio_lightning.data.manifest import TRAIN
from audio_lightning.data.store.fingerprints import describe, segments
from audio_lightning.features.memory import Memory, Views
from audio_lightning.losses.objective import class_weights, shares
from audio_lightning.losses.training_loss import TrainingLoss
from audio_lightning.metrics.factory import make_metrics
from audio_lightning.metrics.multilabel import best_thresholds

DECISIONS = {"calibration.scale", "calibration.bias", "thresholds"}
"""Entries of a state dict that are determined after the training, on the validation clips."""


class AudioClassifier(ClassifierNetwork):
    """LightningModule with front end, network, loss, metrics and optimizer: training, evaluation and checkpoints.

    Tasks with several labels per clip have another loss and other metrics, and ``thresholds``.

    Args:
        config: the composed configuration as plain Python; ``feature``, ``model``, ``augment``, ``optimizer``,
            ``scheduler``, ``ensemble``, ``loss``, ``metrics``, ``finetune``, ``distill``, ``monitor``, ``seed`` and
            ``channels_last`` are used here, the rest is only stored in the checkpoint.
        task: the classification task, as from :meth:`AudioTask.to_dict`.
        class_counts: number of training clips of every class, for ``loss.class_weights=balanced``.
        train_clips: number of training clips; if a clip has one label, the sum of ``class_counts``.

    Attributes:
        memory: cache of features for later epochs; None computes them each time.
        views: cache of the features of augmented clips; None computes them each time.
        beginning: description of the initial weights, if :meth:`begin` found a run in ``model.pretrained``.
        distillation: settings of a knowledge distillation; None without one.
        teacher: classifier whose probabilities are a part of the targets; loaded by :meth:`setup` for a training only.
        taught_by_leak: whether the teacher was trained on validation or test clips, by ``data.allow_leakage=true``.
        joint_forward: function from the features to the logits of a training step, which replaces the network in a
            fused training (:mod:`audio_lightning.training.fusion`); None in any other training.

    Raises:
        ConfigError: invalid target, argument or combination.
    """

    class_weights: Tensor

    def __init__(
        self, config: dict[str, Any], task: dict[str, Any], class_counts: list[int], train_clips: int = 0
    ) -> None:
        super().__init__(config, AudioTask.from_dict(task))
        self.save_hyperparameters(
            {"config": self.config, "task": task, "class_counts": class_counts, "train_clips": train_clips}
        )
        self.augmentation = Augmentation(config.get("augment") or {}, sample_rate=self.task.sample_rate)
        self.finetuning = Finetuning(config.get("finetune"), self.network, self.front_end)
        self.distillation = distillation(config)
        mixed, distilled = self.augmentation.mixes_targets, self.distillation is not None
        self.loss = TrainingLoss(config["loss"], self.task, mixed=mixed, distilled=distilled)
        weights = class_weights(config["loss"]["class_weights"], self.objective, class_counts, train_clips)
        self.register_buffer("class_weights", weights)
        self.train_metrics = make_metrics(self.task)
        self.validation_metrics = make_metrics(self.task, self.configured)
        self.memory: Memory | None = None
        self.views: Views | None = None
        self.beginning: str | None = None
        self.teacher: Teacher | None = None
        self.taught_by_leak = False
        self.joint_forward: Callable[[Tensor], Tensor] | None = None
        self.data = {"classes": list(self.task.classes), "clips_of_classes": class_counts}

    def begin(self) -> Beginning | None:
        """Load the weights of the run in ``model.pretrained``, and return them; return None if it is not a run.

        Raises:
            CheckpointError, ConfigError: see :func:`audio_lightning.classifier.warm_start.read_beginning`.
        """
        path = own_checkpoint(self.config["model"])
        if path is None:
            return None
        found = read_beginning(path, self.config, self.task.to_dict(), self.network, self.front_end)
        self.load_state_dict(found.weights, strict=False)
        self.beginning = found.origin
        return found

    @torch.no_grad()
    def memorize(self, batches: Iterable[Batch]) -> None:
        """Let the network memorize the features of the training clips (:meth:`AudioModel.memorize`).

        Args:
            batches: all training clips once, in order, without augmentation, on the device of the front end.
        """
        self.eval()
        parts = [(self._features(batch).cpu(), batch["target"].cpu()) for batch in batches]
        features, targets = map(torch.cat, zip(*parts))
        self.network.memorize(features, targets)

    def _outputs(self, batch: Batch) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]]:
        """Compute logits and energies of a batch, in float32."""
        logits = self._classified(self._features(batch)).float()
        return logits, self.objective.energy(logits)

    def _features(self, batch: Batch) -> Tensor:
        """Compute features of a batch, or take them from the cache."""
        if self.memory is None:
            return self.front_end(batch["waveform"])
        return self.memory(batch["clip"], batch["waveform"], self.front_end)

    def _augmented_logits(self, batch: Batch) -> tuple[Float[Tensor, "clips classes"], Tensor]:
        """Compute logits of the augmented clips, and their targets, which may be mixed.

        For an ensemble, the members' logits are concatenated. Each member gets other augmentations of the clips, except
        members with different channels of the same input.
        """
        changed = [self._augmented(batch) for _ in range(self.copies)]
        features, target = changed[0] if self.copies == 1 else map(torch.cat, zip(*changed))
        learners = self.members // self.copies
        if learners > 1:
            target = torch.cat([part for part in target.chunk(self.copies) for _ in range(learners)])
        logits = self.joint_forward(self.arranged(features)) if self.joint_forward else self._classified(features)
        return logits.float(), target

    def _augmented(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute features of the augmented clips, and their targets.

        A teacher gets the augmented waveforms of the student. Features are augmented after that, so that their mixing
        also mixes the teacher's probabilities.
        """
        augmentation, target = self.augmentation, batch["target"]
        if augmentation.mixes_targets or self.teacher is not None:
            target = shares(target, self.task.num_classes)
        if self.views is not None and (known := self.views(batch["clip"], batch["waveform"])) is not None:
            features = known
        elif augmentation.changes_waveforms:
            waveform, target = augmentation.on_waveforms(batch["waveform"], target)
            if self.teacher is not None:
                target = self.teacher.targets(target, waveform)
            features = self.front_end(waveform)
        else:
            if self.teacher is not None:
                target = self.teacher.targets(target, batch["waveform"], batch["clip"])
            features = self._features(batch)
        return augmentation.on_features(features, target)

    def setup(self, stage: str) -> None:
        """Check the monitored metrics, the data, and the layers of the network on this device; load the teacher.

        Raises:
            CheckpointError: see :func:`audio_lightning.classifier.teacher.load_teacher`.
            DataError: see :meth:`Classifier.setup`; also a teacher that was trained on validation or test clips.
            ConfigError: see :meth:`Classifier.setup`; also a monitored metric of a class that the data lacks, or a
                teacher that does not fit.
        """
        if stage == "fit":
            self.configured.check_monitors(self.config)
        super().setup(stage)
        if stage == "fit" and self.distillation is not None and self.teacher is None:
            self.teacher = self._loaded_teacher()

    def _loaded_teacher(self) -> Teacher:
        assert self.distillation is not None
        device = self.trainer.strategy.root_device
        teacher = load_teacher(AudioClassifier, self.distillation, self.task, self.config["data"], device)
        notes = [str(teacher)]
        if (datamodule := self._datamodule) is not None:
            if note := teacher.check_unseen(datamodule):
                notes.append(note)
            self.taught_by_leak = bool(teacher.overlap(datamodule))
            if not self.augmentation.changes_waveforms:
                teacher.memorize(datamodule)
        for line in notes if self.trainer.is_global_zero else ():
            print_and_log(line)
        return teacher

    def on_fit_start(self) -> None:
        """Set training mode, also for a loaded classifier, and record the training data for later tests."""
        self.train()
        self.calibration.reset()  # it belongs to the weights before this training
        self.validated_clips, self.sounding_seconds = None, None
        if (datamodule := self._datamodule) is not None:
            self.trained_on = segments(datamodule, datamodule.manifest.rows(TRAIN))
            if self.teacher is not None and self.teacher.trained_on is not None:  # the student knows their labels, too
                self.trained_on = np.union1d(self.trained_on, self.teacher.trained_on)
            self.data = describe(datamodule)

    def on_train_epoch_start(self) -> None:
        """Seed the random generators by seed and epoch, and freeze parameters by epoch.

        A resumed training therefore draws the same numbers, and no generator's state has to be stored.
        """
        seed_generators((self.config["seed"], self.current_epoch, self.global_rank))
        self.finetuning.start_epoch(self.current_epoch, processes=self.trainer.world_size)
        self.validated = False
        self.train_metrics.reset()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss of a batch, with class weights and label smoothing, summed over an ensemble.

        If clips are mixed, the training accuracy refers to the class of the clip before mixing.
        """
        logits, target = self._augmented_logits(batch)
        losses = self.loss(logits, target, self.class_weights)
        self.train_metrics.update(logits, torch.cat([batch["target"]] * self.members), losses)
        loss = self.loss.mean(losses, target, self.class_weights)
        if logs_at(self.trainer, self.global_step + 1):  # logging has a cost, and other steps are not written
            self.log("train/step_loss", loss, sync_dist=True)
        return loss * self.members  # the sum over members, so that each network learns as it would alone

    def on_after_backward(self) -> None:
        """Discard gradients of frozen parameters."""
        self.finetuning.drop_gradients()

    def on_train_epoch_end(self) -> None:
        """Log the epoch and step epoch-wise schedules, both before the checkpoint of this epoch is written.

        Lightning would log the epoch and step a plateau after that, so that a run killed in between would lose both
        when it is resumed. It would step other schedules before the validation, so that the history and the loggers
        would contain the rate of the next epoch.
        """
        metrics = self.train_epoch_metrics()
        self.log_dict(metrics, logger=False)
        for logger in self.loggers:
            values = {name: float(value) for name, value in metrics.items()}
            logger.log_metrics({**values, "epoch": self.current_epoch}, step=self.global_step - 1)
        # Lightning keeps the metrics of an epoch until they are computed again.
        known = self.trainer.callback_metrics.items()
        fresh = {name: value for name, value in known if self.validated or not name.startswith("validation/")}
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "epoch":
                end_epoch(config.scheduler, config.monitor, {**fresh, **metrics})

    def lr_scheduler_step(self, scheduler: LRScheduler, metric: Any) -> None:
        """Step schedules that are stepped with the optimizer; :meth:`on_train_epoch_end` steps the others."""
        if any(
            config.scheduler is scheduler and config.interval == "step" for config in self.trainer.lr_scheduler_configs
        ):
            scheduler.step()

    def train_epoch_metrics(self) -> dict[str, Tensor]:
        """Return loss and main metric over the epoch, computed while the weights were changing."""
        self.train_metrics.gather()
        metrics = self.train_metrics.compute()
        return {f"train/{name}": metrics[name] for name in ("loss", metric_names(multilabel=self.task.multilabel)[0])}

    def on_validation_epoch_start(self) -> None:
        """Reset the validation metrics."""
        self._start(self.validation_metrics)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the validation metrics with a batch."""
        self._count(batch, self.validation_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log ``validation/...``."""
        self._end("validation", self.validation_metrics)
        self.validated = True

    def choose_thresholds(self, targets: Tensor) -> None:
        """Set ``thresholds`` to the values that maximize the F1 of every class on the clips of the last validation.

        Args:
            targets: presence of each label in the clips of :meth:`last_predictions`, in the same order.
        """
        assert self.task.multilabel, "one label per clip needs no thresholds"
        _, probabilities = self.last_predictions()
        self.thresholds.copy_(best_thresholds(probabilities, targets > 0.5))

    def configure_optimizers(self) -> Any:
        """Build the optimizer and the schedule of the configuration."""
        optimizer = make_optimizer(self.config["optimizer"], self.finetuning.parameter_groups(), self.finetuning.kinds)
        self.finetuning.decay_rates(optimizer)
        if self.config["scheduler"]["_target_"] is None:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ConfigError("scheduler: needs the length of the training; give trainer.max_epochs or scheduler=none")
        a_step = self.trainer.accumulate_grad_batches
        epochs = self.trainer.max_epochs or -1
        if epochs < 0:  # trainer.max_steps alone
            epochs = math.ceil(steps * a_step / self.trainer.num_training_batches)
        length = TrainingLength(int(steps), epochs)
        scheduler = make_scheduler(self.config["scheduler"], optimizer, length, **monitored(self.config))
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add format, version and training data; configuration and task are in ``hyper_parameters``."""
        checkpoint["audio_lightning"] = {
            "format": CHECKPOINT_VERSION,
            "version": __version__,
            "data": self.data,
            "classes_sha256": self.task.classes_sha256,
        }
        if self.trained_on is not None:
            checkpoint["audio_lightning"][TRAINED_ON] = packed(self.trained_on)
        checkpoint["audio_lightning"] |= self._of_validation()
        if self.teacher is not None:
            checkpoint["audio_lightning"][TEACHER] = self.teacher.sha256

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume a training on other data, or with another teacher.

        Raises:
            DataError: see :func:`check_same_data`.
            ConfigError: see :func:`check_same_teacher`.
        """
        if self._datamodule is not None and self._fitting:
            check_same_data(checkpoint, self._datamodule)
            check_same_teacher(checkpoint, self.teacher)

    def store_decisions(self, path: Path) -> None:
        """Add calibration, validated clips, ``thresholds`` and durations to a checkpoint of these weights.

        The checkpoint was written before they were determined.

        Raises:
            CheckpointError: see :func:`read_checkpoint`.
        """
        if self.global_rank == 0:
            checkpoint, own = read_checkpoint(path), self.state_dict()
            for name in DECISIONS & own.keys():
                checkpoint["state_dict"][name] = own[name].cpu()
            checkpoint["audio_lightning"] |= self._of_validation()
            write_checkpoint(path, checkpoint)

    def _of_validation(self) -> dict[str, Any]:
        """Entries of a checkpoint that are determined on the validation clips."""
        entries: dict[str, Any] = {}
        if self.validated_clips is not None:
            entries[VALIDATED] = self.validated_clips.to_plain()
        if self.sounding_seconds is not None:
            entries[SOUNDING] = self.sounding_seconds.clone()
        return entries

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        map_location: str | torch.device = "cpu",
        *,
        trust: str | Iterable[str] | None = None,
    ) -> Classifier:
        """Load a classifier from a checkpoint alone, in evaluation mode.

        If the file is an ensemble of checkpoints, the result is a :class:`CheckpointEnsemble`.

        Only tensors and plain containers are read from the file. Names in the file are imported or called only if the
        allow-list or ``trust`` contains them; modules that the file itself declares as trusted are ignored.

        Args:
            checkpoint_path: file that a training, or :func:`write_ensemble`, wrote.
            map_location: device of the classifier.
            trust: your own modules whose classes the file may name.

        Raises:
            ConfigError: a module in ``trust`` does not exist.
            CheckpointError: not such a file, or one that names anything that is not allowed.
        """
        return load(cls, Path(checkpoint_path), trust=trust).to(map_location).eval()
