"""The one LightningModule that every architecture is trained in."""

import logging
import math
import random
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LRScheduler

from audio_lightning import __version__
from audio_lightning.augment import Augmentation
from audio_lightning.classifier.autocast import use_float32_where_needed
from audio_lightning.classifier.checkpoint import CHECKPOINT_VERSION, read_checkpoint, write_checkpoint
from audio_lightning.classifier.ensemble import Ensemble
from audio_lightning.classifier.factory import build_front_end, build_network, check_size, without_pretrained
from audio_lightning.classifier.finetune import Finetuning
from audio_lightning.classifier.optimizers import make_optimizer
from audio_lightning.classifier.schedulers import TrainingLength, end_epoch, make_scheduler, monitored
from audio_lightning.config import trusting
from audio_lightning.config.suggest import did_you_mean
from audio_lightning.core.errors import CheckpointError, ConfigError, DataError
from audio_lightning.core.task import AudioTask, configured_metric, metric_names
from audio_lightning.data.datamodule import AudioDataModule
from audio_lightning.data.loading.batches import Batch
from audio_lightning.data.manifest import TRAIN
from audio_lightning.data.store.fingerprints import SEGMENT, describe, difference, segments
from audio_lightning.features.memory import FeatureMemory
from audio_lightning.losses.objective import class_weights
from audio_lightning.losses.training import TrainingLoss
from audio_lightning.metrics.base import EvaluationMetrics, Predictions
from audio_lightning.metrics.configured import ConfiguredMetrics
from audio_lightning.metrics.factory import make_metrics
from audio_lightning.metrics.multilabel import MultilabelMetrics

TRAINED_ON = "trained_segments"
"""Key in a checkpoint. Under ``trained_on`` version 0.1.0 kept hashes of resampled audio, which match nothing now."""


