"""The one LightningModule that every architecture is trained in."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from audio_lightning import __version__
from audio_lightning.config import build, resolve
from audio_lightning.config.targets import check_arguments, split_node
from audio_lightning.data.datamodule import Batch
from audio_lightning.errors import CheckpointError, ConfigError, UserError
from audio_lightning.features.base import FrontEnd
from audio_lightning.metrics import ClassificationMetrics
from audio_lightning.models.base import AudioModel
from audio_lightning.schedulers import Plateau, lightning_config
from audio_lightning.task import AudioTask, FeatureShape

CHECKPOINT_VERSION = 1


class AudioClassifier(pl.LightningModule):
    """Front end, network, loss, metrics and optimizer in one module; waveforms in, logits out.

    Args:
        config: the composed configuration as plain Python; ``feature``, ``model``, ``optimizer``, ``scheduler``,
            ``loss``, ``seed`` and ``channels_last`` are used here, the rest travels in the checkpoint.
        task: what the data asks for, as :meth:`AudioTask.to_dict` gives it.
        class_counts: number of training clips of every class, for ``loss.class_weights=balanced``.

    Raises:
        ConfigError: a target, an argument or a combination of feature and model that cannot work.
    """

    class_weights: Tensor

    def __init__(self, config: dict[str, Any], task: dict[str, Any], class_counts: list[int]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.config = config
        self.task = AudioTask.from_dict(task)
        self.front_end = build_front_end(config, self.task)
        self.network = build_network(config, self.front_end.output_shape, self.task)
        self.memory_format = (
            torch.channels_last
            if config["channels_last"] and self.network.input_kind == "spectrogram"
            else torch.contiguous_format
        )
        self.network.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.register_buffer("class_weights", class_weights(config["loss"]["class_weights"], class_counts))
        self.label_smoothing = float(config["loss"]["label_smoothing"])
        self.train_metrics = ClassificationMetrics(self.task.num_classes)
        self.validation_metrics = ClassificationMetrics(self.task.num_classes)
        self.test_metrics = ClassificationMetrics(self.task.num_classes)
        self.test_outputs: list[tuple[Tensor, Tensor]] = []

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Logits of every class."""
        return self.network(self._input(waveform))

    def embed(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch embedding"]:
        """What the head of the network sees."""
        return self.network.embed(self._input(waveform))

    @torch.inference_mode()
    def probabilities(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch classes"]:
        """Probability of every class, float32, in evaluation mode."""
        if self.training:
            self.eval()
        return self(waveform.to(self.device)).float().softmax(dim=1)

    def _input(self, waveform: Float[Tensor, "batch samples"]) -> Tensor:
        features = self.front_end(waveform)
        # One format in training and in prediction: the two differ in the last bits.
        return features.contiguous(memory_format=self.memory_format) if features.dim() == 4 else features

    # Training and evaluation

    def on_train_epoch_start(self) -> None:
        """Make everything random in an epoch a function of the seed and the epoch's number.

        So a resumed training draws what it would have drawn, and no generator's state has to be stored.
        """
        state = np.random.SeedSequence((self.config["seed"], self.current_epoch, self.global_rank))
        number = int(state.generate_state(1)[0])
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002 - libraries draw from the legacy generator
        torch.manual_seed(number)
        self.train_metrics.reset()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch: cross-entropy with class weights and label smoothing."""
        logits, target = self(batch["waveform"]), batch["target"]
        losses = F.cross_entropy(
            logits.float(), target, self.class_weights, reduction="none", label_smoothing=self.label_smoothing
        )
        self.train_metrics.update(logits, target, losses)
        loss = losses.sum() / self.class_weights[target].sum()
        self.log("train/step_loss", loss)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the epoch, and step a plateau schedule before the checkpoint of this epoch is written.

        Raises:
            UserError: the loss is not finite.
        """
        metrics = self.train_epoch_metrics()
        if not torch.isfinite(metrics["train/loss"]):
            raise UserError(
                f"the training loss became {metrics['train/loss'].item()} in epoch {self.current_epoch + 1}: "
                "try a smaller optimizer.lr, or trainer.gradient_clip_val=1"
            )
        self.log_dict(metrics)
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, Plateau):
            seen = {**self.trainer.callback_metrics, **metrics}
            if scheduler.monitor in seen:
                scheduler.step(float(seen[scheduler.monitor]))

    def lr_scheduler_step(self, scheduler: LRScheduler, metric: Any) -> None:
        """Step schedules that go by batches; a plateau is stepped in :meth:`on_train_epoch_end`.

        Lightning would step it after the checkpoint is written, and leave that step out when it resumes.
        """
        if not isinstance(scheduler, Plateau):
            scheduler.step()

    def train_epoch_metrics(self) -> dict[str, Tensor]:
        """Loss and accuracy over the epoch so far, while the weights were changing."""
        metrics = self.train_metrics.compute()
        return {"train/loss": metrics["loss"], "train/accuracy": metrics["accuracy"]}

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self.validation_metrics.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch."""
        self._count(batch, self.validation_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log ``validation/...``."""
        self.log_dict({f"validation/{name}": value for name, value in self.validation_metrics.compute().items()})

    def on_test_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self.test_metrics.reset()
        self.test_outputs = []

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch and keep its probabilities."""
        logits = self._count(batch, self.test_metrics)
        self.test_outputs.append((batch["row"].cpu(), logits.softmax(dim=1).cpu()))

    def on_test_epoch_end(self) -> None:
        """Log ``test/...``."""
        self.log_dict({f"test/{name}": value for name, value in self.test_metrics.compute().items()})

    def test_predictions(self) -> tuple[Int64[Tensor, "clips"], Float[Tensor, "clips classes"]]:
        """Rows of the manifest and probabilities, of the last test."""
        rows, probabilities = zip(*self.test_outputs)
        return torch.cat(rows), torch.cat(probabilities)

    def _count(self, batch: Batch, metrics: ClassificationMetrics) -> Float[Tensor, "batch classes"]:
        """Evaluation's loss is the plain cross-entropy, so that runs with other weights or smoothing compare."""
        logits = self(batch["waveform"]).float()
        metrics.update(logits, batch["target"], F.cross_entropy(logits, batch["target"], reduction="none"))
        return logits

    def configure_optimizers(self) -> Any:
        """The optimizer and the schedule that the configuration names."""
        optimizer = build(self.config["optimizer"], Optimizer, where="optimizer", params=self.network.parameters())
        if self.config["scheduler"]["_target_"] is None:
            return optimizer
        steps = self.trainer.estimated_stepping_batches
        if steps == float("inf"):
            raise ConfigError("a scheduler needs the length of the training: give trainer.max_epochs or scheduler=none")
        scheduler = build(
            self.config["scheduler"],
            LRScheduler,
            where="scheduler",
            optimizer=optimizer,
            total_steps=int(steps),
        )
        return {"optimizer": optimizer, "lr_scheduler": lightning_config(scheduler)}

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what wrote the file; configuration and task are in ``hyper_parameters``."""
        checkpoint["audio_lightning"] = {"format": CHECKPOINT_VERSION, "version": __version__}

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: str | torch.device = "cpu"
    ) -> "AudioClassifier":
        """Rebuild a classifier from a checkpoint and nothing else, in evaluation mode.

        Only tensors and plain containers are read from the file, and nothing that it names is imported or called
        unless the allow-list has it.

        Args:
            checkpoint_path: file that a training wrote.
            map_location: device to put it on.

        Raises:
            CheckpointError: not such a file, or one that asks for what it must not.
        """
        checkpoint = read_checkpoint(Path(checkpoint_path))
        parameters = checkpoint["hyper_parameters"]
        try:
            classifier = cls(**parameters)
            classifier.load_state_dict(checkpoint["state_dict"])
        except ConfigError as error:
            raise CheckpointError(f"{checkpoint_path}: refused: {error}") from error
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(f"{checkpoint_path} does not fit the classifier it describes: {reason}") from error
        return classifier.to(map_location).eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint file, after a look at what it is.

    Raises:
        CheckpointError: the file is missing, is no checkpoint of this program, holds more than tensors and plain
            containers, or was written by a later version.
    """
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in zipfile, pickle, torch or the system
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise CheckpointError(
                f"{path}: refused: it holds Python objects, whose loading could run code; a checkpoint of this "
                "program holds tensors and plain values only"
            ) from error
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged ({type(error).__name__})") from error
    written = checkpoint.get("audio_lightning") if isinstance(checkpoint, dict) else None
    if not isinstance(written, dict) or not {"hyper_parameters", "state_dict"} <= checkpoint.keys():
        raise CheckpointError(f"{path} was not written by this program: expected checkpoints/best.ckpt of a run")
    if written.get("format") != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{path} has format {written.get('format')} (written by version {written.get('version')}); "
            f"version {__version__} reads format {CHECKPOINT_VERSION}"
        )
    return checkpoint


