"""The one LightningModule that every architecture is trained in."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from audio_lightning import __version__
from audio_lightning.augment import Augmentation
from audio_lightning.classifier.base import Classifier
from audio_lightning.classifier.checkpoint import CHECKPOINT_VERSION, read_checkpoint, write_checkpoint
from audio_lightning.classifier.finetune import Finetuning
from audio_lightning.classifier.loading import load
from audio_lightning.classifier.network import ClassifierNetwork
from audio_lightning.classifier.optimizers import make_optimizer
from audio_lightning.classifier.provenance import TRAINED_ON, check_same_data, packed
from audio_lightning.classifier.schedulers import TrainingLength, end_epoch, make_scheduler, monitored
from audio_lightning.classifier.trainer_state import logs_at
from audio_lightning.classifier.validated import VALIDATED
from audio_lightning.classifier.warm_start import Beginning, own_checkpoint, read_beginning
from audio_lightning.core.errors import ConfigError
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
"""Entries of a state dict that follow from the validation of the best weights."""


class AudioClassifier(ClassifierNetwork):
    """Front end, network, loss, metrics and optimizer in one module: training, evaluation and checkpoints.

    Tasks with several labels a clip differ in the loss, the metrics, and ``thresholds``.

    Args:
        config: the composed configuration as plain Python; ``feature``, ``model``, ``augment``, ``optimizer``,
            ``scheduler``, ``ensemble``, ``loss``, ``metrics``, ``finetune``, ``monitor``, ``seed`` and
            ``channels_last`` are used here, the rest travels in the checkpoint.
        task: what the data asks for, as :meth:`AudioTask.to_dict` gives it.
        class_counts: number of training clips of every class, for ``loss.class_weights=balanced``.
        train_clips: number of training clips; where a clip has one label, that is the sum of ``class_counts``.

    Attributes:
        memory: features that later epochs need not compute again; None computes them each time.
        beginning: what it began with, where :meth:`begin` found a run in ``model.pretrained``.

    Raises:
        ConfigError: a target, an argument or a combination that cannot work.
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
        self.loss = TrainingLoss(config["loss"], self.task, mixed=self.augmentation.mixes_targets)
        weights = class_weights(config["loss"]["class_weights"], self.objective, class_counts, train_clips)
        self.register_buffer("class_weights", weights)
        self.train_metrics = make_metrics(self.task)
        self.validation_metrics = make_metrics(self.task, self.configured)
        self.memory: Memory | None = None
        self.views: Views | None = None
        self.beginning: str | None = None
        self.data = {"classes": list(self.task.classes), "clips_of_classes": class_counts}

    def begin(self) -> Beginning | None:
        """Take the weights of the run that ``model.pretrained`` names; None where it names none.

        Raises:
            CheckpointError, ConfigError: see :func:`audio_lightning.classifier.warm_start.read_beginning`.
        """
        path = own_checkpoint(self.config["model"])
        if path is None:
            return None
        found = read_beginning(path, self.config, self.task.to_dict(), self.network, self.front_end)
        self.load_state_dict(found.weights, strict=False)
        self.beginning = found.said
        return found

    @torch.no_grad()
    def memorize(self, batches: Iterable[Batch]) -> None:
        """Give the network the features of the training clips, which it keeps (:meth:`AudioModel.memorize`).

        Args:
            batches: all training clips once, in order, without augmentation, on the device of the front end.
        """
        self.eval()
        parts = [(self._features(batch).cpu(), batch["target"].cpu()) for batch in batches]
        features, targets = map(torch.cat, zip(*parts))
        self.network.memorize(features, targets)

    def _outputs(self, batch: Batch) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch"]]:
        """Logits and energies of a batch, in float32."""
        logits = self._classified(self._features(batch)).float()
        return logits, self.objective.energy(logits)

    def _features(self, batch: Batch) -> Tensor:
        """Features of a batch, which are computed once where they may be."""
        if self.memory is None:
            return self.front_end(batch["waveform"])
        return self.memory(batch["clip"], batch["waveform"], self.front_end)

    def _augmented_logits(self, batch: Batch) -> tuple[Float[Tensor, "clips classes"], Tensor]:
        """Logits of the clips as they are changed for this epoch, and their targets, which may be mixed.

        Of an ensemble, one member's after the other; each has the clips changed and mixed otherwise, save for members
        that hear differently.
        """
        changed = [self._augmented(batch) for _ in range(self.copies)]
        features, target = changed[0] if self.copies == 1 else map(torch.cat, zip(*changed))
        learners = self.members // self.copies
        if learners > 1:
            target = torch.cat([part for part in target.chunk(self.copies) for _ in range(learners)])
        return self._classified(features).float(), target

    def _augmented(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features of the clips as they are changed for this epoch, and their targets."""
        augmentation, target = self.augmentation, batch["target"]
        if augmentation.mixes_targets:
            target = shares(target, self.task.num_classes)
        if self.views is not None and (known := self.views(batch["clip"], batch["waveform"])) is not None:
            features = known
        elif augmentation.changes_waveforms:
            waveform, target = augmentation.on_waveforms(batch["waveform"], target)
            features = self.front_end(waveform)
        else:
            features = self._features(batch)
        return augmentation.on_features(features, target)

    def setup(self, stage: str) -> None:
        """Check what the epochs are chosen by, the data, and the layers of the network on this device.

        Raises:
            DataError: see :meth:`Classifier.setup`.
            ConfigError: likewise; also a monitor of a class that the data lacks.
        """
        if stage == "fit":
            self.configured.check_monitors(self.config)
        super().setup(stage)

    def on_fit_start(self) -> None:
        """Train all modules, also of a classifier that was loaded, and note what is trained on, for later tests."""
        self.train()
        self.calibration.reset()  # which was that of other weights
        self.validated_clips = None
        if (datamodule := self._datamodule) is not None:
            self.trained_on = segments(datamodule, datamodule.manifest.rows(TRAIN))
            self.data = describe(datamodule)

    def on_train_epoch_start(self) -> None:
        """Make everything random in an epoch, and what is frozen in it, a function of the seed and the epoch's number.

        So a resumed training draws what it would have drawn, and no generator's state has to be stored.
        """
        seed_generators((self.config["seed"], self.current_epoch, self.global_rank))
        self.finetuning.start_epoch(self.current_epoch, processes=self.trainer.world_size)
        self.validated = False
        self.train_metrics.reset()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch, with class weights and label smoothing, summed over an ensemble.

        Where clips are mixed, the training's own accuracy counts the class that a clip was before.
        """
        logits, target = self._augmented_logits(batch)
        losses = self.loss(logits, target, self.class_weights)
        self.train_metrics.update(logits, torch.cat([batch["target"]] * self.members), losses)
        loss = self.loss.mean(losses, target, self.class_weights)
        if logs_at(self.trainer, self.global_step + 1):  # the other steps nobody writes down, and each costs time
            self.log("train/step_loss", loss, sync_dist=True)
        return loss * self.members  # the sum of their losses: each network learns as it would alone

    def on_after_backward(self) -> None:
        """Leave frozen parameters without a gradient."""
        self.finetuning.drop_gradients()

    def on_train_epoch_end(self) -> None:
        """Log the epoch and step the schedules that go by epochs, both before the checkpoint of this epoch is written.

        Lightning would log the epoch and step a plateau after it, so that a run that is killed in between would lose
        them when it is resumed; and it would step other schedules before the validation, so that the history and the
        loggers would have the rate of the next epoch.
        """
        metrics = self.train_epoch_metrics()
        self.log_dict(metrics, logger=False)
        for logger in self.loggers:
            values = {name: float(value) for name, value in metrics.items()}
            logger.log_metrics({**values, "epoch": self.current_epoch}, step=self.global_step - 1)
        # Lightning keeps what it measured in an epoch until it measures it again.
        known = self.trainer.callback_metrics.items()
        fresh = {name: value for name, value in known if self.validated or not name.startswith("validation/")}
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == "epoch":
                end_epoch(config.scheduler, config.monitor, {**fresh, **metrics})

    def lr_scheduler_step(self, scheduler: LRScheduler, metric: Any) -> None:
        """Step schedules that go by optimizer steps; :meth:`on_train_epoch_end` steps the others."""
        if any(
            config.scheduler is scheduler and config.interval == "step" for config in self.trainer.lr_scheduler_configs
        ):
            scheduler.step()

    def train_epoch_metrics(self) -> dict[str, Tensor]:
        """Loss and the metric to choose by over the epoch, while the weights were changing."""
        self.train_metrics.gather()
        metrics = self.train_metrics.compute()
        return {f"train/{name}": metrics[name] for name in ("loss", metric_names(multilabel=self.task.multilabel)[0])}

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self._start(self.validation_metrics)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch."""
        self._count(batch, self.validation_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log ``validation/...``."""
        self._end("validation", self.validation_metrics)
        self.validated = True

    def choose_thresholds(self, targets: Tensor) -> None:
        """Set ``thresholds`` to those with which the F1 of every class is highest on the last validation's clips.

        Args:
            targets: whether each label is the clip's, of the clips of :meth:`last_predictions`, in their order.
        """
        assert self.task.multilabel, "one label a clip needs no thresholds"
        _, probabilities = self.last_predictions()
        self.thresholds.copy_(best_thresholds(probabilities, targets > 0.5))

    def configure_optimizers(self) -> Any:
        """The optimizer and the schedule that the configuration names."""
        optimizer = make_optimizer(self.config["optimizer"], self.finetuning.parameter_groups(), self.finetuning.kinds)
        self.finetuning.decay_rates(optimizer)
        if self.config["scheduler"]["_target_"] is None:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ConfigError("a scheduler needs the length of the training: give trainer.max_epochs or scheduler=none")
        a_step = self.trainer.accumulate_grad_batches
        epochs = self.trainer.max_epochs or -1
        if epochs < 0:  # trainer.max_steps alone
            epochs = math.ceil(steps * a_step / self.trainer.num_training_batches)
        length = TrainingLength(int(steps), epochs)
        scheduler = make_scheduler(self.config["scheduler"], optimizer, length, **monitored(self.config))
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what wrote the file and what was trained on; configuration and task are in ``hyper_parameters``."""
        checkpoint["audio_lightning"] = {
            "format": CHECKPOINT_VERSION,
            "version": __version__,
            "data": self.data,
            "classes_sha256": self.task.classes_sha256,
        }
        if self.trained_on is not None:
            checkpoint["audio_lightning"][TRAINED_ON] = packed(self.trained_on)
        if self.validated_clips is not None:
            checkpoint["audio_lightning"][VALIDATED] = self.validated_clips.to_plain()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume a training on other data (:func:`check_same_data`)."""
        if self._datamodule is not None and self._fitting:
            check_same_data(checkpoint, self._datamodule)

    def store_decisions(self, path: Path) -> None:
        """Put calibration, validated clips and ``thresholds`` into a checkpoint of these weights.

        It was written before they were found.

        Raises:
            CheckpointError: see :func:`read_checkpoint`.
        """
        if self.global_rank == 0:
            checkpoint, own = read_checkpoint(path), self.state_dict()
            for name in DECISIONS & own.keys():
                checkpoint["state_dict"][name] = own[name].cpu()
            if self.validated_clips is not None:
                checkpoint["audio_lightning"][VALIDATED] = self.validated_clips.to_plain()
            write_checkpoint(path, checkpoint)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        map_location: str | torch.device = "cpu",
        *,
        trust: str | Iterable[str] | None = None,
    ) -> Classifier:
        """Rebuild a classifier from a checkpoint and nothing else, in evaluation mode.

        The file may be an ensemble of checkpoints; then it is a :class:`CheckpointEnsemble`.

        Only tensors and plain containers are read from the file, and nothing that it names is imported or called
        unless the allow-list or ``trust`` has it; what the file says that it trusts counts for nothing.

        Args:
            checkpoint_path: file that a training, or :func:`write_ensemble`, wrote.
            map_location: device to put it on.
            trust: modules of one's own whose classes it may name.

        Raises:
            ConfigError: a module to trust that is not to be found.
            CheckpointError: not such a file, or one that asks for what it must not.
        """
        return load(cls, Path(checkpoint_path), trust=trust).to(map_location).eval()