class AudioClassifier(pl.LightningModule):
    """Front end, network, loss, metrics and optimizer in one module; waveforms in, logits out.

    What a task with several labels a clip does otherwise is in its loss, its metrics, and ``thresholds``.

    Args:
        config: the composed configuration as plain Python; ``feature``, ``model``, ``optimizer``, ``scheduler``,
            ``ensemble``, ``loss``, ``finetune``, ``seed`` and ``channels_last`` are used here, the rest travels in the
            checkpoint.
        task: what the data asks for, as :meth:`AudioTask.to_dict` gives it.
        class_counts: number of training clips of every class, for ``loss.class_weights=balanced``.
        train_clips: number of training clips; where a clip has one label, that is the sum of ``class_counts``.

    Attributes:
        thresholds: probability of every class, ``[classes]``, from which on it is predicted; only where clips may
            have several labels.
        memory: features that later epochs need not compute again; None computes them each time.
        float32_layers: types of layers that the device cannot compute in the trainer's precision and that run in
            float32; None before they are looked for.
        trained_on: what the clips of the training are known again by, see :func:`segments`; None where that is not
            known.
        data: what is known of all data of the training, see :func:`describe`.

    Raises:
        ConfigError: a target, an argument or a combination of feature and model that cannot work.
    """

    class_weights: Tensor
    thresholds: Tensor

    def __init__(
        self, config: dict[str, Any], task: dict[str, Any], class_counts: list[int], train_clips: int = 0
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.config = config
        self.task = AudioTask.from_dict(task)
        self.front_end = build_front_end(config, self.task)
        self.augmentation = Augmentation(config.get("augment") or {}, sample_rate=self.task.sample_rate)
        self.network = build_network(config, self.front_end.output_shape, self.task)
        # A checkpoint is loaded without published weights, so it has to say what they are the weights of.
        self.config = self.hparams["config"] = {**config, "model": {**config["model"], **self.network.worked_out}}
        # The networks that learn, and the changed copies of a batch that they learn from.
        self.members, self.copies = 1, 1
        if isinstance(self.network, Ensemble):
            self.members, self.copies = len(self.network.members), self.network.copies
        self.memory_format = (
            torch.channels_last
            if config["channels_last"] and self.network.input_kind == "spectrogram"
            else torch.contiguous_format
        )
        self.network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.finetuning = Finetuning(config.get("finetune"), self.network, self.front_end)
        self.loss = TrainingLoss(config["loss"], self.task, mixed=self.augmentation.mixes_targets)
        self.objective = self.loss.objective
        weights = class_weights(config["loss"]["class_weights"], self.objective, class_counts, train_clips)
        self.register_buffer("class_weights", weights)
        if self.task.multilabel:
            self.register_buffer("thresholds", torch.full((self.task.num_classes,), 0.5))
        self.configured = ConfiguredMetrics(config.get("metrics"), self.task)
        self.train_metrics = make_metrics(self.task)
        self.validation_metrics = make_metrics(self.task, self.configured)
        self.test_metrics = make_metrics(self.task, self.configured)
        self.predictions = Predictions(self.task.num_classes)
        self.memory: FeatureMemory | None = None
        self.float32_layers: list[str] | None = None
        self.trained_on: Shaped[np.ndarray, "segments"] | None = None
        self.data: dict[str, Any] = {"classes": list(self.task.classes), "clips_of_classes": class_counts}
        self.compiled = False
        self.validated = False

    def compile_network(self) -> None:
        """Have the network compiled when it is first called; in place, so that a checkpoint has the same names."""
        self.network.compile()
        self.compiled = True

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Logits of every class."""
        return self._classified(self.front_end(waveform))

    def embed(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch embedding"]:
        """What the head of the network sees."""
        return self.network.embed(self._input(waveform))

    def activate(self, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
        """Probabilities, float32: they sum to one, or stand each on its own where clips may have several labels."""
        return self.objective.activate(logits.float())

    @torch.inference_mode()
    def probabilities(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Probability of every class, float32, in evaluation mode."""
        if self.training:
            self.eval()
        return self.activate(self(waveform.to(self.device)))

    def decide(self, probabilities: Float[Tensor, "clips classes"]) -> list[list[str]]:
        """What is predicted for every clip: the most probable class, or each one that reaches its threshold."""
        names = self.task.classes
        if not self.task.multilabel:
            return [[names[index]] for index in probabilities.argmax(dim=1).tolist()]
        reached = probabilities >= self.thresholds.to(probabilities.device)
        return [[name for name, yes in zip(names, clip) if yes] for clip in reached.tolist()]

    def _input(self, waveform: Float[Tensor, "batch samples"]) -> Tensor:
        return self._arranged(self.front_end(waveform))

    def _arranged(self, features: Tensor) -> Tensor:
        """In one format in training and in prediction: the two differ in the last bits."""
        return features.contiguous(memory_format=self.memory_format) if features.dim() == 4 else features

    def _classified(self, features: Tensor) -> Float[Tensor, "batch classes"]:
        """What the network says; compiled, one program for batches of all sizes."""
        features = self._arranged(features)
        if self.compiled:
            torch._dynamo.maybe_mark_dynamic(features, 0)
        return self.network(features)

    def _logits(self, batch: Batch) -> Float[Tensor, "batch classes"]:
        """Logits of a batch, in float32; the last one of an evaluation may be empty, see :class:`EpochBatches`."""
        if not len(batch["clip"]):
            return batch["waveform"].new_zeros(0, self.task.num_classes)
        return self._classified(self._features(batch)).float()

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
            target = self.objective.shares(target, self.task.num_classes)
        if augmentation.changes_waveforms:
            waveform, target = augmentation.on_waveforms(batch["waveform"], target)
            features = self.front_end(waveform)
        else:
            features = self._features(batch)
        return augmentation.on_features(features, target)

    # Training and evaluation

    @torch.no_grad()
    def estimate_batch_norm(self, batches: Iterable[Float[Tensor, "batch samples"]]) -> None:
        """Measure the statistics of batch normalization anew, for weights that no training has brought about.

        Everything else is as in evaluation meanwhile. What is not in training mode, because it is frozen, is kept.

        Args:
            batches: waveforms.
        """
        training = [module for module in self.network.modules() if module.training]
        norms = [module for module in training if isinstance(module, _BatchNorm) and module.track_running_stats]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        self.network.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
            norm.train()
        for waveform in batches:
            if len(waveform) > 1:
                self.network.forward(self._input(waveform.to(self.device)))  # not compiled for so few batches
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        for module in training:
            module.training = True

    @property
    def _datamodule(self) -> AudioDataModule | None:
        """The data that the trainer has, where it is of this program."""
        datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
        return datamodule if isinstance(datamodule, AudioDataModule) else None

    def setup(self, stage: str) -> None:
        """Refuse data whose targets mean other classes, and find layers that run in float32 on this device.

        Raises:
            DataError: other names, or in another order; or another sample rate.
            ConfigError: a network that cannot be computed in the trainer's precision, or a monitor of a class that the
                data lacks.
        """
        if stage == "fit":
            self._check_monitors()
        if self.float32_layers is None:
            self._find_float32_layers()
        if self._datamodule is None:
            return
        task = self._datamodule.task
        if task.classes != self.task.classes or task.multilabel != self.task.multilabel:
            raise DataError(
                f"the classifier has the classes {', '.join(self.task.classes)}, and the data has "
                f"{', '.join(task.classes)}: match them by name with "
                "datamodule.match_classes(classifier.task.classes), or train another classifier"
            )
        if task.sample_rate != self.task.sample_rate:
            raise DataError(
                f"the classifier takes {self.task.sample_rate} Hz, and the data has {task.sample_rate} Hz: give "
                f"data.sample_rate={self.task.sample_rate}"
            )

    def _check_monitors(self) -> None:
        """Refuse a monitor of a class that there is not, which is known only now."""
        nodes = [self.config, self.config["scheduler"], *(self.config.get("callbacks") or {}).values()]
        for monitor in {str(node["monitor"]) for node in nodes if node and node.get("monitor")}:
            name = monitor.rpartition("/")[2]
            if configured_metric(monitor, self.config.get("metrics")) and name not in self.configured.names:
                hint = did_you_mean(name, self.configured.names, listing="there are")
                raise ConfigError(f"monitor={monitor}: no such metric with these classes{hint}")

    def _find_float32_layers(self) -> None:
        precision = str(self.trainer.precision)
        self.network.to(self.trainer.strategy.root_device)
        self.float32_layers = use_float32_where_needed(self.network, precision)
        if self.float32_layers and self.trainer.is_global_zero:
            kinds = " and ".join(self.float32_layers)
            line = f"trainer.precision={precision} is not supported on this device for {kinds}; using float32 there"
            print(line, file=sys.stderr)  # `audio-lightning evaluate --json` has its answer on the other
            logging.getLogger(__name__).info("%s", line)

    def on_fit_start(self) -> None:
        """Train all modules, also of a classifier that was loaded, and note what is trained on, for later tests."""
        self.train()
        if (datamodule := self._datamodule) is not None:
            self.trained_on = segments(datamodule, datamodule.manifest.rows(TRAIN))
            self.data = describe(datamodule)

    def on_train_epoch_start(self) -> None:
        """Make everything random in an epoch, and what is frozen in it, a function of the seed and the epoch's number.

        So a resumed training draws what it would have drawn, and no generator's state has to be stored.
        """
        state = np.random.SeedSequence((self.config["seed"], self.current_epoch, self.global_rank))
        number = int(state.generate_state(1)[0])
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002 - libraries draw from the legacy generator
        torch.manual_seed(number)
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
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and (self.global_step + 1) % every == 0:  # the other steps nobody writes down, and each costs time
            self.log("train/step_loss", loss, sync_dist=True)
        return loss * self.members  # the sum of their losses: each network learns as it would alone

    def on_after_backward(self) -> None:
        """Leave frozen parameters without a gradient."""
        self.finetuning.drop_gradients()

    def on_train_epoch_end(self) -> None:
        """Log the epoch, and step a schedule that goes by epochs before the checkpoint of this one is written."""
        metrics = self.train_epoch_metrics()
        self.log_dict(metrics, logger=False)
        # Lightning would write them down after the checkpoint, and a run that is killed in between would lose them.
        written = {name: float(value) for name, value in metrics.items()}
        for logger in self.loggers:
            logger.log_metrics({**written, "epoch": self.current_epoch}, step=self.global_step - 1)
        # Lightning keeps what it measured in an epoch until it measures it again.
        known = self.trainer.callback_metrics.items()
        fresh = {name: value for name, value in known if self.validated or not name.startswith("validation/")}
        for config in self._schedules("epoch"):
            end_epoch(config.scheduler, config.monitor, {**fresh, **metrics})

    def lr_scheduler_step(self, scheduler: LRScheduler, metric: Any) -> None:
        """Step schedules that go by batches; those that go by epochs are stepped in :meth:`on_train_epoch_end`.

        Lightning would step them after the checkpoint is written, and leave that step out when it resumes.
        """
        if any(config.scheduler is scheduler for config in self._schedules("step")):
            scheduler.step()

    def _schedules(self, interval: str) -> list[LRSchedulerConfig]:
        """Schedules that go by steps, or by epochs."""
        return [config for config in self.trainer.lr_scheduler_configs if config.interval == interval]

    def train_epoch_metrics(self) -> dict[str, Tensor]:
        """Loss and the metric to choose by over the epoch, while the weights were changing."""
        self.train_metrics.gather()
        metrics = self.train_metrics.compute()
        return {f"train/{name}": metrics[name] for name in ("loss", metric_names(multilabel=self.task.multilabel)[0])}

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self._start(self.validation_metrics)
        self.predictions.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch; in a validation of its own, which is none of a training's epochs, keep its probabilities."""
        logits = self._count(batch, self.validation_metrics)
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self.predictions.update(batch["clip"], self.activate(logits))

    def on_validation_epoch_end(self) -> None:
        """Log ``validation/...``."""
        self.validation_metrics.gather()
        if self.trainer.state.fn == TrainerFn.VALIDATING:
            self.predictions.gather()
        self.log_dict({f"validation/{name}": value for name, value in self.validation_metrics.compute().items()})
        self.validated = True

    def on_test_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self._start(self.test_metrics)
        self.predictions.reset()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch and keep its probabilities."""
        logits = self._count(batch, self.test_metrics)
        self.predictions.update(batch["clip"], self.activate(logits))

    def on_test_epoch_end(self) -> None:
        """Log ``test/...``."""
        self.test_metrics.gather()
        self.predictions.gather()
        self.log_dict({f"test/{name}": value for name, value in self.test_metrics.compute().items()})

    def last_predictions(self) -> tuple[Int64[Tensor, "clips"], Float[Tensor, "clips classes"]]:
        """Numbers of the clips, ascending, and their probabilities, of the last test or validation of its own."""
        return self.predictions.compute()

    def choose_thresholds(self) -> None:
        """Set ``thresholds`` to those with which the F1 of every class is highest on the last validation's clips."""
        assert isinstance(self.validation_metrics, MultilabelMetrics), "one label a clip needs no thresholds"
        self.thresholds.copy_(self.validation_metrics.best_thresholds())

    def _start(self, metrics: EvaluationMetrics) -> None:
        metrics.reset()
        if isinstance(metrics, MultilabelMetrics):
            metrics.thresholds = self.thresholds

    def _count(self, batch: Batch, metrics: EvaluationMetrics) -> Float[Tensor, "batch classes"]:
        """Evaluation's loss is the plain cross-entropy, so that runs with other losses compare."""
        logits, target = self._logits(batch), batch["target"]
        metrics.update(logits, target, self.objective.per_clip(logits, target))
        return logits

    def configure_optimizers(self) -> Any:
        """The optimizer and the schedule that the configuration names."""
        optimizer = make_optimizer(self.config["optimizer"], self.finetuning.parameter_groups())
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

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what wrote the file and what was trained on; configuration and task are in ``hyper_parameters``."""
        checkpoint["audio_lightning"] = {
            "format": CHECKPOINT_VERSION,
            "version": __version__,
            "data": self.data,
            "classes_sha256": self.task.classes_sha256,
        }
        if self.trained_on is not None:
            plain = torch.from_numpy(self.trained_on.view(np.uint8).reshape(-1, SEGMENT.itemsize))
            checkpoint["audio_lightning"][TRAINED_ON] = plain

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume a training on other data; a test on other data is none.

        Raises:
            DataError: with what changed.
        """
        if self._datamodule is not None and self.trainer.state.fn == TrainerFn.FITTING:
            check_same_data(checkpoint, self._datamodule)

    def store_thresholds(self, path: Path) -> None:
        """Put ``thresholds`` into a checkpoint of these weights, which was written before they were chosen.

        Raises:
            CheckpointError: see :func:`read_checkpoint`.
        """
        if self.global_rank == 0:
            checkpoint = read_checkpoint(path)
            checkpoint["state_dict"]["thresholds"] = self.thresholds.cpu()
            write_checkpoint(path, checkpoint)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        map_location: str | torch.device = "cpu",
        *,
        trust: str | Iterable[str] | None = None,
    ) -> "AudioClassifier":
        """Rebuild a classifier from a checkpoint and nothing else, in evaluation mode.

        Only tensors and plain containers are read from the file, and nothing that it names is imported or called
        unless the allow-list or ``trust`` has it; what the file says that it trusts counts for nothing.

        Args:
            checkpoint_path: file that a training wrote.
            map_location: device to put it on.
            trust: modules of one's own whose classes it may name.

        Raises:
            ConfigError: a module to trust that is not to be found.
            CheckpointError: not such a file, or one that asks for what it must not.
        """
        checkpoint = read_checkpoint(Path(checkpoint_path))
        parameters = checkpoint["hyper_parameters"]
        try:
            # Nothing is trained, and a stage may have had another name when the file was written.
            config = {**without_pretrained(parameters["config"]), "finetune": None}
            with trusting(trust):
                check_size(config, AudioTask.from_dict(parameters["task"]), checkpoint["state_dict"])
                classifier = cls(**{**parameters, "config": config})
            classifier.load_state_dict(checkpoint["state_dict"])
            classifier.data = described_data(checkpoint)
            for name, weights in classifier.named_parameters():
                if not torch.isfinite(weights).all():
                    raise CheckpointError(
                        f"{checkpoint_path}: {name} holds NaN or infinite weights; the training diverged or the file "
                        "is damaged, use another checkpoint"
                    )
            if (known := checkpoint["audio_lightning"].get(TRAINED_ON)) is not None:
                classifier.trained_on = known.numpy().astype(np.uint8, casting="no").view(SEGMENT).reshape(-1)
        except ConfigError as error:
            raise CheckpointError(f"{checkpoint_path}: refused: {error}") from error
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(f"{checkpoint_path} does not fit the classifier it describes: {reason}") from error
        return classifier.to(map_location).eval()