def build_front_end(config: Mapping[str, Any], task: AudioTask) -> FrontEnd:
    """The front end of a configuration, for the clips of a task.

    Raises:
        ConfigError: a target, an argument or a combination that cannot work.
    """
    return build(
        config["feature"], FrontEnd, where="feature", sample_rate=task.sample_rate, num_samples=task.num_samples
    )


def build_network(config: Mapping[str, Any], shape: FeatureShape, task: AudioTask) -> AudioModel:
    """The network of a configuration, for the output of a front end and the classes of a task.

    Raises:
        ConfigError: a target, an argument or a combination that cannot work.
    """
    return build(config["model"], AudioModel, where="model", input_shape=shape, num_classes=task.num_classes)


def check_networks(config: Mapping[str, Any], task: AudioTask) -> None:
    """Find out whether front end, network, loss, optimizer and schedule can be built, at no cost in memory.

    Raises:
        ConfigError: they cannot.
    """
    shape = build_front_end(config, task).output_shape
    with torch.device("meta"):
        build_network(config, shape, task)
    class_weights(config["loss"]["class_weights"], [1] * task.num_classes)
    if not 0 <= (smoothing := config["loss"]["label_smoothing"]) < 1:
        raise ConfigError(f"loss.label_smoothing={smoothing}: expected at least 0 and less than 1")
    for where, kind, supplied in (
        ("optimizer", Optimizer, {"params": ()}),
        ("scheduler", LRScheduler, {"optimizer": None, "total_steps": 1}),
    ):
        target, arguments = split_node(config[where], where=where)
        if target is not None:
            check_arguments(resolve(target, kind, where=where), arguments, supplied, where=where)


def class_weights(mode: str, counts: list[int]) -> Float[Tensor, "classes"]:
    """Weight of every class in the loss.

    Args:
        mode: ``none``, or ``balanced``: clips / (classes * clips of the class), as scikit-learn has it.
        counts: training clips of every class.

    Raises:
        ConfigError: another mode.
    """
    if mode == "none":
        return torch.ones(len(counts))
    if mode != "balanced":
        raise ConfigError(f"loss.class_weights={mode}: expected none or balanced")
    filled = torch.tensor(counts, dtype=torch.float32).clamp(min=1)
    return filled.sum() / (len(counts) * filled)