def described_data(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of the data of its training, see :func:`describe`; older ones say less.

    Raises:
        KeyError, TypeError, ValueError: its parts do not fit one another.
    """
    parameters, written = checkpoint["hyper_parameters"], checkpoint["audio_lightning"]
    task = AudioTask.from_dict(parameters["task"])
    data = {"clips_of_classes": parameters["class_counts"], **written.get("data", {}), "classes": list(task.classes)}
    if written.get("classes_sha256", task.classes_sha256) != task.classes_sha256:
        raise ValueError(f"its classes are not {', '.join(task.classes)}")
    if len(data["clips_of_classes"]) != task.num_classes:
        raise ValueError(f"it counts clips of {len(data['clips_of_classes'])} classes in place of {task.num_classes}")
    return data


def check_same_data(checkpoint: Mapping[str, Any], datamodule: AudioDataModule) -> None:
    """Refuse data that is not what a checkpoint was trained on, so that no clip changes its class or its split.

    Args:
        checkpoint: its contents.
        datamodule: after its :meth:`setup`.

    Raises:
        CheckpointError: its parts do not fit one another.
        DataError: with what changed.
    """
    try:
        found = difference(described_data(checkpoint), datamodule)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the checkpoint does not say what it was trained on ({error})") from error
    if found:
        raise DataError(
            f"{datamodule.root}: the data is not what this run was trained on: {found}; put it back, name where it "
            "lies now by data.root=DIR, or start another run"
        )
